"""Accepting another node: an aiohttp request becomes a `Channel`.

aiohttp reads the request; then the channel takes the transport over from it and writes the answer itself, so that both
ends of a link read and write in the same way and prebuilt frames go straight to the transport.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from headrace.transport.channel import Channel, quiet_logger
from headrace.transport.reaching import PROXY_HEADERS

SWITCHING_PROTOCOLS = 101

HANDSHAKE_HEADERS = (
    "Connection",
    "Upgrade",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
)
"""What a handshake is judged by (RFC 6455, section 4.2.1)."""


async def accept(
    request: web.Request,
    subprotocol: str,
    serve: Callable[[Channel], Awaitable[None]],
    *,
    max_size: int,
    send_limit_bytes: int,
) -> web.StreamResponse:
    """Answer a WebSocket request and run `serve` on its channel; return when the connection is over.

    A request that is none, or that does not offer `subprotocol`, is answered with an HTTP error.

    Args:
        request: as aiohttp gave it to the handler, nothing answered yet.
        subprotocol: what the client must offer.
        serve: runs as long as the connection is wanted; the channel is closed behind it.
        max_size: longest message taken, in bytes.
        send_limit_bytes: see `Channel`.
    """
    response = _handshake(request, subprotocol)
    if response.status_code != SWITCHING_PROTOCOLS:
        return _refusal(response)
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client went away during the handshake")
    protocol = ServerProtocol(state=State.OPEN, max_size=max_size, logger=quiet_logger())
    is_proxied = any(name in request.headers for name in PROXY_HEADERS)
    channel = _Accepted(protocol, send_limit_bytes, transport.get_protocol(), is_proxied=is_proxied)
    transport.set_protocol(channel)
    channel.connection_made(transport)
    transport.write(response.serialize())
    try:
        await serve(channel)
    finally:
        channel.close(1000, "")
        try:
            await channel.wait_closed()
        finally:
            channel.abort()
    return web.Response()  # has nowhere to go: the transport is closed, which aiohttp takes as it is


class _Accepted(Channel):
    """A channel on a transport that was aiohttp's, which is told of its end."""

    def __init__(
        self, protocol: ServerProtocol, send_limit_bytes: int, before: asyncio.BaseProtocol, *, is_proxied: bool
    ) -> None:
        super().__init__(protocol, send_limit_bytes)
        self._before = before
        self._is_proxied = is_proxied

    @property
    def is_loopback(self) -> bool:
        """Whether both ends are on this machine; behind a proxy nobody is known to be."""
        return not self._is_proxied and super().is_loopback

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._before.connection_lost(exc)


def _handshake(request: web.Request, subprotocol: str) -> Response:
    """Return the answer to the client's handshake, 101 when it is good."""
    headers = Headers()
    try:
        for name in HANDSHAKE_HEADERS:
            for value in request.headers.getall(name, ()):
                headers[name] = value
    except InvalidHeader:
        raise web.HTTPBadRequest(text="a header of the handshake holds what no header may") from None
    protocol = ServerProtocol(subprotocols=[Subprotocol(subprotocol)], logger=quiet_logger())
    return protocol.accept(Request(request.path_qs, headers))


def _refusal(response: Response) -> web.Response:
    kept = {name: response.headers[name] for name in ("Upgrade", "Sec-WebSocket-Version") if name in response.headers}
    return web.Response(status=response.status_code, headers=kept, text=bytes(response.body or b"").decode())
