"""What is known of who dials."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from headrace.transport.accepting import accept
from headrace.transport.channel import Channel

SUBPROTOCOL = "test.v1"


@pytest.mark.parametrize(
    ("headers", "is_here"),
    [
        ({}, True),
        ({"X-Forwarded-For": "203.0.113.7"}, False),
        ({"Forwarded": "for=203.0.113.7"}, False),
        ({"X-Real-IP": "203.0.113.7"}, False),
        ({"Via": "1.1 front"}, False),
    ],
)
async def test_who_comes_by_a_proxy_is_not_of_this_machine(headers: dict[str, str], is_here: bool) -> None:
    """Though the connection is: an empty secret is believed from this machine alone."""
    seen: list[bool] = []

    async def serve(channel: Channel) -> None:
        seen.append(channel.is_loopback)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await accept(request, SUBPROTOCOL, serve, max_size=1000, send_limit_bytes=1000)

    app = web.Application()
    app.router.add_get("/relay", handle)
    async with (
        TestClient(TestServer(app)) as client,
        client.ws_connect("/relay", protocols=[SUBPROTOCOL], headers=headers) as socket,
    ):
        await socket.receive(timeout=20)
    assert seen == [is_here]


@pytest.mark.parametrize(
    ("header", "status"),
    [(b"Sec-WebSocket-Protocol: test.v1, \xff", 400), (b"Connection: \xff", 400), (b"Cookie: \xff", 101)],
)
async def test_bytes_that_no_header_has(header: bytes, status: int) -> None:
    """A stranger's mistake and no fault of ours; in what the handshake does not look at they do no harm."""

    async def serve(channel: Channel) -> None: ...

    async def handle(request: web.Request) -> web.StreamResponse:
        return await accept(request, SUBPROTOCOL, serve, max_size=1000, send_limit_bytes=1000)

    app = web.Application()
    app.router.add_get("/relay", handle)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    asked = {
        b"Connection": b"Upgrade",
        b"Upgrade": b"websocket",
        b"Sec-WebSocket-Version": b"13",
        b"Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Protocol": SUBPROTOCOL.encode(),
    } | dict([header.split(b": ", 1)])
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [b"GET /relay HTTP/1.1", b"Host: x", *(b": ".join(pair) for pair in asked.items()), b"", b""]
    writer.write(b"\r\n".join(lines))
    async with asyncio.timeout(20):
        answer = await reader.readline()
    writer.close()
    await server.close()
    assert answer.split()[1] == str(status).encode()
