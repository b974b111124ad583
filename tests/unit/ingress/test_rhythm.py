"""When a feed counts as silent."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_ingress.feed import FeedOptions
from headrace_ingress.rhythm import ALLOWANCE, BURST_ALLOWANCE, OPENING_PAUSES, OPENING_SECONDS, WINDOW_SECONDS, Rhythm

LEAST_SECONDS = FeedOptions().silence_seconds

UTC = 1_763_600_000.0
"""Where timelines are: decode times are UTC, and say nothing of the monotonic clock."""


def alarms(arrivals: Iterable[tuple[float, float]]) -> list[float]:
    """Feed a rhythm with `(now, end of media)`; return when it would have been told silent."""
    rhythm, told, before = Rhythm(LEAST_SECONDS), [], 0.0
    for now, end in arrivals:
        if rhythm.silent_from is not None and now > rhythm.silent_from:
            told.append(rhythm.silent_from)
        rhythm.came(end - before, UTC + end, now)
        before = end
    return told


def told_after(arrivals: Iterable[tuple[float, float]]) -> float:
    """Return for how long nothing must come after these before that is silence."""
    rhythm, last, before = Rhythm(LEAST_SECONDS), 0.0, 0.0
    for now, end in arrivals:
        rhythm.came(end - before, UTC + end, now)
        last, before = now, end
    assert rhythm.silent_from is not None
    return rhythm.silent_from - last


def steady(pause: float, seconds: float) -> list[tuple[float, float]]:
    """Media that come every `pause` seconds and last as long."""
    return [(n * pause, (n + 1) * pause) for n in range(int(seconds / pause))]


def batches(lengths: Iterable[float]) -> list[tuple[float, float]]:
    """GOPs that come at once, each when it is over, in chunks of 100 ms."""
    arrivals, now = [], 0.0
    for length in lengths:
        now += length
        arrivals += [(now + n / 1000, now - length + (n + 1) * 0.1) for n in range(round(length * 10))]
    return arrivals


@pytest.mark.parametrize("pause", [0.02, 0.04, 0.1, 0.5])
def test_a_continuous_feed_is_told_within_a_second(pause: float) -> None:
    """From sound to two pictures a second."""
    assert told_after(steady(pause, 30)) == pytest.approx(LEAST_SECONDS)
    assert LEAST_SECONDS < 1


def test_nothing_is_said_before_anything_came() -> None:
    """A source that is being opened is not silent."""
    assert Rhythm(LEAST_SECONDS).silent_from is None
    assert Rhythm(LEAST_SECONDS).silent_seconds(5.0) == 0.0


def test_a_feed_that_has_just_begun_may_pause() -> None:
    """Its rhythm is not known yet, for all that its first media came steadily."""
    assert told_after(steady(0.1, 1)) == pytest.approx(BURST_ALLOWANCE * OPENING_PAUSES * LEAST_SECONDS)


def test_a_slow_feed_may_pause_as_it_does() -> None:
    """A picture every two seconds."""
    assert alarms(steady(2.0, 60)) == []
    assert told_after(steady(2.0, 60)) == pytest.approx(2.0 * BURST_ALLOWANCE)


def test_a_burst_tells_its_pause() -> None:
    """A GOP of four seconds that came at once is followed by a pause as long, and the first is no exception."""
    assert alarms(batches([4.0] * 10)) == []
    assert told_after(batches([4.0])) >= 4.0


def test_segments_of_different_lengths() -> None:
    """What a playlist's server writes every two to six seconds is not silent between; the longest of late counts."""
    assert alarms(batches([4.0, 2.0, 6.0, 5.0, 2.0, 2.0, 6.0, 3.0, 4.0, 2.0, 2.0, 2.0, 5.0] * 3)) == []


def test_a_pause_is_forgotten() -> None:
    """A network that hung once does not make the feed patient for ever."""
    before = steady(0.1, 10)
    now, end = before[-1]
    hung = [*before, (now + 4.0, end + 4.0)]
    assert told_after(hung) == pytest.approx(4.0 * BURST_ALLOWANCE, rel=0.1)
    on = [(now + 4.0 + n * 0.1, end + 4.0 + n * 0.1) for n in range(round(2 * WINDOW_SECONDS * 10) + 20)]
    assert told_after([*hung, *on]) == pytest.approx(LEAST_SECONDS)


def test_what_a_server_had_kept_is_no_rhythm() -> None:
    """Two seconds that come at once at the beginning make it patient, until a pause would have followed."""
    kept = [(n / 1000, (n + 1) * 0.1) for n in range(20)]
    assert told_after(kept) > 2.0
    on = [(n * 0.1, 2.0 + n * 0.1) for n in range(1, 52)]
    assert told_after([*kept, *on]) == pytest.approx(LEAST_SECONDS)


def test_an_epoch_may_lie_anywhere() -> None:
    """Its timeline is another one: neither is a jump a rhythm, nor is the rhythm forgotten."""
    rhythm = Rhythm(LEAST_SECONDS)
    for now, end in steady(1.0, 8):
        rhythm.came(1.0, UTC + end, now)
    rhythm.opened()
    assert rhythm.silent_from is None
    rhythm.came(1.0, UTC + 1_000_000, 8.0)
    assert rhythm.pause_seconds == pytest.approx(OPENING_PAUSES * LEAST_SECONDS)


@given(st.lists(st.floats(0.001, 0.55), min_size=1, max_size=200))
def test_what_pauses_for_half_a_second_at_most_is_never_silent(pauses: list[float]) -> None:
    """Whatever the order of its pauses, while media time goes on with the clock."""
    now, arrivals = 0.0, []
    for pause in pauses:
        now += pause
        arrivals.append((now, now))
    assert alarms(arrivals) == []
    if now > OPENING_SECONDS + 1:
        assert told_after(arrivals) <= max(LEAST_SECONDS, ALLOWANCE * max(pauses)) + 1e-6
