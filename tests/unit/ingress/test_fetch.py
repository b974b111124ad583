"""Where HTTP servers and playlists lead to, when that is no address at all."""

from __future__ import annotations

import threading

import pytest

from headrace_ingress.fetch import EmptyFile, Fetcher, NotFollowed


@pytest.mark.parametrize("url", ["http://[::1", "http://h:8x/a", "http://h:0/a", "http://h\x0bd/a", "http://h:99999/"])
def test_what_is_no_address_is_not_followed(url: str) -> None:
    """It is refused with a reason, and libav, which asks in the middle of its own work, gets an empty file."""
    fetcher = Fetcher((), True, 1.0, threading.Event())
    with pytest.raises(NotFollowed, match="no address"):
        fetcher.open(url)
    assert isinstance(fetcher.nested(url, 0, {}), EmptyFile)
    assert "no address" in str(fetcher.refused)
