"""Connections that never ask for anything do not stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web

from headrace.http.listener import HttpListener

RELEASE = web.AppKey("release", asyncio.Event)


async def _slow(request: web.Request) -> web.Response:
    await request.app[RELEASE].wait()
    return web.Response(text="late")


@pytest.fixture
def app() -> web.Application:
    app = web.Application()
    app[RELEASE] = asyncio.Event()
    app.router.add_get("/slow", _slow)
    return app


@pytest.fixture
async def listener(app: web.Application) -> AsyncIterator[HttpListener]:
    listener = HttpListener("test", "127.0.0.1", 0, app, first_request_seconds=0.2)
    await listener.start()
    yield listener
    await listener.stop()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a request"])
async def test_a_silent_connection_is_closed(listener: HttpListener, sent: bytes) -> None:
    """The server ends a connection on which no whole request came in time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.bound_port)
    writer.write(sent)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_a_request_that_takes_long_is_left_alone(app: web.Application, listener: HttpListener) -> None:
    """Only the first request is waited for; its answer may take as long as it takes."""
    silent = await asyncio.open_connection("127.0.0.1", listener.bound_port)
    async with ClientSession() as session, asyncio.timeout(10):
        answer = asyncio.create_task(session.get(f"http://127.0.0.1:{listener.bound_port}/slow"))
        await silent[0].read()  # by the end of this one the deadline has passed for both
        app[RELEASE].set()
        assert await (await answer).text() == "late"
    silent[1].close()
