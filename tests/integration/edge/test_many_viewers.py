"""Many viewers, slow viewers and stuck ones, on real sockets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import os
import socket as sockets
import struct
from typing import cast

import pytest

from headrace.relay.broadcast import RingLimits
from headrace.testing import wait_until
from headrace.wire.chunk import parse_chunk
from headrace_edge.fanout import BATCH_MAX_BYTES
from integration.edge.rig import EdgeRig
from unit.edge.reading import split_frames
from unit.edge.synthetic import CHUNKS_PER_SEGMENT

VIEWERS = 500


@pytest.fixture(params=["asyncio", "aiofastnet"], autouse=True)
async def transport(request: pytest.FixtureRequest) -> None:
    """Run each test with the event loop's own transport and with the faster one that is used where installed."""
    if request.param == "aiofastnet":
        pytest.importorskip("aiofastnet").patch_loop()


class Reader(asyncio.Protocol):
    """A plain viewer that costs little: it counts, hashes, and compares at the end."""

    def __init__(self, address: str, path: str) -> None:
        self.hash = hashlib.sha256()
        self.bytes = 0
        self.open = False
        self.lost = False
        self.transport: asyncio.Transport | None = None
        self._begin = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self._request = (
            f"GET /{path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # not every transport is a subclass
        self.transport.write(self._request.encode())

    def data_received(self, data: bytes) -> None:
        if not self.open:
            self._begin += data
            head, found, data = self._begin.partition(b"\r\n\r\n")
            if not found:
                return
            assert head.startswith(b"HTTP/1.1 101")
            self.open = True
        self.hash.update(data)
        self.bytes += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


async def open_reader(rig: EdgeRig) -> Reader:
    address = rig.address("fmp4")
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    _, reader = await loop.create_connection(lambda: Reader(address, "demo"), host, int(port))
    return reader


def stuck_viewer(rig: EdgeRig) -> sockets.socket:
    """Return a connection that asks for the stream and never reads; its own buffer is small."""
    host, _, port = rig.address().rpartition(":")
    viewer = sockets.socket()
    viewer.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 16 * 1024)
    viewer.connect((host, int(port)))
    key = base64.b64encode(os.urandom(16)).decode()
    viewer.sendall(
        f"GET /play/demo HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: headrace.play.v1\r\n\r\n".encode()
    )
    hello = b'{"type":"play","session":"stuck"}'
    viewer.sendall(struct.pack(">BB", 0x81, 0x80 | len(hello)) + bytes(4) + hello)
    return viewer


def read_to_end(viewer: sockets.socket) -> bytes:
    """Return what a viewer was sent after the handshake, once it reads until nothing more comes for a while."""
    viewer.settimeout(0.5)
    data = b""
    try:
        while piece := viewer.recv(1 << 20):
            data += piece
    except TimeoutError:
        pass
    return data.partition(b"\r\n\r\n")[2]


async def test_five_hundred_viewers_get_every_chunk_in_order() -> None:
    """All viewers end with exactly the same bytes: the header and every chunk, in order, once."""
    async with EdgeRig() as rig:
        await check_many_viewers(rig)


async def check_many_viewers(rig: EdgeRig) -> None:
    feed = rig.feed(chunk_bytes=2000)
    feed.push(1)
    readers = [await open_reader(rig) for _ in range(VIEWERS)]
    await wait_until(lambda: all(reader.bytes for reader in readers))
    for _ in range(3 * CHUNKS_PER_SEGMENT):
        feed.push()
        await asyncio.sleep(0)
    watcher = await open_reader(rig)
    await wait_until(lambda: watcher.bytes > 0)
    await wait_until(lambda: len({reader.bytes for reader in readers}) == 1)
    sent = rig.value("sent_bytes_total", door="fmp4")
    await wait_until(lambda: sum(reader.bytes for reader in readers) + watcher.bytes == sent)
    assert len({reader.hash.hexdigest() for reader in readers}) == 1
    assert rig.value("sent_messages_total", door="fmp4") >= VIEWERS * (1 + len(feed.sent))
    for reader in readers:
        assert reader.transport is not None
        reader.transport.abort()
    assert watcher.transport is not None
    watcher.transport.abort()
    await rig.wait_viewers(0)


async def test_stuck_viewers_disturb_nobody_and_take_bounded_memory() -> None:
    """While some viewers never read, the others get everything, and what waits for the stuck ones does not grow."""
    async with EdgeRig(ring=RingLimits(seconds=30, bytes=8 * 1024 * 1024)) as rig:
        feed = rig.feed(chunk_bytes=50_000)
        feed.push()
        stuck = [stuck_viewer(rig) for _ in range(10)]
        await rig.wait_viewers(10)
        async with rig.play() as player:
            got = await player.chunks(2)
            for _ in range(100):
                feed.push()
                got += await player.chunks(2)
            assert [chunk.id for chunk in got] == [chunk.id for chunk in feed.sent]
            (fan_out,) = rig.edge._fan_outs.values()
            assert fan_out.places() == {"live": 1, "joining": 0, "paused": 10}
            unsent = [viewer.sender.unsent() for viewer in fan_out._paused]
            assert max(unsent) <= BATCH_MAX_BYTES + 2 * 50_200
        for viewer in stuck:
            viewer.close()
        await rig.wait_viewers(0)


async def test_a_viewer_that_reads_again_goes_on_from_a_random_access_point() -> None:
    """After a long pause the viewer finds what it had not read, a word that it was moved, and then live media."""
    async with EdgeRig(viewer_lag_bytes=500_000) as rig:
        feed = rig.feed(chunk_bytes=50_000)
        feed.push()
        viewer = stuck_viewer(rig)
        await rig.wait_viewers(1)
        await wait_until(lambda: rig.value("sent_messages_total", door="play") >= 4)
        for _ in range(60):
            feed.push()
            await asyncio.sleep(0)
        data = await asyncio.to_thread(read_to_end, viewer)
        viewer.close()
        frames = list(split_frames(data))
        words = b"".join(payload for opcode, payload in frames if opcode == 1)
        chunks = [parse_chunk(payload) for opcode, payload in frames if opcode == 2]
        assert b'"type":"skipped"' in words
        assert chunks[-1] == feed.sent[-1]
        video = [chunk for chunk in chunks if chunk.id.track == 1]
        jumps = [after for before, after in itertools.pairwise(video) if not before.is_followed_by(after.id)]
        assert len(jumps) == 1
        assert jumps[0].random_access
        assert rig.value("skipped_total", door="play") == 1


async def test_a_viewer_that_never_reads_is_let_go() -> None:
    """After the limit it is cut off and counted."""
    async with EdgeRig() as rig:
        object.__setattr__(rig.edge.options, "fan_out", type(rig.edge.options.fan_out)(stuck_seconds=0.5))
        feed = rig.feed(chunk_bytes=200_000)
        feed.push()
        viewer = stuck_viewer(rig)
        await rig.wait_viewers(1)
        feed.push(10)
        await rig.wait_viewers(0)
        assert rig.value("stuck_total", door="play") == 1
        viewer.close()
