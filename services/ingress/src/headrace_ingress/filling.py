"""Fills in with a slate while a feed's source is away.

Theory of operation
-------------------
A stream's numbers are given out by one at a time: the source's reader, or the slate's. A source that fell silent is
held before a slate begins, so that it finishes its epoch, and each later attempt is held from its start. Whoever is
held says that it is ready once it has media; then the slate ends, and the source begins an epoch where that one's
numbers stand. So slate and source are epochs like any others, one after the other, and the slate outlives attempts,
waits, publishers and workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from headrace_ingress.attempt import Attempt
from headrace_ingress.events import Numbers

HOLD_SECONDS: Final = 0.5
"""How often a silent source is asked to be held: its reader may be at work at that moment."""

STOP_SECONDS: Final = 1.0
"""Longest wait for a slate to end. What an abandoned one numbers later is published no more."""

AGAIN_SECONDS: Final = 10.0
"""Wait before a slate is tried again that could not be played."""


class Filling:
    """When the slate of one feed plays; the feed carries out what it says.

    Args:
        begin: starts a slate's attempt; `None` where the feed has no slate.
        current: returns the source's attempt, if there is one.
        numbers: returns where the numbers stand.
        after_seconds: how long a source is away before its slate begins.

    Attributes:
        slate: the slate's attempt; `None` while none plays.
    """

    def __init__(
        self,
        begin: Callable[[], Attempt] | None,
        current: Callable[[], Attempt | None],
        numbers: Callable[[], Numbers],
        after_seconds: float,
    ) -> None:
        self.slate: Attempt | None = None
        self._begin = begin
        self._current = current
        self._numbers = numbers
        self._after_seconds = after_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: Attempt | None = None

    def away(self) -> None:
        """The source fell silent, or its attempt ended."""
        self._waiting = None
        if self._timer is None and self.slate is None:
            self._arm(self._after_seconds)

    def back(self) -> None:
        """The source's media are carried."""
        self._disarm()

    def held(self) -> None:
        """The source's reader has finished its epoch."""
        if self._timer is not None:
            self._disarm()
            self._look()

    def ready(self, attempt: Attempt) -> None:
        """The source's reader has media: let it go on as soon as the slate has ended."""
        self._disarm()
        if self.slate is None:
            attempt.source.go_on(self._numbers())
            return
        self._waiting = attempt
        self.slate.stop()
        self._timer = asyncio.get_running_loop().call_later(STOP_SECONDS, self.ended)

    def ended(self) -> None:
        """The slate has said its last word, or is waited for no longer."""
        slate, self.slate = self.slate, None
        self._disarm()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.source.go_on(self._numbers())
        else:
            has_played = slate is not None and slate.live_at is not None
            self._arm(self._after_seconds if has_played else AGAIN_SECONDS)

    def stop(self) -> None:
        """Play nothing until the source is away anew."""
        self._disarm()
        slate, self.slate, self._waiting = self.slate, None, None
        if slate is not None:
            slate.stop()

    def _look(self) -> None:
        self._timer = None
        source = self._current()
        if source is not None and source.is_numbering:
            source.source.hold()
            self._arm(HOLD_SECONDS)
        elif self._begin is not None:
            self.slate = self._begin()

    def _arm(self, seconds: float) -> None:
        if self._begin is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
