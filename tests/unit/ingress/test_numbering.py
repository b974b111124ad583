"""Where numbers go on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.identifiers import Epoch
from headrace.registry.records import StreamNumbers
from headrace_ingress.events import Numbers
from headrace_ingress.numbering import STALE_SECONDS, UNTOLD_SEGMENTS, go_on_from

NOW = 1_800_000_000.0


def test_unknown_numbers_begin_nowhere() -> None:
    """Without durable numbers there is nothing to go on from; the caller begins at UTC."""
    assert go_on_from(None, NOW, 2.0) == Numbers(Epoch(0), 0, 0.0)


def test_one_number_is_left_out() -> None:
    """The last publisher may have begun a segment that it had no time to tell."""
    known = StreamNumbers(next_segment=1000, end_seconds=NOW - 5, epoch=7)
    assert go_on_from(known, NOW, 2.0) == Numbers(Epoch(7), 1000 + UNTOLD_SEGMENTS, NOW - 5)


def test_numbers_that_an_outage_overtook_leave_out_what_time_allowed() -> None:
    """Though they are fresh: their publisher may have gone on while the store was away."""
    known = StreamNumbers(next_segment=1000, end_seconds=NOW - 9, epoch=7, overtaken=True)
    assert go_on_from(known, NOW, 2.0).next_segment == 1000 + UNTOLD_SEGMENTS + 5


def test_a_publisher_whose_clock_was_an_hour_ahead_is_followed_as_any_other() -> None:
    """Its numbers are later than our clock says; none is given out again."""
    known = StreamNumbers(next_segment=1000, end_seconds=NOW + 3600, epoch=7)
    assert go_on_from(known, NOW, 2.0) == Numbers(Epoch(7), 1001, NOW + 3600, 0)


def test_what_was_never_published_leaves_nothing_out() -> None:
    """A feed that never opened told its first number and used none."""
    assert go_on_from(StreamNumbers(next_segment=1000), NOW, 2.0).next_segment == 1000


@given(st.floats(STALE_SECONDS + 1, 1e7), st.floats(0.5, 6.0))
def test_old_numbers_leave_out_what_time_allowed(age: float, segment_seconds: float) -> None:
    """Whoever went on without the store gave out no more segments than it had the time for, and never passed UTC."""
    known = StreamNumbers(next_segment=int(NOW - age), end_seconds=NOW - age, epoch=7)
    begin = go_on_from(known, NOW, segment_seconds).next_segment
    assert begin > known.next_segment
    assert begin >= min(known.next_segment + age / segment_seconds, int(NOW))
    assert begin <= max(int(NOW), known.next_segment + UNTOLD_SEGMENTS)


@pytest.mark.parametrize(
    ("captured", "epoch", "earliest"),
    [
        (1999.4, 1_999_400, 1999.4),
        (1990.0, 1_995_000, 1995.0),  # where the epoch before ended
        (2000.7, 2_000_000, 2000.0),
        (300.0, 2_000_000, 1995.0),
    ],
)
def test_an_epoch_is_numbered_by_its_first_media(captured: float, epoch: int, earliest: float) -> None:
    """A publisher is known some time after it began to send; a stamp that cannot be true numbers nothing."""
    start = Numbers(Epoch(7), 3, 1995.0).begin(2000.0, captured)
    assert (start.epoch, start.segment, start.earliest_seconds) == (epoch, 3, earliest)
