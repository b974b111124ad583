"""The way bytes leave for one viewer, behind an interface that the fan-out can write to without knowing it.

Theory of operation
-------------------
After the handshake a viewer's connection is taken from the HTTP server and stands alone: a socket, its place in the
event loop, and what the kernel has not taken yet, which is nothing most of the time. The fan-out calls `send` of every
viewer itself, one system call each, and hears at once who did not take it all: such a viewer keeps the rest, as a
reference to bytes that others share, and is paused until the kernel has taken that. TLS needs a transport in between
(`headrace_edge.transport_sender`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

from headrace_edge.frames import CloseCode, close_frame

KERNEL_UNSENT_BYTES = 128 * 1024
"""Unsent bytes of one viewer that the kernel takes (TCP_NOTSENT_LOWAT). Without it the kernel holds megabytes for a
slow viewer, which are old by the time they arrive and cannot be skipped."""

KEEPALIVE_SECONDS = (15, 5, 3)
"""Idle seconds before the kernel probes a silent connection, seconds between probes, probes: a viewer that vanished
without a word is noticed in half a minute."""

CLOSE_SECONDS = 1.0
"""How long a viewer may take to answer a close before its connection is cut."""

READ_BYTES = 16 * 1024
"""Read from a viewer at once: viewers have little to say."""


class SenderListener(Protocol):
    """Who is told how the way to a viewer is."""

    def paused(self) -> None:
        """Too much is unsent: do not write until `resumed`."""
        ...

    def resumed(self) -> None: ...
    def lost(self) -> None:
        """Nothing more can be sent; nothing else will be told."""
        ...


class Hearer(Protocol):
    """Who is told what a viewer sends."""

    def heard(self, data: bytes) -> None: ...
    def gone(self) -> None:
        """The connection is closed."""
        ...


class Sender(Protocol):
    """Sends whole WebSocket frames to one viewer and never waits.

    Attributes:
        listener: told about flow from the moment it is set; `paused` may be called from inside `send`, `keep`, `write`.
        hearer: told what comes from the viewer.
        send: hands one or more whole frames to the connection and returns how many bytes it took. It is a plain
            function that may be called again and again without looking at the sender, but only while that is not
            paused. Raises `BlockingIOError` when it took none, another `OSError` when the connection is broken.
            What was not taken must go to `keep` before anything else is sent.
        is_paused: whether `listener` would have been told to wait.
        descriptor: of the plain socket that `send` writes to; `None` where there is more in between.
    """

    listener: SenderListener | None
    hearer: Hearer | None
    send: Callable[[bytes], int]
    is_paused: bool
    descriptor: int | None

    def keep(self, data: bytes, taken: int) -> None:
        """Send `data` from byte `taken` on as soon as the viewer takes it; the bytes are shared, not copied."""
        ...

    def write(self, data: bytes) -> None:
        """Send `data`, and keep what is not taken at once; it goes behind what is unsent. Once finished, do nothing."""
        ...

    def unsent(self) -> int:
        """Return how many bytes were kept but not taken yet."""
        ...

    def finish(self, code: CloseCode, reason: str = "") -> None:
        """Send a close frame after what is unsent and cut the connection if the viewer does not close it in time.

        The listener is told that nothing more can be sent.
        """
        ...

    def close(self) -> None:
        """Close the connection once what is unsent has left; for when the viewer's close frame has come."""
        ...

    def abort(self) -> None:
        """Cut the connection and forget what is unsent."""
        ...


class SocketSender:
    """A sender on a plain socket that nobody else uses; it must be connected and non-blocking.

    It reads the socket as well and tells `hearer`.
    """

    __slots__ = (
        "_is_closing",
        "_is_finished",
        "_loop",
        "_rest",
        "_socket",
        "descriptor",
        "hearer",
        "is_paused",
        "listener",
        "send",
    )

    def __init__(self, own: socket.socket) -> None:
        self.listener: SenderListener | None = None
        self.hearer: Hearer | None = None
        self.send: Callable[[bytes], int] = own.send
        self.is_paused = False
        self.descriptor: int | None = own.fileno()
        self._socket = own
        self._loop = asyncio.get_running_loop()
        self._rest: list[memoryview] = []
        self._is_finished = False
        self._is_closing = False
        tune(own)
        self._loop.add_reader(own.fileno(), self._read)

    def keep(self, data: bytes, taken: int) -> None:
        self._rest.append(memoryview(data)[taken:])
        if not self.is_paused:
            self.is_paused = True
            self._loop.add_writer(self._socket.fileno(), self._send_rest)
            if self.listener is not None:
                self.listener.paused()

    def write(self, data: bytes) -> None:
        if not self._is_finished:
            self._write(data)

    def unsent(self) -> int:
        return sum(map(len, self._rest))

    def finish(self, code: CloseCode, reason: str = "") -> None:
        if self._is_finished:
            return
        self._is_finished = True
        self._tell_lost()
        self._write(close_frame(code, reason))
        self._loop.call_later(CLOSE_SECONDS, self.abort)

    def close(self) -> None:
        self._is_finished = self._is_closing = True
        self._tell_lost()
        if not self._rest:
            self.abort()
        else:
            self._loop.call_later(CLOSE_SECONDS, self.abort)

    def abort(self) -> None:
        descriptor = self._socket.fileno()
        if descriptor < 0:
            return
        self._loop.remove_reader(descriptor)
        self._loop.remove_writer(descriptor)
        self._socket.close()
        self._rest.clear()
        self._is_finished = True
        self._tell_lost()
        hearer, self.hearer = self.hearer, None
        if hearer is not None:
            hearer.gone()

    def _write(self, data: bytes) -> None:
        taken = 0
        if not self._rest:
            try:
                taken = self._socket.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self.abort()
                return
        if taken < len(data):
            self.keep(data, taken)

    def _send_rest(self) -> None:
        """Send what was kept, as far as the kernel takes it now."""
        try:
            while self._rest:
                taken = self._socket.send(self._rest[0])
                if taken < len(self._rest[0]):
                    self._rest[0] = self._rest[0][taken:]
                    return
                del self._rest[0]
        except BlockingIOError:
            return
        except OSError:
            self.abort()
            return
        self._loop.remove_writer(self._socket.fileno())
        self.is_paused = False
        if self._is_closing:
            self.abort()
        elif self.listener is not None:
            self.listener.resumed()

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.abort()
        elif self.hearer is not None:
            self.hearer.heard(data)

    def _tell_lost(self) -> None:
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.lost()


def tune(sock: socket.socket) -> None:
    """Set what keeps a viewer's share of the kernel small and notices that it vanished, where the system can."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    idle, interval, probes = KEEPALIVE_SECONDS
    options = (
        ("TCP_NOTSENT_LOWAT", KERNEL_UNSENT_BYTES),
        ("TCP_KEEPIDLE", idle),
        ("TCP_KEEPINTVL", interval),
        ("TCP_KEEPCNT", probes),
    )
    for name, value in options:
        if (option := getattr(socket, name, None)) is not None:
            with contextlib.suppress(OSError):  # it may be gone already, which is noticed later
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
