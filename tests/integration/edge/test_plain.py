"""Plain fMP4, by clients that know nothing of Headrace."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

import headrace_ingress.app
from headrace.media.boxes import combine_headers, strip_prft
from headrace.service.groups import Settings
from headrace.wire.chunk import Chunk, make_chunk
from integration.edge.rig import EdgeRig
from unit.edge.synthetic import AUDIO, DATA, OTHER_VIDEO, VIDEO

HEADER = combine_headers([VIDEO.header, AUDIO.header])


async def receive(socket: ClientConnection, count: int = 1) -> list[bytes]:
    """Return the next messages, which must be binary."""
    async with asyncio.timeout(10):
        messages = [await socket.recv() for _ in range(count)]
    assert all(isinstance(message, bytes) for message in messages)
    return messages  # type: ignore[return-value]


def bodies(chunks: list[Chunk]) -> list[bytes]:
    """Return what plain viewers get of chunks."""
    return [bytes(strip_prft(chunk.media)) for chunk in chunks]


async def test_order_of_messages(rig: EdgeRig) -> None:
    """First ftyp+moov of all tracks, then one moof+mdat a message, from a random access point on."""
    feed = rig.feed()
    feed.push(13)
    async with rig.plain() as socket:
        assert await receive(socket) == [HEADER]
        assert await receive(socket, 6) == bodies(feed.sent[20:])
        assert bodies(feed.push()) == await receive(socket, 2)
    await rig.wait_viewers(0)


async def test_the_handshake_is_that_of_evostream(rig: EdgeRig) -> None:
    """No subprotocol is echoed, the content type and the open origin are told."""
    async with rig.plain(subprotocols=["whatever"]) as socket:
        assert socket.response is not None
        assert socket.response.status_code == 101
        assert "Sec-WebSocket-Protocol" not in socket.response.headers
        assert socket.response.headers["Content-Type"] == "application/octet-stream"
        assert socket.response.headers["Access-Control-Allow-Origin"] == "*"
        assert socket.subprotocol is None


async def test_a_stream_that_comes_later(rig: EdgeRig) -> None:
    """An unknown name is accepted; data starts when the stream appears."""
    async with rig.plain("later") as socket:
        feed = rig.feed("later")
        feed.push(2)
        assert await receive(socket, 5) == [HEADER, *bodies(feed.sent)]


async def test_a_late_joiner_gets_the_header_at_once(rig: EdgeRig) -> None:
    """Tracks are told even while the first random access point is awaited."""
    feed = rig.feed()
    async with rig.plain() as socket:
        assert await receive(socket) == [HEADER]
        assert bodies(feed.push()) == await receive(socket, 2)


async def test_another_epoch(rig: EdgeRig) -> None:
    """The same header is not sent again; a changed one comes before its media."""
    feed = rig.feed()
    feed.push(1)
    async with rig.plain() as socket:
        await receive(socket, 3)
        feed.interrupt()
        feed.open()
        assert bodies(feed.push()) == await receive(socket, 2)
        feed.open(OTHER_VIDEO, AUDIO)
        changed = combine_headers([OTHER_VIDEO.header, AUDIO.header])
        assert [changed, *bodies(feed.push())] == await receive(socket, 3)


async def test_what_is_no_media_is_left_out(rig: EdgeRig) -> None:
    """Chunks that only close a segment, and data tracks, do not reach players that would not know them."""
    feed = rig.feed(tracks=(VIDEO, DATA))
    first = feed.push(2)
    async with rig.plain() as socket:
        assert await receive(socket, 3) == [combine_headers([VIDEO.header]), *bodies(first[::2])]
        last = first[-2]
        closing = last.id._replace(chunk=last.id.chunk + 1)
        feed.broadcast.append(make_chunk(closing, last.flags, last.decode_time + last.duration, 0, 0, 0, 0))
        feed.open(VIDEO)
        assert bodies(feed.push()) == await receive(socket, 1)


@pytest.mark.parametrize("path", ["cam", "deadbeef-0000-4000-8000-000000000000;*cam", "site7/gate"])
async def test_names(rig: EdgeRig, path: str) -> None:
    """The path is the name; what EvoStream's player puts before three-letter names is taken off."""
    feed = rig.feed(path.rpartition("*")[2])
    feed.push()
    async with rig.plain(path) as socket:
        assert await receive(socket, 3) == [HEADER, *bodies(feed.sent)]


@pytest.mark.parametrize("path", ["", "a%20b", "../x", "a//b", "x" * 129, "%00"])
async def test_invalid_names(rig: EdgeRig, path: str) -> None:
    """They are answered 404, with an empty body."""
    with pytest.raises(InvalidStatus) as refused:
        await rig.plain(path)
    assert refused.value.response.status_code == 404
    assert not refused.value.response.body


@pytest.mark.parametrize("mode", ["progressive", "fullMp4", "progressive&adaptive"])
async def test_modes_that_are_not_there_yet(rig: EdgeRig, mode: str) -> None:
    """Another framing is refused with a sentence, instead of sending what the player cannot read."""
    with pytest.raises(InvalidStatus) as refused:
        await rig.plain(f"demo?{mode}")
    assert refused.value.response.status_code == 501
    assert mode.partition("&")[0].encode() in (refused.value.response.body or b"")


async def test_pings_words_and_floods(rig: EdgeRig) -> None:
    """Pings are answered, words are taken in silence, a flood of them ends the connection."""
    feed = rig.feed()
    feed.push()
    async with rig.plain() as socket:
        await receive(socket, 3)
        await asyncio.wait_for(await socket.ping(), 10)
        await socket.send("pause")
        assert bodies(feed.push()) == await receive(socket, 2)
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(200):
                await socket.send("ping")
            while True:
                await asyncio.wait_for(socket.recv(), 10)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "flood")


async def test_long_words_and_bad_frames(rig: EdgeRig) -> None:
    """A message that is too long, and bytes that are no frame, end that connection and are counted."""
    rig.feed().push()
    async with rig.plain() as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.send("x" * 5000)
            while True:
                await asyncio.wait_for(socket.recv(), 10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    async with rig.plain() as socket:
        socket.transport.write(b"\xff" * 10)
        with pytest.raises(ConnectionClosed):
            while True:
                await asyncio.wait_for(socket.recv(), 10)
    await rig.wait_viewers(0)
    assert rig.value("refused_total", door="fmp4", reason="too_large") == 1
    assert rig.value("refused_total", door="fmp4", reason="bad_frame") == 1


async def test_more_viewers_than_allowed() -> None:
    """The viewer beyond the limit gets a sentence by HTTP."""
    async with EdgeRig(viewers_max=1) as rig, rig.plain():
        with pytest.raises(InvalidStatus) as refused:
            await rig.plain()
        assert refused.value.response.status_code == 503
        assert b"its limit" in (refused.value.response.body or b"")


async def test_real_media_reads_without_an_error(rig: EdgeRig, tmp_path: Path) -> None:
    """ffprobe reads the concatenated messages of a real stream with no complaint, times growing in every track."""
    settings = Settings.model_validate({"ingress": {"rtmp": False, "port": 0, "sources": {"pattern": "test:"}}})
    feeds = headrace_ingress.app.build(settings, rig.runtime, rig.hub, rig.registry)
    for component in feeds:
        await component.start()
    try:
        async with rig.plain("pattern") as socket:
            messages = await receive(socket, 60)
    finally:
        for component in feeds:
            await component.stop()
    assert [message[4:8] for message in messages] == [b"ftyp"] + [b"moof"] * 59
    recorded = tmp_path / "plain.mp4"
    recorded.write_bytes(b"".join(messages))
    complaints, packets = probe(recorded)
    assert complaints == ""
    for index in {packet["stream_index"] for packet in packets}:
        times = [int(packet["dts"]) for packet in packets if packet["stream_index"] == index]
        durations = [int(packet["duration"]) for packet in packets if packet["stream_index"] == index]
        assert [begin + lasts for begin, lasts in zip(times, durations, strict=True)][:-1] == times[1:]


def probe(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """Return what ffprobe complains about, decoding everything, and the packets."""
    program = shutil.which("ffprobe")
    assert program, "ffprobe is one of the programs that `make test` asks for"
    options = ["-v", "warning", "-count_frames", "-show_packets", "-show_streams", "-of", "json"]
    done = subprocess.run([program, *options, str(path)], capture_output=True, text=True, timeout=60, check=True)
    return done.stderr, json.loads(done.stdout)["packets"]
