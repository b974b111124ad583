"""Bytes from a publisher's connection to its reader: bounded, and read like a file, by this process or another.

What the system's pipe does not take waits here, and the pipe is the whole border: a reader needs a descriptor and
nothing else of whoever writes.
"""

from __future__ import annotations

import asyncio
import os
import select
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


BARREN_SECONDS: Final = 10.0
BARREN_READS: Final = 100
"""How long, and how often, bytes may come in which no media are found. The first packet of a very slow stream takes a
second; a process that stood still for a while has not read that often since."""


class PipeStalled(Exception):
    """Nothing came for as long as the reader wants to wait."""


class PipeBarren(PipeStalled):
    """What came for long was no media: libav looks for some as long as it gets anything."""


class BytePipe:
    """One file, written on the loop and read elsewhere while it is written.

    Args:
        format: what it is, by libav's name.
        on_room: called on the loop when there is room again after `write` had returned False.

    Raises:
        OSError: when this process has no descriptor left.
    """

    def __init__(self, format: str, on_room: Callable[[], None] = lambda: None) -> None:
        self.format = format
        self._on_room = on_room
        self._loop = asyncio.get_running_loop()
        self._reading_end, self._writing_end = os.pipe()
        os.set_blocking(self._reading_end, False)
        os.set_blocking(self._writing_end, False)
        self._pieces: deque[bytes | memoryview] = deque()
        self._is_watched = False
        self._ended = False
        self._was_full = False
        self.waiting_bytes = 0

    @property
    def is_closed(self) -> bool:
        """Whether all of it was handed over, or nobody reads it any more."""
        return self._writing_end < 0

    def write(self, data: bytes) -> bool:
        """Take bytes; return False when no more should be written until there is room."""
        if data and not self._ended:
            self._pieces.append(data)
            self.waiting_bytes += len(data)
            self._flush()
        # Who was told so once waits to be told of room, whatever it writes until then.
        self._was_full = self._was_full or self.waiting_bytes >= PIPE_MAX_BYTES
        return not self._was_full

    def end(self) -> None:
        """Nothing more will be written; what was, is still read."""
        self._ended = True
        self._flush()

    def take_reading_end(self) -> int:
        """Return the descriptor to read from, non-blocking; it is the caller's to close, and given once."""
        assert self._reading_end >= 0
        descriptor, self._reading_end = self._reading_end, -1
        return descriptor

    def drop(self) -> None:
        """Nobody will read it."""
        if self._reading_end >= 0:
            os.close(self.take_reading_end())
        self._forget()
        if self._was_full:
            self._was_full = False
            self._on_room()

    def _flush(self) -> None:
        """Hand over as much as the pipe takes."""
        try:
            while self._pieces:
                piece = self._pieces[0]
                written = os.write(self._writing_end, piece)
                self.waiting_bytes -= written
                if written == len(piece):
                    self._pieces.popleft()
                else:
                    self._pieces[0] = memoryview(piece)[written:]
        except BlockingIOError:
            self._watch()
        except OSError:
            self._forget()  # the reader is gone
        if not self._pieces:
            self._unwatch()
            if self._ended:
                self._close()
        if self._was_full and self.waiting_bytes < PIPE_MAX_BYTES // 2:
            self._was_full = False
            self._on_room()

    def _watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            self._loop.add_writer(self._writing_end, self._flush)

    def _unwatch(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._loop.remove_writer(self._writing_end)

    def _forget(self) -> None:
        self._pieces.clear()
        self.waiting_bytes = 0
        self._ended = True
        self._unwatch()
        self._close()

    def _close(self) -> None:
        if self._writing_end >= 0:
            os.close(self._writing_end)
            self._writing_end = -1


class PipeReader:
    """The reading end of a pipe as a file for libav; it may be closed while another thread reads.

    Args:
        descriptor: non-blocking; closed by `close`.
        stopping: ends every wait.
        stall_seconds: longest silence.

    Attributes:
        has_stalled: whether nothing came for so long; libav may take that for the end of the file.
    """

    def __init__(self, descriptor: int, stopping: threading.Event, stall_seconds: float) -> None:
        self._descriptor = descriptor
        self._stopping = stopping
        self._stall_seconds = stall_seconds
        self.has_stalled = False
        self._media_at = time.monotonic()
        self._reads = 0
        self._lock = threading.Lock()
        self._poll = select.poll()  # select() itself takes no descriptor above 1023
        self._poll.register(descriptor, select.POLLIN)

    def read(self, most: int) -> bytes:
        """Return from 1 to `most` bytes as soon as there are any; nothing at the end or when it is time to stop.

        Raises:
            PipeStalled: when none came for too long; libav asks again all the same, and then that was the end.
            PipeBarren: when they were no media for too long.
        """
        if self.has_stalled:
            return b""
        now = time.monotonic()
        deadline = now + self._stall_seconds
        self._reads += 1
        if self._reads > BARREN_READS and now - self._media_at > BARREN_SECONDS:
            raise PipeBarren
        while not self._stopping.is_set():
            with self._lock:
                if self._descriptor < 0:
                    break
                try:
                    return os.read(self._descriptor, most)
                except BlockingIOError:
                    pass
            if time.monotonic() > deadline:
                self.has_stalled = True
                raise PipeStalled
            self._poll.poll(LOOK_SECONDS * 1000)
        return b""

    def found_media(self) -> None:
        """Take note that what was read so far was of use."""
        self._media_at, self._reads = time.monotonic(), 0

    def close(self) -> None:
        """Read no more; a second call does nothing."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
