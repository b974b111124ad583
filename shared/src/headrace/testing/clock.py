"""Time that passes when a test says so."""

from __future__ import annotations


class FakeClock:
    """A `Clock` whose two times move together, by `advance` only.

    Args:
        utc: the first UTC, in seconds since 1970.
        monotonic: the first monotonic time, in seconds.
    """

    def __init__(self, utc: float = 1_700_000_000.0, monotonic: float = 1_000.0) -> None:
        self._utc = utc
        self._monotonic = monotonic

    def monotonic(self) -> float:
        """Return the seconds that were advanced, plus those it began with."""
        return self._monotonic

    def utc(self) -> float:
        """Return the UTC it began with, plus the seconds that were advanced."""
        return self._utc

    def advance(self, seconds: float) -> None:
        """Let time pass; it never goes back."""
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds} s")
        self._utc += seconds
        self._monotonic += seconds
