"""When a reader rests, and for how long."""

from __future__ import annotations

import pytest

from headrace_ingress.resting import BELIEF_SECONDS, REST_MAX_SECONDS, SLACK_SECONDS, WAITED_SECONDS, Rest

CHUNK = 0.1


def waited(rest: Rest, newest: float, now: float) -> float:
    """Read a packet at the moment it arrived; the next chunk is due `CHUNK` after it."""
    return rest.seconds(newest, newest + CHUNK, now - 2 * WAITED_SECONDS, now)


def found(rest: Rest, newest: float, now: float) -> float:
    """Read a packet that was there already."""
    return rest.seconds(newest, newest + CHUNK, now, now)


def test_rests_until_the_next_chunk_is_due() -> None:
    """After an arrival the reader rests as long as no chunk can be complete, and a little longer."""
    assert waited(Rest(), 5.0, 100.0) == pytest.approx(CHUNK + SLACK_SECONDS)


def test_a_reader_that_never_waited_does_not_rest() -> None:
    """Nobody knows how much is there already: at the beginning all of it is taken."""
    assert found(Rest(), 5.0, 100.0) == 0


def test_a_reader_that_is_behind_rests_less() -> None:
    """Media that was read late is due as early as if it had been read in time."""
    rest = Rest()
    waited(rest, 5.0, 100.0)
    assert found(rest, 5.1, 100.15) == pytest.approx(CHUNK + SLACK_SECONDS - 0.05)
    assert found(rest, 5.2, 100.5) == 0


def test_what_was_learned_is_forgotten() -> None:
    """A second after the last arrival that was seen, the reader looks again."""
    rest = Rest()
    waited(rest, 5.0, 100.0)
    later = BELIEF_SECONDS + 0.1
    assert found(rest, 5.0 + later, 100.0 + later) == 0


def test_one_late_packet_makes_nothing_late() -> None:
    """The earliest arrivals say when the next ones are due."""
    rest = Rest()
    waited(rest, 5.0, 100.0)
    assert waited(rest, 5.1, 100.16) == pytest.approx(CHUNK + SLACK_SECONDS - 0.06, abs=0.002)


def test_a_rest_is_bounded() -> None:
    """However long the chunks are, a reader looks again soon."""
    assert Rest().seconds(5.0, 15.0, 99.0, 100.0) == REST_MAX_SECONDS
