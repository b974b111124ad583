"""Whether what was remembered of a stream reaches back far enough."""

from __future__ import annotations

from headrace.relay.broadcast import Opened
from headrace.session.recalling import reach_seconds
from headrace.session.remembering import is_short
from unit.live.streams import Programme


def test_the_first_epoch_is_all_there_is() -> None:
    """However short it is: nobody published the stream before."""
    assert not is_short(Programme().epoch(4.0), 60.0)


def test_a_later_epoch_has_one_before_it() -> None:
    """Unless it reaches back as far as was wanted."""
    programme = Programme()
    first, second = programme.epoch(10.0), programme.epoch(5.0)
    assert is_short(second, 60.0)
    assert not is_short(second, 4.0)
    assert not is_short(first + second, 60.0)
    assert 14.0 < reach_seconds(first + second) < 17.0


def test_nothing_is_nothing() -> None:
    """An answer without an epoch, or without chunks of it, reaches nowhere."""
    assert not is_short([], 60.0)
    opened = [entry for entry in Programme(epochs=3).epoch(2.0) if isinstance(entry, Opened)]
    assert reach_seconds(opened) == 0.0
    assert is_short(opened, 60.0)
