"""Where other nodes dial: `GET /relay`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from headrace.relay.link import POLICY_VIOLATION
from headrace.session.link import Link
from headrace.session.links import Links
from headrace.transport.accepting import accept
from headrace.transport.channel import Channel
from headrace.wire.relay import CONTROL_MAX_BYTES, SUBPROTOCOL

LINKS_MAX = 4096
"""Most open links of one node; more are refused. Far beyond the children that one process can feed."""

OPENINGS_MAX = 512
"""Most links that nobody has proved anything on yet; with one more the oldest is closed. So nodes come in, which take
a few round trips, however many strangers stand at the door."""


def relay_door(
    links: Links, is_open: Callable[[], bool], send_limit_bytes: int
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the handler that makes links of WebSocket requests while `is_open`."""
    openings: dict[Link, None] = {}

    async def serve(channel: Channel) -> None:
        link = links.accept(channel)
        openings[link] = None
        try:
            _make_room(openings)
            await link.wait_closed()
        finally:
            openings.pop(link, None)

    async def relay(request: web.Request) -> web.StreamResponse:
        if "Origin" in request.headers:
            raise web.HTTPForbidden(text="nodes only: web pages have no business here")
        if not is_open() or len(links.open_links) >= LINKS_MAX:
            raise web.HTTPServiceUnavailable(text="this node takes no links now")
        return await accept(
            request,
            SUBPROTOCOL,
            serve,
            max_size=CONTROL_MAX_BYTES,  # more once the peer has proved who it is
            send_limit_bytes=send_limit_bytes,
        )

    return relay


def _make_room(openings: dict[Link, None]) -> None:
    """Close the oldest of too many; those that have opened or ended are none any more."""
    for link in [link for link in openings if link.is_open or link.end is not None]:
        del openings[link]
    while len(openings) > OPENINGS_MAX:
        oldest = next(iter(openings))
        del openings[oldest]
        oldest.close(POLICY_VIOLATION, "crowded")
