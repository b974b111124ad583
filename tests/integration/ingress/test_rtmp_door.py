"""The RTMP door's manners: keys, second publishers, codecs that change, publishers that go, and those that are none."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from headrace.errors import StartupError
from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from headrace_ingress.rtmp.handshake import BLOCK_BYTES
from headrace_ingress.rtmp_door import RtmpDoor
from headrace_ingress.tcp_door import WAITING_MAX
from integration.ingress.publishing import connection, publishing
from integration.ingress.rig import NAME
from support import publishers
from support.certificates import Authority
from support.rtmp_client import publish_two_sizes
from unit.ingress.rtmp.client import C2, SIMPLE, connect, digested, publish

KEY = "correct-horse"


async def answered(uri: str, name: str, first: bytes = SIMPLE) -> bytes:
    """Ask to publish `name`; return everything that is answered until the door closes or has let it in."""
    async with connection(uri) as (reader, writer):
        writer.write(first + C2 + connect() + publish(name))
        told = await reader.readexactly(1 + 2 * BLOCK_BYTES)
        while b"NetStream.Publish" not in told:
            told += await asyncio.wait_for(reader.read(4096), 10)
        return told[1 + 2 * BLOCK_BYTES :]


@pytest.mark.parametrize("first", [SIMPLE, digested(8), digested(772)])
async def test_every_handshake_leads_in(first: bytes) -> None:
    """Simple, and with digests in both layouts, as OBS, librtmp, ffmpeg and Flash send them."""
    async with publishing() as (_, uri):
        assert b"NetStream.Publish.Start" in await answered(uri, "cam1", first)


async def test_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """Only the right key opens, in the URL or the key field; which was given is told nowhere."""
    async with publishing(publish_keys={"cam*": KEY}) as (watched, uri):
        assert b"the key is wrong" in await answered(uri, "cam1?key=wrong-horse")
        assert b"needs a key" in await answered(uri, "cam1")
        with publishers.ffmpeg("-f", "flv", f"{uri}?key={KEY}", audio=""):
            await watched.live()
    told = "".join(capsys.readouterr())
    assert "publisher_refused" in told
    assert "horse" not in told


async def test_a_key_field() -> None:
    """A server of rtmp://host/live/cam1 with the key alone, as OBS has two fields."""
    async with publishing(publish_keys={"cam1": KEY}) as (watched, uri):
        with publishers.ffmpeg("-f", "flv", f"{uri}/{KEY}", audio=""):
            await watched.live()


async def test_guessing_is_barred() -> None:
    """After five wrong keys even the right one is not tried for a while."""
    async with publishing(publish_keys={"cam1": KEY}) as (watched, uri):
        for number in range(5):
            assert b"wrong" in await answered(uri, f"cam1?key=guess-{number}")
        assert b"too many wrong keys" in await answered(uri, f"cam1?key={KEY}")
        refused = watched.runtime.metrics.get_sample_value
        assert refused("headrace_ingress_publish_refused_total", {"reason": "key"}) == 5
        assert refused("headrace_ingress_publish_refused_total", {"reason": "guessing"}) == 1


async def test_who_was_refused_is_heard_no_more() -> None:
    """Many questions that come at once are one try: the first refusal ends the connection, the right key behind it."""
    async with publishing(publish_keys={"cam1": KEY}) as (watched, uri):
        names = [*(f"cam1?key=guess-{number}" for number in range(3)), f"cam1?key={KEY}"]
        async with connection(uri) as (reader, writer):
            writer.write(SIMPLE + C2 + connect() + b"".join(map(publish, names)))
            told = await asyncio.wait_for(reader.read(-1), 10)
        assert told.count(b"NetStream.Publish") == 1
        metric = watched.runtime.metrics.get_sample_value
        assert metric("headrace_ingress_publish_refused_total", {"reason": "key"}) == 1
        assert metric("headrace_ingress_publishers") == 0


async def test_beyond_loopback_a_key_is_needed() -> None:
    """A door that others reach lets nobody in without one, wherever they come from."""
    async with publishing(host="0.0.0.0") as (_, uri):
        assert b"needs a key" in await answered(uri, "cam1")


async def test_names_that_are_none() -> None:
    """What is no stream's name is refused with how it is written."""
    async with publishing() as (_, uri):
        assert b"rtmp://host/live/{stream}" in await answered(uri, "../../etc/passwd")


async def test_a_second_publisher_is_refused() -> None:
    """The first goes on undisturbed."""
    async with publishing() as (watched, uri):
        with publishers.ffmpeg("-f", "flv", uri, audio=""):
            await watched.live()
            assert b"already" in await answered(uri, "cam1")
            await watched.live(1.0)
    watched.check()
    assert len(watched.opened) == 1


async def test_a_second_publisher_takes_over() -> None:
    """Where that is configured: the first is sent away, the stream goes on with another epoch."""
    async with publishing(publish_takes_over=True) as (watched, uri):
        with publishers.ffmpeg("-f", "flv", uri, audio="") as first:
            await watched.live()
            with publishers.ffmpeg("-f", "flv", uri, audio="libmp3lame"):
                await wait_until(lambda: not first.is_running, 20, what="the first publisher sent away")
                await wait_until(lambda: len(watched.codecs) == 2, 20, what="the second one's tracks")
                await watched.live(1.0)
    watched.check()


async def test_a_stream_with_a_source_has_no_publishers() -> None:
    """What is pulled cannot be replaced from outside."""
    sources = {NAME: "test:?size=320x180&audio=no"}
    async with publishing(sources=sources) as (watched, uri):
        await watched.live()
        assert b"source of its own" in await answered(uri, NAME)
        assert b"Publish.Start" in await answered(uri, "another")


async def test_a_publisher_that_comes_back() -> None:
    """Killed and started again: interrupted within a second, live again, numbers without a hole."""
    async with publishing() as (watched, uri):
        with publishers.ffmpeg("-f", "flv", uri) as publisher:
            await watched.live(1.0)
            publisher.kill()
            begun = time.monotonic()
            await watched.interrupted("its publisher left")
            assert time.monotonic() - begun < 10
        with publishers.ffmpeg("-f", "flv", uri):
            await watched.live(1.0)
    watched.check()
    interrupted, live = StreamState.INTERRUPTED, StreamState.LIVE
    assert watched.states == [interrupted, live, interrupted, live, interrupted]


async def test_a_publisher_that_stands_still() -> None:
    """Silence of the stall time sends it away, so that it or another may come back."""
    async with publishing(stall_seconds=1) as (watched, uri):
        with publishers.ffmpeg("-f", "flv", uri) as publisher:
            await watched.live(1.0)
            publisher.signal(signal.SIGSTOP)
            await watched.interrupted("nothing received from its publisher for 1 s")
            with publishers.ffmpeg("-f", "flv", uri):
                await watched.live(1.0)
    watched.check()


async def test_a_stream_is_let_go() -> None:
    """A publisher that stays away takes its stream along in the end."""
    async with publishing(publish_away_seconds=1) as (watched, uri):
        with publishers.ffmpeg("-f", "flv", uri, audio=""):
            await watched.live()
            assert NAME in watched.registry.streams
        await wait_until(lambda: NAME not in watched.registry.streams, 20)


async def test_what_was_published_here_before_sends_nobody_away() -> None:
    """Its record may outlive it by a moment: the next publisher stays, and its epoch outranks it."""
    async with publishing() as (watched, uri):
        with publishers.ffmpeg("-f", "flv", uri, audio=""):
            await watched.live()
            record = watched.registry.streams[NAME]
            watched.registry.on_fenced(NAME, msgspec.structs.replace(record, epoch=record.epoch - 1, state="ended"))
            await watched.live(1.0)
    watched.check()


async def test_rubbish_ends_its_connection_only(capsys: pytest.CaptureFixture[str]) -> None:
    """What is no RTMP, or no media, is told once and counted; whoever publishes beside it sees nothing of it."""
    async with publishing() as (watched, uri):
        with publishers.ffmpeg("-f", "flv", uri, audio=""):
            await watched.live()
            for data in (b"GET / HTTP/1.1\r\n\r\n", SIMPLE + C2 + b"\xff" * 4000, SIMPLE + C2 + connect() * 2):
                async with connection(uri) as (reader, writer):
                    writer.write(data)
                    with contextlib.suppress(ConnectionError):
                        await asyncio.wait_for(reader.read(-1), 10)
            await watched.live(1.0)
            ended = watched.runtime.metrics.get_sample_value
            assert ended("headrace_ingress_door_ended_total", {"door": "rtmp", "reason": "handshake"}) == 1
    watched.check()
    assert "".join(capsys.readouterr()).count("publisher_broke_rules") == 3


async def test_connections_that_publish_nothing() -> None:
    """A thousand of them, and slow ones: bounded, closed in time, and a publisher comes in meanwhile."""
    async with publishing() as (watched, uri):
        door = next(one for one in watched.components if isinstance(one, RtmpDoor))
        door.publish_seconds = 5.0
        async with contextlib.AsyncExitStack() as stack:
            idle = [await stack.enter_async_context(connection(uri)) for _ in range(1000)]
            for _, writer in idle[::2]:
                writer.write(SIMPLE[:100])
            connections = watched.runtime.metrics.get_sample_value
            await wait_until(
                lambda: (connections("headrace_ingress_door_connections", {"door": "rtmp"}) or 0) <= WAITING_MAX, 20
            )
            with publishers.ffmpeg("-f", "flv", uri, audio=""):
                await watched.live(1.0)
                await wait_until(
                    lambda: connections("headrace_ingress_door_connections", {"door": "rtmp"}) == 1, 30, what="closed"
                )
                await watched.live(1.0)
    watched.check()


async def test_a_trickle_is_too_slow() -> None:
    """A byte now and then does not keep a connection: what counts is when it publishes."""
    async with publishing() as (watched, uri):
        next(one for one in watched.components if isinstance(one, RtmpDoor)).publish_seconds = 1.0
        async with connection(uri) as (reader, writer):
            begun = time.monotonic()
            with contextlib.suppress(ConnectionError):
                for byte in SIMPLE:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    if reader.at_eof():
                        break
                    await asyncio.sleep(0.05)
            assert time.monotonic() - begun < 20


async def test_rtmps(tmp_path: Path) -> None:
    """With a certificate the door is rtmps and nothing else."""
    async with publishing() as (watched, _):
        first = next(one for one in watched.components if isinstance(one, RtmpDoor))
        tls = Authority(tmp_path).serving("127.0.0.1")
        door = RtmpDoor("127.0.0.1", 0, first.publications, first.metrics, tls=tls)
        await door.start()
        try:
            with publishers.ffmpeg("-f", "flv", f"rtmps://127.0.0.1:{door.bound_port}/live/cam1") as publisher:
                await watched.live(1.0)
                assert publisher.is_running, publisher.log
            async with connection(f"rtmp://127.0.0.1:{door.bound_port}") as (reader, writer):
                writer.write(SIMPLE)
                assert b"\x03" not in (await asyncio.wait_for(reader.read(1), 20))
        finally:
            await door.stop()
    watched.check()


async def test_a_port_that_is_taken() -> None:
    """It is told with the settings that help."""
    async with publishing() as (watched, uri):
        first = next(one for one in watched.components if isinstance(one, RtmpDoor))
        port = urlsplit(uri).port or 0
        second = RtmpDoor("127.0.0.1", port, first.publications, first.metrics)
        with pytest.raises(StartupError, match=r"ingress\.rtmp_port chooses another port"):
            await second.start()


async def test_a_codec_that_changes(capsys: pytest.CaptureFixture[str]) -> None:
    """On one connection, from one size to another: a new epoch, and no interruption between."""

    async with publishing() as (watched, uri):
        parts = urlsplit(uri)
        task = asyncio.create_task(asyncio.to_thread(publish_two_sizes, parts.hostname or "", parts.port or 0))
        await wait_until(lambda: len(watched.opened) == 2, 40, what="two epochs")
        await task
        await watched.interrupted("its publisher left")
    watched.check()
    assert [opened.tracks[0].width for opened in watched.opened] == [320, 640]
    states = watched.states
    assert states[: states.index(StreamState.LIVE) + 2][-2:] == [StreamState.LIVE, StreamState.INTERRUPTED]
    assert states.count(StreamState.LIVE) == 1
