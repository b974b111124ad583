"""Notices that a source fell silent, long before its connection is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from headrace.clock import Clock
from headrace_ingress.events import Chunks, EpochOpened, Event
from headrace_ingress.rhythm import Rhythm

STOOD_STILL_SECONDS: Final = 0.3
"""A look that comes so much too late: this process stood still, and what it did not hear says nothing of the source."""


class Silence:
    """Watches over what one attempt tells.

    Its timer is moved on when it is due and not with each chunk: a hundred feeds cost a hundred wake-ups a second.

    Args:
        least_seconds: the shortest silence that is told.
        clock: of this process.
        on_silent: called on the loop with the seconds that nothing came for, once in each silence.
    """

    def __init__(self, least_seconds: float, clock: Clock, on_silent: Callable[[float], None]) -> None:
        self._clock = clock
        self._on_silent = on_silent
        self._least_seconds = least_seconds
        self._rhythm = Rhythm(least_seconds)
        self._timescales: dict[int, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._is_closed = False

    def take(self, events: list[Event]) -> None:
        """Take note of what the source tells."""
        now = self._clock.monotonic()
        for event in events:
            if isinstance(event, EpochOpened):
                self._rhythm.opened()
                self._timescales = {track.track: track.timescale for track in event.tracks}
            elif isinstance(event, Chunks) and not event.is_rest:
                self._rhythm.came(self._longest(event), event.numbers.end_seconds, now)
        if self._timer is None and not self._is_closed and self._rhythm.silent_from is not None:
            self._arm(self._rhythm.silent_from - now)

    def close(self) -> None:
        """Watch no more."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _longest(self, event: Chunks) -> float:
        return max(chunk.duration / self._timescales.get(chunk.id.track, 1) for chunk in event.chunks)

    def _arm(self, seconds: float) -> None:
        self._due = self._clock.monotonic() + seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        now, silent_from = self._clock.monotonic(), self._rhythm.silent_from
        if silent_from is None:
            return  # an epoch was opened: its first media arm it again
        if now - self._due > STOOD_STILL_SECONDS:
            self._arm(max(self._least_seconds, silent_from - now))
        elif now < silent_from:
            self._arm(silent_from - now)
        else:
            self._on_silent(self._rhythm.silent_seconds(now))
