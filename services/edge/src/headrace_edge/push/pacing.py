"""From a stream's broadcast to a target's thread: a bounded queue, and a reader that skips forward when it is full."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track

QUEUE_BYTES: Final = 2 * 1024 * 1024
"""Most bytes that wait for a target's thread, beside the chunk that reaches them: two seconds of 8 Mbit/s."""

LOOK_SECONDS: Final = 0.2
"""How often a thread that waits looks whether it is to stop."""


@dataclass(frozen=True, slots=True)
class Begin:
    """An epoch with these tracks begins."""

    tracks: tuple[Track, ...]


Item = Begin | Chunk


class Conveyor:
    """Takes items on the loop and gives them to one thread, in order.

    Args:
        loop: where `put` and `wait_room` are called.

    Attributes:
        is_taken: whether the target took any media yet.
        on_taken: called on the loop when it did.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._stopped = False
        self._room = asyncio.Event()
        self._room.set()
        self.is_taken = False
        self.on_taken: Callable[[], None] = lambda: None

    @property
    def has_room(self) -> bool:
        """Whether more should be put."""
        return self._room.is_set()

    def put(self, item: Item) -> None:
        """Hand an item over; never blocks."""
        with self._changed:
            self._items.append(item)
            if isinstance(item, Chunk):
                self._bytes += len(item.record)
            if self._bytes >= QUEUE_BYTES:
                self._room.clear()
            self._changed.notify()

    async def wait_room(self) -> None:
        """Wait until more should be put."""
        await self._room.wait()

    def stop(self) -> None:
        """Have the thread get nothing more."""
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify()

    def get(self) -> Item | None:
        """Return the next item, waiting for it; `None` once it was stopped. Called by the thread only."""
        with self._changed:
            while not self._items:
                if self._stopped:
                    return None
                self._changed.wait(LOOK_SECONDS)
            item = self._items.popleft()
            if isinstance(item, Chunk):
                self._bytes -= len(item.record)
            is_free = self._bytes < QUEUE_BYTES // 2
        if is_free and not self._room.is_set():
            self._tell(self._room.set)
        return item

    def taken(self) -> None:
        """Tell that the target took media. Called by the thread only."""
        if not self.is_taken:
            self.is_taken = True
            self._tell(self.on_taken)

    def _tell(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            self._stopped = True  # the loop is closed: the process ends
