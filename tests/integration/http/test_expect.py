"""What clients expect of a server, by `Expect`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from headrace.http.application import make_application
from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId
from headrace.service.runtime import Runtime


@pytest.fixture
async def listener() -> AsyncIterator[HttpListener]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="well\n")

    app = make_application(Runtime(NodeId("n"), "edge", metrics=CollectorRegistry()))
    app.router.add_get("/x", answer)
    listener = HttpListener("test", "127.0.0.1", 0, app)
    await listener.start()
    yield listener
    await listener.stop()


@pytest.mark.parametrize("path", [b"/x", b"/nowhere"])
@pytest.mark.parametrize("expected", [b"\xff", "ü".encode(), b"a miracle"])
async def test_what_nobody_can_do_is_told(
    listener: HttpListener, path: bytes, expected: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """417, whatever bytes it is written with, and no line in the log: anybody may send as many as it likes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.bound_port)
    writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: " + expected + b"\r\n\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 417 "), answer
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_who_waits_with_its_body_is_told_to_go_on(listener: HttpListener) -> None:
    """And answered then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.bound_port)
    writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), answer
