"""A sender on an event loop's transport: for TLS, and for connections that are no plain sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from headrace_edge.frames import CloseCode, close_frame
from headrace_edge.sender import CLOSE_SECONDS, Hearer, SenderListener, tune

HIGH_WATER_BYTES = 256 * 1024
"""Unsent bytes of one viewer in this process from which it is not written to: several chunks, a fraction of a second
of a usual stream, so that memory for ten thousand stuck viewers stays under 3 GiB."""

LOW_WATER_BYTES = 32 * 1024
"""Unsent bytes at which a viewer that waited is written to again."""


class TransportSender(asyncio.Protocol):
    """A sender on the transport of a connection, whose protocol it becomes.

    The transport takes everything at once and says by itself when it holds too much.
    """

    __slots__ = ("_is_finished", "_transport", "descriptor", "hearer", "is_paused", "listener", "send")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.listener: SenderListener | None = None
        self.hearer: Hearer | None = None
        self.is_paused = False
        self.descriptor: int | None = None
        self.send: Callable[[bytes], int] = self._send
        self._is_finished = False
        self._transport = transport
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)
        own: socket.socket | None = transport.get_extra_info("socket")
        if own is not None:
            tune(own)

    def keep(self, data: bytes, taken: int) -> None:
        self._send(data[taken:])

    def write(self, data: bytes) -> None:
        if not self._is_finished:
            self._transport.write(data)

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def finish(self, code: CloseCode, reason: str = "") -> None:
        if self._is_finished:
            return
        self.write(close_frame(code, reason))
        self._stop_writing()
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def close(self) -> None:
        self._stop_writing()
        self._transport.close()
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def abort(self) -> None:
        self._stop_writing()
        self._transport.abort()

    # -- the transport's protocol ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.hearer is not None:
            self.hearer.heard(bytes(data))

    def pause_writing(self) -> None:
        self.is_paused = True
        if self.listener is not None:
            self.listener.paused()

    def resume_writing(self) -> None:
        self.is_paused = False
        if self.listener is not None:
            self.listener.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_writing()
        hearer, self.hearer = self.hearer, None
        if hearer is not None:
            hearer.gone()

    def _send(self, data: bytes) -> int:
        self._transport.write(data)
        return len(data)

    def _stop_writing(self) -> None:
        self._is_finished = True
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.lost()


def use_fast_transports() -> bool:
    """Have the running event loop make aiofastnet's transports from now on; return whether they are installed.

    TLS on them costs two thirds of what asyncio's own costs, and a fifth of its memory.
    """
    try:
        import aiofastnet
    except ImportError:
        return False
    aiofastnet.patch_loop(asyncio.get_running_loop())
    return True
