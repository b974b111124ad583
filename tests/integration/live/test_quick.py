"""Answers that are kept ready leave without aiohttp, and nobody can tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from multidict import CIMultiDict

from headrace.access.viewing import MemoryViewing
from headrace.clock import SystemClock
from headrace.http.request_ids import REQUEST_ID
from headrace.testing import wait_until
from headrace_edge.live.door import LiveDoor
from integration.access.rig import GuardedRig, token
from integration.edge.rig import EdgeRig
from integration.live.publishing import EPOCH, publish, split
from unit.live.m3u8 import read
from unit.live.streams import Programme

PART = f"demo/{EPOCH}/1/101.1.m4s"


class Handled:
    """Which requests aiohttp's handler saw."""

    def __init__(self) -> None:
        self.paths: list[str] = []


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> Handled:
    found = Handled()
    answer = LiveDoor._answer

    async def note(self: LiveDoor, request: web.Request, *what: Any) -> web.StreamResponse:
        found.paths.append(f"{request.method} {request.rel_url}")
        return await answer(self, request, *what)

    monkeypatch.setattr(LiveDoor, "_answer", note)
    return found


class Client:
    """A connection that says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def ask(self, path: str, *headers: str, method: str = "GET") -> None:
        lines = [f"{method} /live/{path} HTTP/1.1", "Host: test", *headers]
        self.writer.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())

    async def answer(self, *, body: bool = True) -> tuple[int, CIMultiDict[str], bytes]:
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = CIMultiDict[str](_field(line) for line in head[1:] if line)
            length = int(headers.get("Content-Length", 0)) if body else 0
            return int(head[0].split()[1]), headers, await self.reader.readexactly(length)

    async def get(self, path: str, *headers: str) -> tuple[int, CIMultiDict[str], bytes]:
        self.ask(path, *headers)
        return await self.answer()


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value


Connect = Callable[[], Awaitable[Client]]


@pytest.fixture
async def connect(rig: EdgeRig) -> AsyncIterator[Connect]:
    """Make clients, whose connections end with the test."""
    made: list[Client] = []

    async def connect() -> Client:
        host, port = rig.address().split(":")
        made.append(Client(*await asyncio.open_connection(host, int(port))))
        return made[-1]

    yield connect
    for client in made:
        client.writer.transport.abort()


async def test_who_asks_second_is_answered_the_quick_way(rig: EdgeRig, connect: Connect, handled: Handled) -> None:
    """With the same bytes, counted like the first; conditions, ranges and HEAD go the long way."""
    publish(rig, Programme().epoch(6.0))
    one, other = await connect(), await connect()
    first = await one.get(PART)
    assert _undated(await one.get(PART)) == _undated(first)
    assert _undated(await other.get(PART)) == _undated(first)  # the way is open from a connection's first answer on
    assert _undated(await other.get(PART)) == _undated(first)
    assert handled.paths == [f"GET /live/{PART}"] * 2
    assert rig.value("live_requests_total", kind="part", status="200") == 4
    assert rig.value("live_sent_bytes_total") == 4 * len(first[2])
    assert (await one.get(PART, f"If-None-Match: {first[1]['ETag']}"))[0] == 304
    assert (await one.get(PART, "Range: bytes=1-2"))[::2] == (206, first[2][1:3])
    one.ask(PART, method="HEAD")
    assert (await one.answer(body=False))[0] == 200
    assert _undated(await one.get(PART)) == _undated(first)
    assert len(handled.paths) == 5


def _undated(answer: tuple[int, CIMultiDict[str], bytes]) -> tuple[int, list[tuple[str, str]], bytes]:
    status, headers, body = answer
    assert "Date" in headers
    return status, sorted(item for item in headers.items() if item[0].lower() not in {"date", REQUEST_ID.lower()}), body


async def test_a_text_is_as_new_as_the_stream(rig: EdgeRig, connect: Connect, handled: Handled) -> None:
    """Plain and compressed, each once for each state of the stream."""
    early, late = split(8.0, 3.0)
    publish(rig, early)
    client = await connect()
    gzip = "Accept-Encoding: gzip"
    texts = [await client.get("demo/1.m3u8") for _ in range(3)]
    packed = [await client.get("demo/1.m3u8", gzip) for _ in range(3)]
    assert _undated(texts[0]) == _undated(texts[2])
    assert _undated(packed[0]) == _undated(packed[2])
    assert packed[0][1]["Content-Encoding"] == "gzip"
    assert len(handled.paths) == 2
    publish(rig, late)
    await asyncio.sleep(0)
    assert read((await client.get("demo/1.m3u8"))[2].decode()).last > read(texts[0][2].decode()).last
    assert (await client.get("demo/1.m3u8", gzip))[2] != packed[0][2]


async def test_answers_come_in_the_order_of_requests(rig: EdgeRig, connect: Connect) -> None:
    """A request that waits holds those after it, sent one by one, together or in pieces."""
    early, late = split(8.0, 3.0)
    publish(rig, early)
    client = await connect()
    known = await client.get(PART.replace("101", "100"))
    segment, part = read((await client.get("demo/1.m3u8"))[2].decode()).last
    client.ask(f"demo/1.m3u8?_HLS_msn={segment}&_HLS_part={part}")
    await wait_until(lambda: rig.value("live_waiting") == 1)
    client.ask(PART.replace("101", "100"))
    client.ask(PART.replace("101", "100"))
    whole = f"GET /live/{PART.replace('101', '100')} HTTP/1.1\r\nHost: test\r\n\r\n".encode()
    client.writer.write(whole + whole[:30])
    await asyncio.sleep(0.05)
    client.writer.write(whole[30:])
    publish(rig, late)
    assert (await client.answer())[1]["Content-Type"] == "application/vnd.apple.mpegurl"
    for _ in range(4):
        status, headers, body = await client.answer()
        assert (status, headers["ETag"], body) == (200, known[1]["ETag"], known[2])


async def test_who_does_not_read_is_not_written_to(rig: EdgeRig, connect: Connect) -> None:
    """Thousands of requests without reading an answer are not answered into memory."""
    publish(rig, Programme(sample_bytes=4000).epoch(6.0))
    path = f"demo/{EPOCH}/1/101.m4s"
    client = await connect()
    size = len((await client.get(path))[2])
    assert size > 190_000

    async def ask() -> None:
        for _ in range(3000):
            client.ask(path)
            await client.writer.drain()
            await asyncio.sleep(0)

    asking = asyncio.ensure_future(ask())
    count = 0.0
    while count != rig.value("live_requests_total", kind="segment", status="200"):
        count = rig.value("live_requests_total", kind="segment", status="200")
        await asyncio.sleep(0.5)
    assert count < 200  # what the kernel's buffers hold; then aiohttp's few
    asking.cancel()


async def test_a_stream_that_is_let_go_leaves_nothing(rig: EdgeRig, connect: Connect) -> None:
    """Stopping an edge drops what it kept."""
    publish(rig, Programme().epoch(6.0))
    client = await connect()
    assert (await client.get(PART))[0] == 200
    await rig.stop()
    assert await client.reader.read() == b""


async def test_what_needs_a_token_is_asked_for_it_each_time(handled: Handled) -> None:
    """Nothing of a protected stream is kept for who comes next, on whatever connection."""
    viewing = MemoryViewing(SystemClock(), 1.0)
    async with GuardedRig(viewing=viewing) as rig:
        publish(rig, Programme().epoch(6.0))
        host, port = rig.address().split(":")
        client = Client(*await asyncio.open_connection(host, int(port)))
        bearer = f"Authorization: Bearer {token('demo')}"
        for _ in range(3):
            assert (await client.get(PART, bearer))[0] == 200
            assert (await client.get(PART))[0] == 401
        client.writer.transport.abort()
    assert handled.paths == [f"GET /live/{PART}"] * 3
