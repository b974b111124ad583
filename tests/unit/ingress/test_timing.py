"""Stamps that sources leave out, and when things were captured."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_ingress.timing import (
    HELD_MAX_PACKETS,
    STILL_MAX_PACKETS,
    CaptureClock,
    PictureWatch,
    StampRepair,
    Stamps,
    Stillness,
    TrackClock,
    Unwrap,
)


def repair(stamps: list[Stamps], reorder: int = 0, frame: int = 3600) -> list[Stamps]:
    """Return what comes out in the end."""
    repairer = StampRepair(frame, reorder, 90_000)
    return [whole for one in stamps for whole in repairer.push(one)] + repairer.flush()


def test_the_first_picture_of_rtsp_gets_its_stamps() -> None:
    """libav gives the first picture none, and the next ones no decode time where nothing is reordered."""
    given = [Stamps(None, None, 3600), Stamps(4034, None, 3600), Stamps(7634, None, 3600)]
    assert repair(given) == [Stamps(434, 434, 3600), Stamps(4034, 4034, 3600), Stamps(7634, 7634, 3600)]


def test_reordered_pictures_are_stamped_backwards() -> None:
    """With B-frames decode times come late: those before are counted back, and the first is shown after its delay."""
    given = [
        Stamps(None, None, 3600),
        Stamps(11268, None, 3600),
        Stamps(4068, None, 3600),
        Stamps(7668, 4068, 3600),
        Stamps(22068, 7668, 3600),
    ]
    repairer = StampRepair(3600, 2, 90_000)
    assert [repairer.push(one) for one in given[:3]] == [[], [], []]
    whole = repairer.push(given[3]) + repairer.push(given[4])
    assert [one.dts for one in whole] == [-6732, -3132, 468, 4068, 7668]
    assert [one.pts for one in whole] == [468, 11268, 4068, 7668, 22068]


def test_a_hole_is_filled_from_the_packet_before() -> None:
    """A packet without stamps in the middle comes one duration after the one before."""
    given = [Stamps(0, 0, 3600), Stamps(None, None, 0), Stamps(7200, 7200, 3600)]
    assert repair(given)[1] == Stamps(3600, 3600, 3600)


def test_packets_are_not_held_for_ever() -> None:
    """A source that never tells decode times is taken by its presentation times after a while."""
    given = [Stamps(index * 3600, None, 3600) for index in range(HELD_MAX_PACKETS + 8)]
    repairer = StampRepair(3600, 2, 90_000)
    out = [repairer.push(one) for one in given]
    assert len(out[HELD_MAX_PACKETS]) == HELD_MAX_PACKETS + 1
    assert all(len(one) == 1 for one in out[HELD_MAX_PACKETS + 1 :])


packets = st.builds(
    Stamps, st.none() | st.integers(-(2**40), 2**40), st.none() | st.integers(-(2**40), 2**40), st.integers(-5, 10_000)
)


@given(st.lists(packets, max_size=100), st.integers(0, 4))
def test_whatever_comes_goes_out_whole_and_in_order(stamps: list[Stamps], reorder: int) -> None:
    """As many as come in go out, none lacks a stamp, and what the source did say of a decode time stays."""
    whole = repair(stamps, reorder)
    assert len(whole) == len(stamps)
    assert all(one.pts is not None and one.dts is not None and one.duration > 0 for one in whole)
    for before, after in zip(stamps, whole, strict=True):
        assert before.dts is None or before.dts == after.dts
        assert before.pts is None or before.pts == after.pts


@pytest.mark.parametrize("step", [0, 1, -1, -40_000])
def test_a_clock_that_stands_still_is_counted_on(step: int) -> None:
    """Where decode times do not go on for many packets, frames are counted, and nothing is held for ever."""
    clock = TrackClock(Fraction(1, 90_000), 0.04, 0)
    stamps = [clock.arrived(Stamps(index * step, index * step, 0), 1000.0 + index * 0.04) for index in range(500)]
    counted = [whole.dts for one in stamps for whole in clock.push(one)][STILL_MAX_PACKETS + 1 :]
    assert [two - one for one, two in pairwise(counted) if one is not None and two is not None] == [3600] * 434
    assert clock.captured_us((counted[-1] or 0) / 90_000) / 1e6 == pytest.approx(1020.0, abs=3.0)


def test_a_source_that_began_anew_is_believed() -> None:
    """Times that go on from an earlier one are the source's, not a clock that stands still."""
    still = Stillness(90_000)
    for index in [*range(1000), *range(500)]:
        assert still.push(Stamps(index * 3600, None, 3600)).pts == index * 3600


@pytest.mark.parametrize("bits", [32, 33])
@pytest.mark.parametrize("reorder", [0, 2])
def test_wraps_are_undone(bits: int, reorder: int) -> None:
    """Stamps that begin again at nothing go on, however often; a picture shown after the wrap is decoded before it."""
    wrap, step = 1 << bits, 450_000
    unwrap, first = Unwrap(90_000), (1 << bits) - 50 * step
    for index in range(2 * wrap // step):
        dts = first + index * step
        pts = dts + (reorder * 3600 if index % 3 == 0 else 0)
        assert unwrap.push(Stamps(pts % wrap, dts % wrap, 3600)) == Stamps(pts, dts, 3600)


def test_a_restart_is_no_wrap() -> None:
    """A step that is not a whole number of wraps stays what it is."""
    unwrap = Unwrap(90_000)
    unwrap.push(Stamps(None, 2**33 - 1, 0))
    assert unwrap.push(Stamps(0, 0, 0)).dts == 2**33
    assert unwrap.push(Stamps(None, 2**31, 0)).dts == 2**33 + 2**31
    assert Unwrap(90_000).push(Stamps(5, None, 0)) == Stamps(5, None, 0)
    assert Unwrap(90_000).push(Stamps(None, None, 0)) == Stamps(None, None, 0)


def test_a_source_without_presentation_times_is_captured_too() -> None:
    """Where packets have decode times alone, those tell when they came."""
    clock = TrackClock(Fraction(1, 90_000), 0.04, 0)
    clock.arrived(Stamps(None, 90_000, 0), 1000.0)
    assert clock.captured_us(1.0) == 1_000_000_000


def test_capture_is_the_least_delay_seen() -> None:
    """Jitter of the network is taken off: what was delayed was captured when its media time says."""
    clock = CaptureClock()
    delays = [0.30, 0.02, 0.15, 0.02, 0.50]
    for index, delay in enumerate(delays):
        clock.arrived(index * 0.04, 1000.0 + index * 0.04 + delay)
    assert clock.captured_us(4 * 0.04) == pytest.approx((1000.0 + 0.16 + 0.02) * 1e6, abs=1000)


def test_capture_follows_a_drifting_clock() -> None:
    """A camera whose clock is slow by 100 ppm is followed; its delay does not grow with the hours."""
    clock = CaptureClock()
    for second in range(36_000):
        clock.arrived(second, 1000.0 + second * 1.0001)
    captured = clock.captured_us(35_999) / 1e6
    assert captured == pytest.approx(1000.0 + 35_999 * 1.0001, abs=0.01)


def test_a_jump_begins_anew() -> None:
    """When media time or our clock jumps, the estimate is made anew instead of crept to."""
    clock = CaptureClock()
    clock.arrived(10.0, 1000.0)
    clock.arrived(500.0, 1001.0)
    assert clock.captured_us(500.0) == 1_001_000_000


def test_a_credible_sender_is_believed() -> None:
    """The camera's own time is taken while it is near ours; a camera in another year is not."""
    clock = CaptureClock()
    clock.arrived(0.0, 1000.0)
    assert clock.captured_us(0.0, 999_900_000) == 999_900_000
    assert clock.captured_us(0.0, 12) == 1_000_000_000


def test_stamps_of_another_age_are_captured_when_they_came() -> None:
    """A time stamp that is a mistake does not make a capture time that is one."""
    clock = CaptureClock()
    clock.arrived(0.0, 1000.0)
    assert clock.captured_us(5e13) == 1_000_000_000


def test_sound_without_pictures_is_a_stall() -> None:
    """Sound alone keeps a feed with video alive for the stall time and no longer."""
    watch = PictureWatch(5.0, 100.0)
    assert not watch.is_stalled(False, 104.9)
    assert not watch.is_stalled(True, 106.0)
    assert not watch.is_stalled(False, 110.9)
    assert watch.is_stalled(False, 111.1)
