"""The RTSP door's manners: keys, second publishers, datagrams, publishers that go, and those that are none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from headrace_ingress.rtsp_door import CHALLENGES_MAX, RtspDoor
from headrace_ingress.tcp_door import WAITING_MAX
from integration.ingress.publishing import check_carried, connection, publishing_rtsp
from integration.ingress.rig import NAME, Watched
from support import publishers
from support.certificates import Authority
from support.rtsp_proxy import Disorder, disordering
from unit.ingress.rtsp.client import SDP, announce, basic, digest, frame, record, request, setup

KEY = "correct-horse"


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    """Send a request; return the answer."""
    writer.write(data)
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)


async def answered(uri: str, data: bytes) -> bytes:
    """Return the answer to the only request of a connection."""
    async with connection(uri) as (reader, writer):
        return await ask(reader, writer, data)


def ffmpeg(uri: str, *, audio: str = "", transport: str = "tcp") -> publishers.Publisher:
    """Return ffmpeg as a publisher."""
    return publishers.ffmpeg("-f", "rtsp", "-rtsp_transport", transport, uri, audio=audio)


def counted(watched: Watched, name: str, **labels: str) -> float:
    """Return a metric's value."""
    return watched.runtime.metrics.get_sample_value(f"headrace_ingress_{name}", labels) or 0.0


@pytest.mark.parametrize("way", ["user", "query"])
async def test_the_right_key(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As the password, by Digest, or behind the URL; it is told nowhere."""
    async with publishing_rtsp(publish_keys={"cam*": KEY}) as (watched, uri):
        with_key = uri.replace("//", f"//anybody:{KEY}@") if way == "user" else f"{uri}?key={KEY}"
        with ffmpeg(with_key):
            await watched.live()
        assert counted(watched, "publish_refused_total", reason="key") == 0
    assert "horse" not in "".join(capsys.readouterr())


async def test_wrong_keys() -> None:
    """By Basic, Digest and URL; who shows none is asked, a few times."""
    async with publishing_rtsp(publish_keys={"cam*": KEY}) as (watched, uri):
        assert b" 401 the key is wrong" in await answered(uri, announce(uri, Authorization=basic("wrong-horse")))
        assert b" 401 the key is wrong" in await answered(uri, announce(f"{uri}?key=wrong-horse"))
        async with connection(uri) as (reader, writer):
            for _ in range(CHALLENGES_MAX):
                told = await ask(reader, writer, announce(uri))
                assert told.startswith(b"RTSP/1.0 401 Unauthorized")
            nonce = re.search(r'nonce="([0-9a-f]+)"', told.decode())
            assert nonce is not None
            assert b" 401 publishing this stream needs a key" in await ask(reader, writer, announce(uri))
            assert await asyncio.wait_for(reader.read(), 10) == b""
        async with connection(uri) as (reader, writer):
            await ask(reader, writer, announce(uri))
            stolen = digest(KEY, nonce[1], uri=uri)
            assert b" 401 the key is wrong" in await ask(reader, writer, announce(uri, Authorization=stolen))
        assert counted(watched, "publish_refused_total", reason="key") == 3


async def test_a_proof_by_digest() -> None:
    """With this connection's nonce it opens."""
    async with publishing_rtsp(publish_keys={"cam*": KEY}) as (_, uri), connection(uri) as (reader, writer):
        told = (await ask(reader, writer, announce(uri))).decode()
        nonce = re.search(r'nonce="([0-9a-f]+)"', told)
        assert nonce is not None
        proof = digest(KEY, nonce[1], uri=uri)
        assert b" 200 OK" in await ask(reader, writer, announce(uri, Authorization=proof))


async def test_guessing_is_barred() -> None:
    """After five wrong keys even the right one is not tried for a while."""
    async with publishing_rtsp(publish_keys={"cam1": KEY}) as (watched, uri):
        for number in range(5):
            assert b"wrong" in await answered(uri, announce(f"{uri}?key=guess-{number}"))
        assert b" 403 too many wrong keys" in await answered(uri, announce(f"{uri}?key={KEY}"))
        assert counted(watched, "publish_refused_total", reason="guessing") == 1


async def test_beyond_loopback_a_key_is_needed() -> None:
    """A door that others reach lets nobody in without one."""
    async with publishing_rtsp(host="0.0.0.0") as (_, uri):
        assert b" 401 " in await answered(uri, announce(uri))


async def test_names_that_are_none() -> None:
    """What is no stream's name is refused with how it is written."""
    async with publishing_rtsp() as (watched, uri):
        for path in ("../../etc/passwd", "live/", "live/a b", ""):
            told = await answered(uri, announce(uri.replace(f"live/{NAME}", path.replace(" ", "%20"))))
            assert b" 404 publish to rtsp://host/live/{stream}" in told
        assert counted(watched, "publish_refused_total", reason="name") == 4


async def test_a_second_publisher_is_refused() -> None:
    """The first goes on undisturbed."""
    async with publishing_rtsp() as (watched, uri):
        with ffmpeg(uri):
            await watched.live()
            assert b" 403 somebody publishes" in await answered(uri, announce(uri))
            await watched.live(1.0)
    watched.check()
    assert len(watched.opened) == 1


async def test_a_second_publisher_takes_over() -> None:
    """Where that is configured: the first is sent away once the second records, the stream goes on in another epoch."""
    async with publishing_rtsp(publish_takes_over=True) as (watched, uri):
        with ffmpeg(uri) as first:
            await watched.live()
            assert b" 200 OK" in await answered(uri, announce(uri))
            await watched.live(0.5)
            assert first.is_running
            with ffmpeg(uri, audio="aac"):
                await wait_until(lambda: not first.is_running, 20, what="the first publisher sent away")
                await wait_until(lambda: len(watched.codecs) == 2, 20, what="the second one's tracks")
                await watched.live(1.0)
    watched.check()


async def test_a_publisher_that_comes_back() -> None:
    """Killed and started again: interrupted within a second, live again, numbers without a hole."""
    async with publishing_rtsp() as (watched, uri):
        with ffmpeg(uri, audio="aac") as publisher:
            await watched.live(1.0)
            publisher.kill()
            begun = time.monotonic()
            await watched.interrupted("its publisher left")
            assert time.monotonic() - begun < 10
        with ffmpeg(uri, audio="aac"):
            await watched.live(1.0)
    watched.check()
    interrupted, live = StreamState.INTERRUPTED, StreamState.LIVE
    assert watched.states == [interrupted, live, interrupted, live, interrupted]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_publisher_that_stands_still(transport: str) -> None:
    """Silence of the stall time sends it away, though its connection stays, so that it or another may come back."""
    async with publishing_rtsp(stall_seconds=1) as (watched, uri):
        with ffmpeg(uri, audio="aac", transport=transport) as publisher:
            await watched.live(1.0)
            publisher.signal(signal.SIGSTOP)
            await watched.interrupted("nothing received from its publisher for 1 s")
            with ffmpeg(uri, audio="aac"):
                await watched.live(1.0)
    watched.check()


async def test_one_that_records_and_sends_nothing() -> None:
    """It is sent away after the stall time as well."""
    async with publishing_rtsp(stall_seconds=1) as (watched, uri), connection(uri) as (reader, writer):
        for sent in (announce(uri), setup(0, uri), record(uri)):
            assert b" 200 OK" in await ask(reader, writer, sent)
        assert await asyncio.wait_for(reader.read(), 20) == b""
        assert "nothing received from its publisher" in watched.reason


async def test_packets_that_overtake_each_other() -> None:
    """Nothing is missing, whatever the network did to their order."""
    async with publishing_rtsp() as (watched, uri):
        port = urlsplit(uri).port or 0
        async with disordering(port, Disorder(swap_every=7)) as way:
            with ffmpeg(uri.replace(str(port), str(way)), audio="aac") as publisher:
                await watched.live(3.0)
                assert publisher.is_running, publisher.log
    check_carried(watched, ["avc1", "mp4a"])


async def test_packets_that_are_lost() -> None:
    """The stream goes on without a break; what came whole is carried."""
    disorder = Disorder(lose_every=100)
    async with publishing_rtsp() as (watched, uri):
        port = urlsplit(uri).port or 0
        async with disordering(port, disorder) as way:
            with ffmpeg(uri.replace(str(port), str(way)), audio="aac"):
                await watched.live(3.0)
                await wait_until(lambda: disorder.lost >= 4, 30, what="packets lost")
                await watched.live(1.0)
    watched.check()
    assert watched.states[:2] == [StreamState.INTERRUPTED, StreamState.LIVE]
    assert abs(watched.seconds(1) - watched.seconds(2)) < 0.7


async def test_datagrams_of_others() -> None:
    """Packets that strangers send to a track's ports are not taken; garbage in a track harms nobody else."""
    async with publishing_rtsp() as (watched, uri):
        with ffmpeg(uri.replace("cam1", "cam2"), transport="udp"), ffmpeg(uri, audio="aac"):
            await watched.live()
            async with connection(uri) as (reader, writer):
                await ask(reader, writer, announce(uri.replace("cam1", "cam3")))
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
                    own.bind(("127.0.0.1", 0))
                    port = own.getsockname()[1]
                    way = f"RTP/AVP;unicast;client_port={port}-{port + 1}"
                    told = await ask(reader, writer, setup(0, uri, way))
                    found = re.search(rb"server_port=([0-9]+)-", told)
                    assert found is not None
                    await ask(reader, writer, record(uri))
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                        stranger.bind(("127.0.0.2", 0))
                        for one in (own, stranger):
                            for _ in range(50):
                                one.sendto(os.urandom(400), ("127.0.0.1", int(found[1])))
            await watched.live(1.0)
    watched.check()


async def test_rubbish_ends_its_connection_only(capsys: pytest.CaptureFixture[str]) -> None:
    """What is no RTSP, or no media, is told once and counted; whoever publishes beside it sees nothing of it."""
    async with publishing_rtsp() as (watched, uri):
        with ffmpeg(uri):
            await watched.live()
            for data in (b"GET / HTTP/1.1\r\n\r\n", frame(0, b"x"), b"\xff" * 20_000, request("OPTIONS") * 1000):
                async with connection(uri) as (reader, writer):
                    writer.write(data)
                    with contextlib.suppress(ConnectionError):
                        await asyncio.wait_for(reader.read(-1), 10)
            await watched.live(1.0)
            assert counted(watched, "door_ended_total", door="rtsp", reason="request") == 3
            assert counted(watched, "door_ended_total", door="rtsp", reason="too_large") == 1
    watched.check()
    assert "".join(capsys.readouterr()).count("publisher_broke_rules") == 4


async def test_packets_that_are_none() -> None:
    """A publisher whose packets are rubbish has no stream, and its end is no fault of ours."""
    async with publishing_rtsp(stall_seconds=1) as (watched, uri), connection(uri) as (reader, writer):
        for sent in (announce(uri, SDP), setup(0, uri), setup(1, uri), record(uri)):
            assert b" 200 OK" in await ask(reader, writer, sent)
        for number in range(500):
            writer.write(frame(number % 4, os.urandom(number)))
        await writer.drain()
        await watched.interrupted("nothing received from its publisher")
    assert "fault" not in watched.reason


async def test_connections_that_publish_nothing() -> None:
    """A thousand of them, and slow ones: bounded, closed in time, and a publisher comes in meanwhile."""
    async with publishing_rtsp() as (watched, uri):
        door = next(one for one in watched.components if isinstance(one, RtspDoor))
        door.publish_seconds = 5.0
        async with contextlib.AsyncExitStack() as stack:
            idle = [await stack.enter_async_context(connection(uri)) for _ in range(1000)]
            for _, writer in idle[::2]:
                writer.write(announce(uri)[:100])
            await wait_until(lambda: counted(watched, "door_connections", door="rtsp") <= WAITING_MAX, 20)
            with ffmpeg(uri):
                await watched.live(1.0)
                await wait_until(lambda: counted(watched, "door_connections", door="rtsp") == 1, 30, what="closed")
                await watched.live(1.0)
    watched.check()


async def test_rtsps(tmp_path: Path) -> None:
    """With a certificate the door is rtsps and nothing else, and media stay on the connection."""
    async with publishing_rtsp() as (watched, _):
        first = next(one for one in watched.components if isinstance(one, RtspDoor))
        tls = Authority(tmp_path).serving("127.0.0.1")
        door = RtspDoor("127.0.0.1", 0, first.publications, first.metrics, tls=tls)
        await door.start()
        try:
            with publishers.libav(
                f"rtsps://127.0.0.1:{door.bound_port}/live/cam1", "rtsp", "libx264", "aac"
            ) as publisher:
                await watched.live(1.0)
                assert publisher.is_running, publisher.log
        finally:
            await door.stop()
    watched.check()
