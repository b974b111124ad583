"""What the doors have in common: becoming a WebSocket, hearing the viewer out, closing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web

from headrace.clock import Clock
from headrace.wire.errors import WireError
from headrace_edge.frames import CloseCode
from headrace_edge.sender import CLOSE_SECONDS, TransportSender

MESSAGES_PER_SECOND = 20
"""Messages a viewer may send in the long run: a player sends a pong and a report a second, a question now and then."""

MESSAGES_BURST = 60
"""Messages a viewer may send at once."""


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


def is_upgrade(request: web.Request) -> bool:
    """Return whether the request asks for a WebSocket."""
    return request.headers.get("Upgrade", "").strip().lower() == "websocket"


class ViewerSocket:
    """One viewer's WebSocket after the handshake: `sender` to it, `messages` from it.

    The library answers pings and reads frames; whatever is sent, close frames included, goes through `sender`.
    """

    def __init__(self, response: web.WebSocketResponse, transport: asyncio.Transport, clock: Clock) -> None:
        self.response = response
        self.sender = TransportSender(transport)
        self._bucket = Bucket(clock)

    async def receive(self) -> WSMessage | None:
        """Return the viewer's next text or binary message, or `None` once it is gone or has said goodbye.

        Raises:
            Flood: when it sends too many.
            WireError: `too_large` or `bad_frame`; the library has told it so already.
        """
        message = await self.response.receive()
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            self._bucket.take()
            return message
        if isinstance(message.data, WebSocketError):
            code = "too_large" if message.data.code == WSCloseCode.MESSAGE_TOO_BIG else "bad_frame"
            raise WireError(code, str(message.data))
        return None

    async def messages(self) -> AsyncIterator[WSMessage]:
        """Yield the viewer's messages until it is gone.

        Raises:
            Flood, WireError: as `receive`.
        """
        while (message := await self.receive()) is not None:
            yield message

    async def close(self, code: CloseCode = CloseCode.DONE, reason: str = "") -> None:
        """Say goodbye, hear the viewer's goodbye or wait until time is up, and let go of the connection."""
        self.sender.finish(code, reason)
        while (await self.response.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
            pass
        self.sender.close()


async def open_socket(
    request: web.Request,
    clock: Clock,
    *,
    max_bytes: int,
    protocols: Iterable[str] = (),
    headers: dict[str, str] | None = None,
) -> ViewerSocket | None:
    """Answer the handshake; return `None` when the viewer was gone before that."""
    response = web.WebSocketResponse(
        protocols=protocols, compress=False, autoclose=False, max_msg_size=max_bytes, timeout=CLOSE_SECONDS
    )
    response.headers.update(headers or {})
    await response.prepare(request)
    transport = request.transport
    if transport is None or transport.is_closing():
        return None
    return ViewerSocket(response, transport, clock)
