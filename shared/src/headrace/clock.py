"""Time as a thing that is handed in, so that everything that waits or stamps can be tested without waiting.

Two clocks, never mixed: `monotonic` for intervals and deadlines (seconds, arbitrary origin), `utc` for what is told
to others (seconds since 1970, may be stepped by the system).
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a component reads the time."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment; never goes back."""
        ...

    def utc(self) -> float:
        """Return seconds since 1970-01-01T00:00:00Z by the system's clock."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def utc(self) -> float:
        """Return `time.time()`."""
        return time.time()


def microseconds(seconds: float) -> int:
    """Return `seconds` as a whole number of microseconds, the unit of UTC stamps on the wire."""
    return round(seconds * 1_000_000)
