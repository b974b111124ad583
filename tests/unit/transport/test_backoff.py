"""How long to wait before the next try."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.transport.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    """Without chance they are exact."""
    backoff = Backoff(min=0.25, max=1.5, factor=2.0, jitter=0.5)
    assert [backoff.next(0.0) for _ in range(5)] == [0.25, 0.5, 1.0, 1.5, 1.5]


def test_success_begins_anew() -> None:
    """With the shortest wait."""
    backoff = Backoff(min=0.25, max=8.0)
    backoff.next(0.0)
    backoff.next(0.0)
    backoff.reset()
    assert backoff.next(0.0) == 0.25


def test_jitter_takes_its_share_away() -> None:
    """So that many who lost the same peer do not come back together."""
    assert Backoff(min=1.0, jitter=0.5).next(1.0) == 0.5
    assert Backoff(min=1.0, jitter=0.0).next(1.0) == 1.0


@given(st.floats(0.01, 5), st.floats(1, 20), st.floats(1, 4), st.floats(0, 1), st.lists(st.floats(0, 1), max_size=20))
def test_no_wait_is_longer_than_the_longest_or_less_than_jitter_allows(
    min: float, ratio: float, factor: float, jitter: float, chances: list[float]
) -> None:
    """For any options and any chance."""
    backoff = Backoff(min, min * ratio, factor, jitter)
    for chance in chances:
        assert min * (1 - jitter) * 0.999 <= backoff.next(chance) <= min * ratio


@pytest.mark.parametrize("options", [{"min": 0.0}, {"min": 3.0, "max": 2.0}, {"factor": 0.5}, {"jitter": 1.5}], ids=str)
def test_options_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    """A fault of ours, told where it is made."""
    with pytest.raises(ValueError, match="backoff"):
        Backoff(**options)
