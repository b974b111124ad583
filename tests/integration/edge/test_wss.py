"""Viewers by wss: the same fan-out, through the transports of the event loop and those of aiofastnet."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from headrace.testing import wait_until
from headrace_edge.transport_sender import TransportSender
from integration.edge.rig import EdgeRig
from support.certificates import Authority
from unit.edge.synthetic import CHUNKS_PER_SEGMENT

HOST = "127.0.0.1"
VIEWERS = 20


@pytest.fixture(params=["asyncio", "aiofastnet"])
def transports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run each test with aiofastnet, which the edge takes by itself, and as if it were not installed."""
    if request.param == "asyncio":
        monkeypatch.setattr("headrace_edge.app.use_fast_transports", lambda: False)
    return str(request.param)


def dial(rig: EdgeRig, authority: Authority) -> connect:
    trust = ssl.create_default_context(cafile=authority.file)
    return connect(f"wss://{rig.address('fmp4')}/demo", ssl=trust, max_size=None, compression=None)


async def receive(socket: ClientConnection, count: int) -> list[bytes]:
    async with asyncio.timeout(10):
        received = [await socket.recv() for _ in range(count)]
    return [message for message in received if isinstance(message, bytes)]


async def test_everybody_gets_everything(transports: str, tmp_path: Path) -> None:
    """Viewers get header and chunks in order and are told when the edge closes; the transport is the wanted one."""
    authority = Authority(tmp_path)
    async with EdgeRig(tls=authority.serving(HOST)) as rig:
        feed = rig.feed(chunk_bytes=20_000)
        feed.push()
        sockets = [await dial(rig, authority) for _ in range(VIEWERS)]
        first = [await receive(socket, 3) for socket in sockets]
        feed.push(2 * CHUNKS_PER_SEGMENT)
        rest = [await receive(socket, 4 * CHUNKS_PER_SEGMENT) for socket in sockets]
        assert all(got == first[0] for got in first)
        assert all(got == rest[0] for got in rest)
        assert [len(message) for message in rest[0]] == [len(chunk.media) - 32 for chunk in feed.sent[2:]]
        viewers = [viewer for fan_out in rig.edge._fan_outs.values() for viewer in fan_out._live]
        assert len(viewers) == VIEWERS
        for viewer in viewers:
            assert isinstance(viewer.sender, TransportSender)
            assert (type(viewer.sender._transport).__module__.split(".")[0] == "aiofastnet") == (
                transports == "aiofastnet"
            )
        closing = asyncio.create_task(rig.stop())
        for socket in sockets:
            with pytest.raises(ConnectionClosed) as closed:
                await receive(socket, 1)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        await closing


async def test_who_does_not_read_is_paused(transports: str, tmp_path: Path) -> None:
    """Back-pressure reaches the fan-out through TLS, and the viewer goes on when it reads again."""
    authority = Authority(tmp_path)
    async with EdgeRig(tls=authority.serving(HOST), viewer_lag_bytes=64 * 1024 * 1024) as rig:
        feed = rig.feed(chunk_bytes=200_000)
        feed.push()
        async with dial(rig, authority) as slow, dial(rig, authority) as other:
            assert await receive(slow, 3) == await receive(other, 3)
            slow.transport.pause_reading()
            fan_out = next(iter(rig.edge._fan_outs.values()))
            pushed = 0
            while not fan_out.places()["paused"]:
                feed.push()
                pushed += 1
                await receive(other, 2)
                assert pushed < 200
            slow.transport.resume_reading()
            await receive(slow, 2 * pushed)
            await wait_until(lambda: fan_out.places()["live"] == 2)
