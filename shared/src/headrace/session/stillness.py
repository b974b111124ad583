"""Whether this process stood still. Pure: time is an argument.

A process that was stopped, or a machine that slept, wakes up to find that everybody took it for dead. That says nothing
about them.
"""

from __future__ import annotations

GRACE_SECONDS = 1.0
"""How long after waking what was under way meanwhile is read and understood, on a busy machine too."""


class Stillness:
    """Remembers when timers ran late enough for others to have given this process up.

    Args:
        limit: lateness in seconds from which on others may have; less than their time-out, for a heartbeat leaves at
            the end of an interval.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._woke_at = float("-inf")

    def note(self, due: float, now: float) -> None:
        """A timer that was `due` is seen `now`, run or still to be run."""
        if now - due > self._limit:
            self._woke_at = now

    def explains(self, since: float, now: float) -> bool:
        """Return whether the end of what went well `since` then is more likely our own doing than the other's."""
        return since < self._woke_at and now - self._woke_at <= GRACE_SECONDS
