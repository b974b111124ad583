"""Bytes from a publisher's connection to the reader's thread: bounded, and read like a file."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

PIPE_MAX_BYTES: Final = 4 * 1024 * 1024
"""Most bytes that wait for the reader: two seconds of 16 Mbit/s. Beyond it the door reads no more from its socket, and
the publisher feels it."""

LOOK_SECONDS: Final = 0.2
"""How often a reader that waits for bytes looks whether it is to stop."""


class PipeStalled(Exception):
    """Nothing came for as long as the reader wants to wait."""


class BytePipe:
    """One file, written by the loop and read by a thread while it is written.

    Args:
        format: what it is, by libav's name.
        on_room: called in the reader's thread when there is room again after `write` had returned False.
    """

    def __init__(self, format: str, on_room: Callable[[], None] = lambda: None) -> None:
        self.format = format
        self._on_room = on_room
        self._changed = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._ended = False
        self._was_full = False

    # -- the writer -----------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> bool:
        """Take bytes; return False when no more should be written until there is room."""
        with self._changed:
            if data and not self._ended:
                self._pieces.append(data)
                self._bytes += len(data)
                self._changed.notify()
            # Who was told so once waits to be told of room, whatever it writes until then.
            self._was_full = self._was_full or self._bytes >= PIPE_MAX_BYTES
            return not self._was_full

    def end(self) -> None:
        """Nothing more will be written; what was, is still read."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    # -- the reader -----------------------------------------------------------------------------------------------

    def reading(self, stopping: threading.Event, stall_seconds: float) -> PipeReader:
        """Return what libav reads from."""
        return PipeReader(self, stopping, stall_seconds)

    def take(self, most: int, stopping: threading.Event, stall_seconds: float) -> bytes:
        """Return from 1 to `most` bytes as soon as there are any; nothing at the end or when it is time to stop.

        Raises:
            PipeStalled: when none came for `stall_seconds`.
        """
        deadline = time.monotonic() + stall_seconds
        with self._changed:
            while not self._pieces:
                if self._ended or stopping.is_set():
                    return b""
                if time.monotonic() > deadline:
                    raise PipeStalled
                self._changed.wait(LOOK_SECONDS)
            taken = self._pop(most)
            has_room = self._was_full and self._bytes < PIPE_MAX_BYTES // 2
            if has_room:
                self._was_full = False
        if has_room:
            self._on_room()
        return taken

    def _pop(self, most: int) -> bytes:
        first = self._pieces.popleft()
        if len(first) > most:
            self._pieces.appendleft(first[most:])
            first = first[:most]
        self._bytes -= len(first)
        return first


class PipeReader:
    """A pipe as a file, for one reader."""

    def __init__(self, pipe: BytePipe, stopping: threading.Event, stall_seconds: float) -> None:
        self._pipe = pipe
        self._stopping = stopping
        self._stall_seconds = stall_seconds

    def read(self, most: int) -> bytes:
        """Return from 1 to `most` bytes, nothing at the end; see `BytePipe.take`."""
        return self._pipe.take(most, self._stopping, self._stall_seconds)
