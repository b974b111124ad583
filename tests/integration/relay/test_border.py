"""Links over borders whose owner has changed its mind."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest
from aiohttp import web

from headrace.clock import SystemClock
from headrace.session.border import SUBSCRIBER, Border, parse_far
from headrace.session.options import RelayOptions
from headrace.transport.accepting import accept
from headrace.transport.channel import Channel
from headrace.wire.relay import CONTROL_MAX_BYTES, SUBPROTOCOL
from headrace_ingress.border.upstream import NothingServed

FAR_SECONDS = 10.0


class Silent:
    """The other side's user of a channel: hears the hello, and says nothing.

    Attributes:
        greeted: done when the hello came.
    """

    def __init__(self) -> None:
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def message_received(self, message: bytes) -> None:
        """See `Receiver`."""
        if not self.greeted.done():
            self.greeted.set_result(None)

    def bytes_received(self) -> None: ...

    def became_writable(self) -> None: ...

    def channel_closed(self, code: int, reason: str, by_peer: bool) -> None: ...


async def test_a_link_that_is_wanted_no_more_is_not_left_open() -> None:
    """Who is cancelled while the other side is slow to prove itself leaves no connection behind that nobody owns."""
    silent, closed = Silent(), asyncio.Event()

    async def serve(channel: Channel) -> None:
        channel.attach(silent)
        await channel.wait_closed()
        closed.set()

    async def relay(request: web.Request) -> web.StreamResponse:
        return await accept(request, SUBPROTOCOL, serve, max_size=CONTROL_MAX_BYTES, send_limit_bytes=65536)

    app = web.Application()
    app.router.add_get("/relay", relay)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        border = Border("in-1", RelayOptions(), [ip_network("127.0.0.0/8")], tuple, SystemClock())
        far = parse_far(f"ws://127.0.0.1:{port}/relay")
        linking = asyncio.create_task(border.link(far, SUBSCRIBER, NothingServed()))
        await silent.greeted
        linking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await linking
        begun = asyncio.get_running_loop().time()
        await asyncio.wait_for(closed.wait(), FAR_SECONDS)
        # An opening that nobody completes ends by itself, but only after five seconds.
        assert asyncio.get_running_loop().time() - begun < 4
    finally:
        await runner.cleanup()
