"""Recorded media at live speed."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.media.samples import Sample
from headrace.testing import FakeClock
from headrace_ingress.pacing import INTERLEAVE_MAX_SECONDS, Interleaver, Pacer


class Waits(threading.Event):
    """An event whose waits pass the time of a fake clock."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(round(timeout, 6))
        self.clock.advance(timeout)
        return False


def paced(clock: FakeClock, times: Sequence[float]) -> list[float]:
    waits = Waits(clock)
    pacer = Pacer(clock, waits)
    for seconds in times:
        pacer.wait(seconds)
        assert pacer.is_due(seconds)
    return waits.waits


def test_media_time_passes_as_fast_as_the_clock(clock: FakeClock) -> None:
    """The first is due at once, each other when its time has passed."""
    assert paced(clock, [7.0, 7.04, 7.08, 7.5]) == [0, 0.04, 0.04, 0.42]


def test_who_is_a_little_late_catches_up(clock: FakeClock) -> None:
    """Short delays are made up for, so that the pace holds in the long run."""
    waits = Waits(clock)
    pacer = Pacer(clock, waits)
    pacer.wait(0.0)
    clock.advance(0.5)
    pacer.wait(0.04)
    pacer.wait(1.0)
    assert waits.waits == [0, 0, 0.5]


@pytest.mark.parametrize("seconds", [-100.0, 3600.0])
def test_a_jump_is_not_waited_for(clock: FakeClock, seconds: float) -> None:
    """Times that jump in a file begin anew from where they are."""
    assert paced(clock, [50.0, 50.04, seconds, seconds + 0.04])[2:] == [0, 0.04]


def test_a_machine_that_slept_owes_nothing(clock: FakeClock) -> None:
    """After a long pause media goes on from there instead of rushing."""
    waits = Waits(clock)
    pacer = Pacer(clock, waits)
    pacer.wait(0.0)
    clock.advance(3600)
    pacer.wait(0.04)
    pacer.wait(0.08)
    assert waits.waits == [0, 0, 0.04]


def test_capture_is_when_it_is_due(clock: FakeClock) -> None:
    """What a file holds counts as captured at the moment it is due."""
    pacer = Pacer(clock, Waits(clock))
    pacer.wait(10.0)
    assert pacer.due_us(10.5) == round((clock.utc() + 0.5) * 1_000_000)


def sample(track: int, seconds: float) -> Sample:
    ticks = round(seconds * 1000)
    return Sample(track, ticks, ticks, 40, True, b"x", 0)


def test_tracks_come_in_order_of_time() -> None:
    """What a file stores second by second comes out side by side."""
    order = Interleaver({1: 1000, 2: 1000})
    for one in [sample(1, 0), sample(1, 0.04), sample(1, 0.08), sample(2, 0), sample(2, 0.05)]:
        order.push(one)
    out = []
    while order.is_ready:
        out.append(order.pop())
    assert [(one.track, one.dts) for one in out] == [(1, 0), (2, 0), (1, 40), (2, 50)]
    assert len(order) == 1


def test_a_track_that_is_over_is_not_waited_for() -> None:
    """Beyond a few seconds without one track the other goes on."""
    order = Interleaver({1: 1000, 2: 1000})
    order.push(sample(1, 0))
    assert not order.is_ready
    order.push(sample(1, INTERLEAVE_MAX_SECONDS + 0.1))
    assert order.is_ready


@given(st.lists(st.tuples(st.integers(1, 2), st.floats(-10, 10)), max_size=60))
def test_each_track_keeps_its_order(pushed: list[tuple[int, float]]) -> None:
    """Whatever the times are, nothing is lost and a track's samples stay in order."""
    samples = [sample(track, seconds) for track, seconds in pushed]
    order = Interleaver({1: 1000, 2: 1000})
    for one in samples:
        order.push(one)
    out = [order.pop() for _ in samples]
    for track in (1, 2):
        assert [one for one in out if one.track == track] == [one for one in samples if one.track == track]
