"""Where other nodes dial: `GET /relay`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from headrace.session.links import Links
from headrace.transport.accepting import accept
from headrace.transport.channel import Channel
from headrace.wire.relay import CONTROL_MAX_BYTES, SUBPROTOCOL

LINKS_MAX = 4096
"""Most links of one node; more are refused. Far beyond the children that one process can feed."""


def relay_door(
    links: Links, is_open: Callable[[], bool], send_limit_bytes: int
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the handler that makes links of WebSocket requests while `is_open`."""

    async def serve(channel: Channel) -> None:
        await links.accept(channel).wait_closed()

    async def relay(request: web.Request) -> web.StreamResponse:
        if "Origin" in request.headers:
            raise web.HTTPForbidden(text="nodes only: web pages have no business here")
        if not is_open() or len(links.all) >= LINKS_MAX:
            raise web.HTTPServiceUnavailable(text="this node takes no links now")
        return await accept(
            request,
            SUBPROTOCOL,
            serve,
            max_size=CONTROL_MAX_BYTES,  # more once the peer has proved who it is
            send_limit_bytes=send_limit_bytes,
        )

    return relay
