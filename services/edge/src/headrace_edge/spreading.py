"""The same bytes to many viewers: by one call for each of them, or by one for all."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from headrace_edge.ring import ENTRIES, Ring
from headrace_edge.sender import Sender

BROKEN = -1
"""Stands for the bytes that a broken connection took."""

RING_LEAST = 8
"""Viewers from which the ring is used: for fewer the calls themselves are cheaper."""

Spread = Callable[[bytes], list[tuple[int, int]]]
"""Hands bytes to the viewers it was made for; returns those that did not take it all, by their place among them, and
the bytes taken or `BROKEN`."""

log = structlog.get_logger(__name__)


class Spreader(Protocol):
    """Makes spreads."""

    def spread(self, senders: Sequence[Sender]) -> Spread:
        """Return what hands bytes to `senders`, as long as all of them are there and none is paused."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class CallSpreader:
    """One `send` for each viewer: works everywhere."""

    def spread(self, senders: Sequence[Sender]) -> Spread:
        sends = [sender.send for sender in senders]
        return lambda data: send_each(sends, data)

    def close(self) -> None:
        """It holds nothing."""


class RingSpreader:
    """One system call for a thousand viewers on plain sockets; others, and small crowds, by calls."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._entries: dict[int, bytes] = {}
        self._calls = CallSpreader()

    def spread(self, senders: Sequence[Sender]) -> Spread:
        descriptors = [sender.descriptor for sender in senders]
        if self._ring.is_broken or len(senders) < RING_LEAST or None in descriptors:
            return self._calls.spread(senders)
        entries = [self._entry(descriptor) for descriptor in descriptors if descriptor is not None]
        blocks = [b"".join(entries[at : at + ENTRIES]) for at in range(0, len(entries), ENTRIES)]

        def send_all(data: bytes) -> list[tuple[int, int]]:
            if self._ring.is_broken:
                return send_each([sender.send for sender in senders], data)
            late = self._ring.send(blocks, data)
            if not late:
                return []
            taken = ((index, late.get(descriptor or 0)) for index, descriptor in enumerate(descriptors))
            return [(index, _meaning(took)) for index, took in taken if took is not None]

        return send_all

    def close(self) -> None:
        self._ring.close()

    def _entry(self, descriptor: int) -> bytes:
        entry = self._entries.get(descriptor)
        if entry is None:
            entry = self._entries[descriptor] = self._ring.entry(descriptor)
        return entry


def make_spreader() -> Spreader:
    """Return the best that this system allows."""
    try:
        spreader: Spreader = RingSpreader(Ring())
    except (OSError, AttributeError) as error:
        log.info("sending_by_calls", reason=f"no io_uring: {error}")
        return CallSpreader()
    log.info("sending_by_io_uring")
    return spreader


def send_each(sends: Sequence[Callable[[bytes], int]], data: bytes) -> list[tuple[int, int]]:
    """Hand `data` to everybody by a call each; return who did not take it all, as a `Spread` does."""
    size = len(data)
    late = []
    for index, send in enumerate(sends):
        try:
            if (taken := send(data)) != size:
                late.append((index, taken))
        except BlockingIOError:
            late.append((index, 0))
        except OSError:
            late.append((index, BROKEN))
    return late


def _meaning(took: int) -> int:
    """Return the bytes that a socket took, or `BROKEN`."""
    if took >= 0:
        return took
    return 0 if -took in (errno.EAGAIN, errno.EINTR) else BROKEN
