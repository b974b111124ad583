"""An event loop whose turns stay short, however many connections want something at once.

asyncio takes up everything that is ready in one turn: when ten thousand guests speak, or leave, in the same moment, the
turn takes a second, and whoever watches waits for its end. Here a turn takes up so few of the connections that it is
over in about `TURN_SECONDS`; the kernel hands the others out in later turns, each in its order (epoll(7) takes them
round robin). Connections that were preferred, the links by which streams come in, stand outside of that order: they
are taken up in every turn, and what they brought is handed out before anybody else is heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select as kernel
import selectors
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

TURN_SECONDS = 0.001
"""How long a turn should take at most: a chunk waits for the end of that in which it comes, and hardly longer."""

LEAST, MOST = 1, 32
"""Connections taken up in one turn: so few that a burst is over in some milliseconds before the pace is known; more at
once would not be cheaper."""

HELD_TURNS = 2
"""Turns that take up no others from the one on that took up a preferred connection: a chunk comes in with the first and
goes out to viewers with the second."""

HELD_MOST = 4
"""Turns in a row that take up no others: preferred connections that never fall silent must not lock everybody out."""

Ready = list[tuple[selectors.SelectorKey, int]]


class TurnSelector(selectors.BaseSelector):
    """What an event loop waits with, on Linux; see above.

    Args:
        clock: seconds, for how long turns take.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._preferred: dict[int, int] = {}
        self._first, self._others = kernel.epoll(), kernel.epoll()
        self._first.register(self._others.fileno(), kernel.EPOLLIN)
        self._at_once = MOST
        self._was_full = False
        self._to_hold = self._held = 0
        self._began = clock()

    def prefer(self, fileobj: FileDescriptorLike) -> None:
        """Take up this connection in every turn, as long as it is open."""
        descriptor = _number(fileobj)
        key = self._keys.get(descriptor)
        if key is not None:
            self._poll_of(descriptor).unregister(descriptor)
        self._preferred[descriptor] = os.fstat(descriptor).st_ino
        if key is not None:
            self._first.register(descriptor, _mask(key.events))

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        descriptor = _number(fileobj)
        if descriptor in self._keys:
            raise KeyError(f"{fileobj!r} is registered already")
        # The number may be another connection's by now.
        if descriptor in self._preferred and self._preferred[descriptor] != os.fstat(descriptor).st_ino:
            del self._preferred[descriptor]
        self._poll_of(descriptor).register(descriptor, _mask(events))
        key = self._keys[descriptor] = selectors.SelectorKey(fileobj, descriptor, events, data)
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        key = self._keys.pop(_number(fileobj))
        with contextlib.suppress(OSError):  # it may be closed already
            self._poll_of(key.fd).unregister(key.fd)
        return key

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[_number(fileobj)]
        if events != key.events:
            self._poll_of(key.fd).modify(key.fd, _mask(events))
        changed = self._keys[key.fd] = key._replace(events=events, data=data)
        return changed

    def select(self, timeout: float | None = None) -> Ready:
        if self._was_full:
            self._pace(self._clock() - self._began)
        others = self._others.fileno()
        found = self._poll(self._first, timeout, MOST)
        preferred = [one for one in found if one[0] != others]
        more: list[tuple[int, int]] = []
        if len(preferred) < len(found) and not self._holds(bool(preferred), timeout):
            more = self._poll(self._others, 0, self._at_once)
        self._was_full = len(more) == self._at_once
        ready: Ready = []
        for descriptor, mask in (*preferred, *more):
            self._add(ready, descriptor, mask)
        self._began = self._clock()
        return ready

    def _holds(self, is_preferred: bool, timeout: float | None) -> bool:
        """Return whether others wait in this turn; there is `is_preferred`, or what is to be done at once."""
        if is_preferred:
            self._to_hold = HELD_TURNS
        if self._to_hold and self._held < HELD_MOST and (is_preferred or timeout == 0):
            self._to_hold -= 1
            self._held += 1
            return True
        self._to_hold = self._held = 0
        return False

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return cast("Mapping[FileDescriptorLike, selectors.SelectorKey]", self._keys)

    def get_key(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._keys[_number(fileobj)]

    def close(self) -> None:
        self._first.close()
        self._others.close()
        self._keys.clear()

    def _poll_of(self, descriptor: int) -> kernel.epoll:
        return self._first if descriptor in self._preferred else self._others

    def _poll(self, poll: kernel.epoll, timeout: float | None, most: int) -> list[tuple[int, int]]:
        # Rounded up to the kernel's milliseconds, as selectors does: else a timer is awaited by turning in circles.
        seconds = None if timeout is None else max(0.0, -(-timeout // 1e-3) * 1e-3)
        try:
            return poll.poll(seconds, most)
        except InterruptedError:
            return []

    def _add(self, ready: Ready, descriptor: int, mask: int) -> None:
        key = self._keys.get(descriptor)
        if key is None:
            return
        events = 0
        if mask & ~kernel.EPOLLIN:
            events |= selectors.EVENT_WRITE
        if mask & ~kernel.EPOLLOUT:
            events |= selectors.EVENT_READ
        ready.append((key, events & key.events))

    def _pace(self, lasted: float) -> None:
        """Take up fewer or one more in the next turn, for the last one took so long.

        Most of the work that comes from a connection is done in the turns behind that which takes it up.
        """
        if lasted > TURN_SECONDS:
            self._at_once = max(LEAST, self._at_once // 2)
        elif lasted < TURN_SECONDS / 2:
            self._at_once = min(MOST, self._at_once + 1)


class TurnLoop(asyncio.SelectorEventLoop):
    """The event loop on it."""

    def __init__(self) -> None:
        self.turns = TurnSelector()
        super().__init__(self.turns)


def make_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop with short turns, where the system has what they need."""
    return TurnLoop() if sys.platform == "linux" else asyncio.new_event_loop()


def prefer(transport: asyncio.BaseTransport) -> None:
    """Take up the connection of `transport` in every turn of the running event loop, where that knows how."""
    loop, own = asyncio.get_running_loop(), transport.get_extra_info("socket")
    if isinstance(loop, TurnLoop) and own is not None and own.fileno() >= 0:
        loop.turns.prefer(own.fileno())


def _number(fileobj: FileDescriptorLike) -> int:
    return fileobj if isinstance(fileobj, int) else fileobj.fileno()


def _mask(events: int) -> int:
    reads = kernel.EPOLLIN if events & selectors.EVENT_READ else 0
    return reads | (kernel.EPOLLOUT if events & selectors.EVENT_WRITE else 0)
