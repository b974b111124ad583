"""What the doors have in common: becoming a WebSocket, hearing the viewer out, closing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

from aiohttp import web

from headrace.clock import Clock
from headrace.wire.errors import WireError
from headrace_edge.frame_reader import FrameReader, Message
from headrace_edge.frames import CloseCode, Opcode, frame
from headrace_edge.sender import Sender, SocketSender
from headrace_edge.transport_sender import TransportSender
from headrace_edge.upgrade import BadHandshake, answer

MESSAGES_PER_SECOND = 20
"""Frames a viewer may send in the long run: a player sends a pong and a report a second, a question now and then."""

MESSAGES_BURST = 60
"""Frames a viewer may send at once."""


class Flood(Exception):
    """A viewer sends more messages than it may."""


class Bucket:
    """Counts messages against a rate: a token bucket."""

    __slots__ = ("_clock", "_last", "_tokens")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock.monotonic()
        self._tokens = float(MESSAGES_BURST)

    def take(self) -> None:
        """Count one message.

        Raises:
            Flood: when it is one too many.
        """
        now = self._clock.monotonic()
        self._tokens = min(MESSAGES_BURST, self._tokens + (now - self._last) * MESSAGES_PER_SECOND)
        self._last = now
        if self._tokens < 1:
            raise Flood
        self._tokens -= 1


class ViewerSocket:
    """One viewer's WebSocket after the handshake: `sender` to it, `messages` from it.

    Pings are answered here. What was heard and not taken yet is bounded by the bucket and the longest message.
    """

    __slots__ = ("_bucket", "_error", "_is_over", "_messages", "_reader", "_waiting", "sender")

    def __init__(self, sender: Sender, max_bytes: int, clock: Clock) -> None:
        self.sender = sender
        self._reader = FrameReader(max_bytes)
        self._bucket = Bucket(clock)
        self._messages: deque[bytes | str] | None = None  # an empty deque has 760 bytes, and most viewers say nothing
        self._error: Flood | WireError | None = None
        self._is_over = False
        self._waiting: asyncio.Future[None] | None = None
        sender.hearer = self

    async def receive(self) -> bytes | str | None:
        """Return the viewer's next binary or text message, or `None` once it is gone or has said goodbye.

        Raises:
            Flood: when it sends too many.
            WireError: `too_large` or `bad_frame`; it has been told so already.
        """
        while True:
            if self._messages:
                return self._messages.popleft()
            self._messages = None
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._is_over:
                return None
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    async def messages(self) -> AsyncIterator[bytes | str]:
        """Yield the viewer's messages until it is gone.

        Raises:
            Flood, WireError: as `receive`.
        """
        while (message := await self.receive()) is not None:
            yield message

    async def close(self, code: CloseCode = CloseCode.DONE, reason: str = "") -> None:
        """Say goodbye, hear the viewer's goodbye or wait until time is up, and let go of the connection."""
        self.sender.finish(code, reason)
        try:
            while await self.receive() is not None:
                pass
        except (Flood, WireError):
            pass  # it was told to go; whatever it says now is not read
        self.sender.close()

    # -- what the sender tells -----------------------------------------------------------------------------------

    def heard(self, data: bytes) -> None:
        if self._is_over or self._error is not None:
            return
        try:
            for message in self._reader.feed(data):
                self._bucket.take()
                if message is not None:
                    self._take(message)
        except WireError as error:
            self._error = error
            code = CloseCode.TOO_LARGE if error.code == "too_large" else CloseCode.PROTOCOL_ERROR
            self.sender.finish(code, error.code)
        except Flood as error:
            self._error = error
        self._wake()

    def gone(self) -> None:
        self._is_over = True
        self._wake()

    def _take(self, message: Message) -> None:
        if message.opcode is Opcode.PING:
            if not self.sender.is_paused:
                self.sender.write(frame(Opcode.PONG, message.data))
        elif message.opcode is Opcode.CLOSE:
            self._is_over = True
        elif message.opcode is not Opcode.PONG and not self._is_over:
            if self._messages is None:
                self._messages = deque()
            self._messages.append(message.data.decode() if message.opcode is Opcode.TEXT else message.data)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


async def open_socket(
    request: web.Request,
    clock: Clock,
    *,
    max_bytes: int,
    protocols: Iterable[str] = (),
    headers: dict[str, str] | None = None,
) -> tuple[ViewerSocket, web.StreamResponse]:
    """Answer the handshake and take the connection from the HTTP server, which forgets it.

    Returns the viewer's socket, and the answer, which the request's handler must return.

    Raises:
        HTTPBadRequest: when the handshake is none.
        ConnectionResetError: when the viewer was gone before.
    """
    try:
        accepted = answer(request.headers, protocols)
    except BadHandshake as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    if request.body_exists or request.method != "GET":
        raise web.HTTPBadRequest(text="a WebSocket is asked for by GET, without a body")
    response = web.StreamResponse(status=101, headers={**(headers or {}), **accepted})
    await response.prepare(request)
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the viewer left before it was let in")
    early = _Early()
    request.protocol.set_parser(cast(Any, early))
    sender = take_over(transport)
    # The server must not close what is not its own any more, and may forget the connection and all it kept for it.
    request.protocol.transport = None
    request.protocol.connection_lost(None)
    opened = ViewerSocket(sender, max_bytes, clock)
    if early.data:
        opened.heard(early.data)
    return opened, response


class _Early:
    """Takes what a viewer sent behind its handshake without waiting for the answer."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """The server lets go."""


def take_over(transport: asyncio.Transport) -> Sender:
    """Return a sender on the connection of `transport`: on its socket where that can be, else on the transport."""
    own: socket.socket | None = transport.get_extra_info("socket")
    is_tls = transport.get_extra_info("sslcontext") is not None
    if is_tls or own is None or transport.get_write_buffer_size():
        return TransportSender(transport)
    taken = socket.socket(fileno=os.dup(own.fileno()))
    taken.setblocking(False)
    transport.set_protocol(asyncio.Protocol())
    transport.abort()  # closes its own descriptor; the connection lives on in ours
    return SocketSender(taken)
