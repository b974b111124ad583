"""What is told of a link whose channel was closed."""

from __future__ import annotations

import pytest

from headrace.session.ends import words_of


@pytest.mark.parametrize(
    ("code", "reason", "by_peer", "word", "says"),
    [
        (1006, "connection lost", True, "connection_lost", "was lost"),
        (1008, "bad_proof", True, "bad_proof", "the peer closed the link: 1008 bad_proof"),
        (1001, "bye, all", True, "peer_closed", "the peer closed the link: 1001 bye, all"),
        (1000, "", True, "peer_closed", "the peer closed the link: 1000"),
        (1008, "too_slow", False, "too_slow", "closed by this node: 1008 too_slow"),
        (1002, "text_message", False, "text_message", "closed by this node"),
        (1009, "frame with 9 bytes after 0 bytes", False, "too_large", "closed by this node: 1009 frame"),
        (1002, "reserved bits must be 0", False, "bad_frame", "closed by this node: 1002 reserved"),
    ],
)
def test_an_end_is_told_of_the_side_that_caused_it(code: int, reason: str, by_peer: bool, word: str, says: str) -> None:
    """With a word of the protocol's where there is one."""
    told, detail = words_of(code, reason, by_peer)
    assert told == word
    assert says in detail
