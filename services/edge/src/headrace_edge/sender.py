"""The way bytes leave for one viewer, behind an interface that the fan-out can write to without knowing it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

from headrace_edge.frames import CloseCode, close_frame

HIGH_WATER_BYTES = 256 * 1024
"""Unsent bytes of one viewer in this process from which it is not written to: several chunks, a fraction of a second
of a usual stream, so that memory for ten thousand stuck viewers stays under 3 GiB."""

LOW_WATER_BYTES = 32 * 1024
"""Unsent bytes at which a viewer that waited is written to again."""

KERNEL_UNSENT_BYTES = 128 * 1024
"""Unsent bytes of one viewer that the kernel takes (TCP_NOTSENT_LOWAT). Without it the kernel holds megabytes for a
slow viewer, which are old by the time they arrive and cannot be skipped."""

KEEPALIVE_SECONDS = (15, 5, 3)
"""Idle seconds before the kernel probes a silent connection, seconds between probes, probes: a viewer that vanished
without a word is noticed in half a minute."""

CLOSE_SECONDS = 1.0
"""How long a viewer may take to answer a close before its connection is cut."""


class SenderListener(Protocol):
    """Who is told how the way to a viewer is."""

    def paused(self) -> None:
        """Too much is unsent: do not write until `resumed`."""
        ...

    def resumed(self) -> None: ...
    def lost(self) -> None:
        """The connection is gone; nothing else will be told."""
        ...


class Sender(Protocol):
    """Writes whole WebSocket frames to one viewer and never waits.

    Attributes:
        listener: told about flow from the moment it is set; `paused` may be called from inside `write`.
        write: takes one or more whole frames, as one immutable object that other viewers may share.
        is_paused: whether `listener` would have been told to wait.
    """

    listener: SenderListener | None
    write: Callable[[bytes], None]
    is_paused: bool

    def unsent(self) -> int:
        """Return how many bytes were written but not taken by the kernel yet."""
        ...

    def finish(self, code: CloseCode, reason: str = "") -> None:
        """Send a close frame after what is unsent and cut the connection if the viewer does not close it in time."""
        ...

    def abort(self) -> None:
        """Cut the connection and forget what is unsent."""
        ...


class TransportSender:
    """A sender on the transport of an HTTP server's connection, after the WebSocket handshake.

    It takes the place of the transport's protocol, so that it hears about flow, and passes everything on to it.
    """

    __slots__ = ("_inner", "_transport", "finished", "is_paused", "listener", "write")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.listener: SenderListener | None = None
        self.write: Callable[[bytes], None] = transport.write
        self.is_paused = False
        self.finished = False
        self._transport = transport
        self._inner = transport.get_protocol()
        transport.set_protocol(_Flow(self, self._inner))
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)
        _tune(transport.get_extra_info("socket"))

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def finish(self, code: CloseCode, reason: str = "") -> None:
        if self.finished:
            return
        self._transport.write(close_frame(code, reason))
        self._stop_writing()
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def close(self) -> None:
        """Close the connection once what is unsent has left; for when the viewer's close frame has come."""
        self._stop_writing()
        self._transport.close()
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def abort(self) -> None:
        self._stop_writing()
        self._transport.abort()

    def _stop_writing(self) -> None:
        self.finished = True
        self.write = _discard


class _Flow(asyncio.Protocol):
    """Stands between a transport and its protocol and hears about flow."""

    __slots__ = ("_inner", "_sender")

    def __init__(self, sender: TransportSender, inner: asyncio.BaseProtocol) -> None:
        assert isinstance(inner, asyncio.Protocol)
        self._sender = sender
        self._inner = inner

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()
        self._sender.is_paused = True
        if self._sender.listener is not None:
            self._sender.listener.paused()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
        self._sender.is_paused = False
        if self._sender.listener is not None:
            self._sender.listener.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
        self._sender._stop_writing()
        listener, self._sender.listener = self._sender.listener, None
        if listener is not None:
            listener.lost()


def _discard(data: bytes) -> None:
    """Write to a viewer that is leaving."""


def _tune(sock: socket.socket | None) -> None:
    """Set what keeps a viewer's share of the kernel small and notices that it vanished, where the system can."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
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
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
