"""The border between a reader's thread and the event loop: a bounded box that is emptied in one turn of the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from headrace_ingress.events import Chunks, Event

HANDOVER_MAX_BYTES = 8 * 1024 * 1024
"""Most chunk bytes that wait for the loop, for each feed: three seconds of 20 Mbit/s. A loop that is further behind is
stuck, and the reader waits, so that the source feels it."""

STUCK_SECONDS = 0.2
"""How often a reader that waits for the loop looks whether it is to stop."""


class Handover:
    """Takes events from one thread and gives them, in order, to `deliver` on the loop.

    However many events come before the loop gets to them, it is woken once.

    Args:
        loop: where `deliver` runs.
        deliver: takes all events that came; must not raise.
        stopping: ends the wait of a reader whose loop is stuck.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deliver: Callable[[list[Event]], None], stopping: threading.Event
    ) -> None:
        self._loop = loop
        self._deliver = deliver
        self._stopping = stopping
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._bytes = 0

    def put(self, event: Event) -> None:
        """Hand an event over; called by the reader's thread only.

        Blocks while `HANDOVER_MAX_BYTES` of chunks wait, but not once the reader is to stop.
        """
        with self._changed:
            while self._bytes > HANDOVER_MAX_BYTES and not self._stopping.is_set():
                self._changed.wait(STUCK_SECONDS)
            self._events.append(event)
            if isinstance(event, Chunks):
                self._bytes += sum(len(chunk.record) for chunk in event.chunks)
            if len(self._events) == 1:
                self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._empty)
        except RuntimeError:
            # The loop is closed: the process ends, and nobody is left to tell.
            self._stopping.set()

    def _empty(self) -> None:
        with self._changed:
            events, self._events, self._bytes = self._events, [], 0
            self._changed.notify()
        self._deliver(events)
