"""Time as a thing that is handed in, so that everything that waits or stamps can be tested without waiting.

Two clocks, never mixed: `monotonic` for intervals and deadlines (seconds, arbitrary origin), `utc` for what is told
to others (seconds since 1970, may be stepped by the system).
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Final, Protocol

GOLDEN: Final = 0.618034
"""Spreads the beats of processes whose ids follow each other over a second."""


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


async def next_beat(seconds: float) -> float:
    """Sleep until this process's next beat of `seconds`, see `until_beat`; return how much later it is."""
    loop = asyncio.get_running_loop()
    due = loop.time() + until_beat(seconds)
    await asyncio.sleep(due - loop.time())
    return max(0.0, loop.time() - due)


def until_beat(seconds: float) -> float:
    """Return how long it is until this process's next beat of `seconds`, which is a multiple of that on its own clock.

    What has to be done now and then, and no sooner, is done in the same turn of the event loop as other such things: a
    turn costs more than most of them. Processes have beats of their own, so that not all ask the same store at once.
    """
    return seconds_to_beat(asyncio.get_running_loop().time(), seconds, os.getpid() * GOLDEN % 1.0)


def seconds_to_beat(now: float, seconds: float, phase: float) -> float:
    """Return how long it is from `now` to the first multiple of `seconds`, less `phase`, a quarter away at least."""
    rest = seconds - (now + phase) % seconds
    return rest if rest >= seconds / 4 else rest + seconds


def microseconds(seconds: float) -> int:
    """Return `seconds` as a whole number of microseconds, the unit of UTC stamps on the wire."""
    return round(seconds * 1_000_000)
