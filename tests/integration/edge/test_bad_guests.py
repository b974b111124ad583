"""Guests that mean no good: what they cost is bounded, each refusal has a reason, and those who watch feel nothing.

tests/bench/bad_input.py does the same with ten thousand.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator

import pytest

from headrace.testing import wait_until
from integration.edge.rig import EdgeRig

GUESTS = 100


def request(path: str) -> bytes:
    return (
        f"GET /{path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def text_frame(text: bytes) -> bytes:
    return struct.pack(">BB", 0x81, 0x80 | len(text)) + bytes(4) + text


@contextlib.contextmanager
def guests(rig: EdgeRig, *sent: bytes) -> Iterator[list[socket.socket]]:
    """Connect to the plain door; guest i sends what is at i modulo their number."""
    host, _, port = rig.address("fmp4").rpartition(":")
    with contextlib.ExitStack() as stack:
        opened = []
        for number in range(GUESTS):
            guest = stack.enter_context(socket.create_connection((host, int(port))))
            guest.sendall(sent[number % len(sent)])
            guest.setblocking(False)
            opened.append(guest)
        yield opened


@pytest.fixture
async def rig() -> AsyncIterator[EdgeRig]:
    async with EdgeRig() as rig:
        yield rig


async def check_watching(rig: EdgeRig) -> None:
    """A player joins and gets every chunk while the guests are there."""
    feed = rig.feed("good")
    feed.push()
    async with rig.play("good") as player:
        got = await player.chunks(2)
        for _ in range(20):
            feed.push()
            got += await player.chunks(2)
        assert got == feed.sent


async def test_half_a_handshake(rig: EdgeRig) -> None:
    """Connections that never finish their request take no viewer's place, are closed in time and counted."""
    for listener in rig._listeners.values():
        listener.silent._seconds = 0.5
    with guests(rig, request("demo")[:60]):
        await check_watching(rig)
        assert rig.edge.viewers <= 1
        await wait_until(lambda: rig.value("refused_total", door="fmp4", reason="silent") == GUESTS)


async def test_those_who_never_read(rig: EdgeRig) -> None:
    """What is unsent for them is shared, so that a hundred cost little more than one; the time limit ends them."""
    object.__setattr__(rig.edge.options, "fan_out", type(rig.edge.options.fan_out)(stuck_seconds=0.5))
    feed = rig.feed(chunk_bytes=100_000)
    feed.push()
    with guests(rig, request("demo")):
        await rig.wait_viewers(GUESTS)
        fan_out = next(iter(rig.edge._fan_outs.values()))
        await wait_until(lambda: fan_out.places()["joining"] == 0)
        for _ in range(50):
            feed.push()
            await asyncio.sleep(0)
        await wait_until(lambda: fan_out.places()["paused"] == GUESTS)
        kept = {id(rest.obj) for viewer in fan_out._paused for rest in viewer.sender._rest}  # type: ignore[attr-defined]
        assert len(kept) <= GUESTS / 2
        await check_watching(rig)
        await wait_until(lambda: rig.value("stuck_total", door="fmp4") == GUESTS, timeout=20)
    await rig.wait_viewers(0)


async def test_those_who_send_text_for_ever(rig: EdgeRig) -> None:
    """Each is let go after a burst, and counted."""
    rig.feed().push()
    with guests(rig, request("demo") + text_frame(b"x" * 100) * 200):
        await wait_until(lambda: rig.value("refused_total", door="fmp4", reason="flood") == GUESTS)
        await check_watching(rig)
    await rig.wait_viewers(0)


async def test_pings_count_as_talk(rig: EdgeRig) -> None:
    """Who sends pings for ever makes the edge answer for ever: they count like words."""
    rig.feed().push()
    ping = struct.pack(">BB", 0x89, 0x80 | 100) + bytes(104)
    with guests(rig, request("demo") + ping * 200):
        await wait_until(lambda: rig.value("refused_total", door="fmp4", reason="flood") == GUESTS)
    await rig.wait_viewers(0)


@pytest.mark.parametrize("host", ["a:b", "a:99999", "[::1", ""])
@pytest.mark.parametrize(("door", "path"), [("edge", "play/good"), ("fmp4", "good")])
async def test_hosts_that_are_none(
    rig: EdgeRig, door: str, path: str, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a guest calls this edge, it is let in as anybody, takes a place, and leaves no trace of an error."""
    rig.feed("good").push()
    reader, writer = await asyncio.open_connection(*rig.address(door).split(":"))
    asked = request(path).replace(b"Host: x", f"Host: {host}".encode())
    writer.write(asked.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: headrace.play.v1\r\n\r\n"))
    assert b" 101 " in await reader.readline()
    assert rig.edge.viewers == 1
    writer.close()
    await rig.wait_viewers(0)
    assert not caplog.records


async def test_requests_that_are_none(rig: EdgeRig, caplog: pytest.LogCaptureFixture) -> None:
    """What is no HTTP is answered so, and leaves no line in the log: a stranger may send as much of it as it likes."""
    for sent in (b"\xff\xff\r\n\r\n", b"GET http://a:b/ HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        reader, writer = await asyncio.open_connection(*rig.address().split(":"))
        writer.write(sent)
        assert b" 400 " in await reader.readline()
        writer.close()
    assert not caplog.records


async def test_those_who_come_and_go(rig: EdgeRig) -> None:
    """Opening and closing in a loop leaves nothing behind."""
    feed = rig.feed()
    feed.push()
    for _ in range(3):
        with guests(rig, request("demo"), request("demo")[:50], b""):
            pass
    await check_watching(rig)
    await rig.wait_viewers(0)
    assert feed.broadcast.listeners == set()
    assert rig.value("outputs", door="fmp4") == 0
    await wait_until(lambda: not rig.edge._conversations)
    servers = [listener._runner.server for listener in rig._listeners.values()]
    await wait_until(lambda: not any(server.connections for server in servers if server is not None))


async def test_those_who_ask_for_anything(rig: EdgeRig) -> None:
    """Streams that are not there cost no more than their viewers, and are forgotten with them."""
    with guests(rig, *(request(f"nothing-{number}") for number in range(GUESTS))):
        await rig.wait_viewers(GUESTS)
        await check_watching(rig)
    await rig.wait_viewers(0)
    await wait_until(lambda: {str(name) for name in rig.hub.streams} <= {"good"})


async def test_streams_beyond_the_limit(rig: EdgeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names beyond what a process carries are refused, each counted."""
    monkeypatch.setattr("headrace.relay.hub.STREAMS_MAX", 10)
    with guests(rig, *(request(f"nothing-{number}") for number in range(GUESTS))):
        await wait_until(lambda: rig.value("refused_total", door="fmp4", reason="streams") == GUESTS - 10)
        assert len(rig.hub.streams) == 10
