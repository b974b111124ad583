"""Publishing over HTTP: PUT and POST of growing files, and WebSocket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from headrace.http.listener import HttpListener
from headrace.testing import wait_until
from integration.ingress.clips import make_clip
from integration.ingress.publishing import check_carried, publishing
from integration.ingress.rig import Watched
from support import publishers

KEY = "correct-horse"
FMP4 = ("-f", "mp4", "-movflags", "frag_keyframe+empty_moov+default_base_moof", "-frag_duration", "200000")


@asynccontextmanager
async def door(**ingress: object) -> AsyncIterator[tuple[Watched, str]]:
    """Run an ingress; give what is published, and where by HTTP."""
    async with publishing(rtmp_port=0, **ingress) as (watched, _):
        listener = next(component for component in watched.components if isinstance(component, HttpListener))
        yield watched, f"http://127.0.0.1:{listener.bound_port}/publish/cam1"


@pytest.mark.parametrize(
    ("output", "video", "audio", "codecs"),
    [
        (FMP4, "libx264", "aac", ["avc1", "mp4a"]),
        (("-f", "mpegts"), "libx264", "aac", ["avc1", "mp4a"]),
        (("-f", "mpegts"), "libx265", "libmp3lame", ["hvc1", "mp4a"]),
        (("-f", "webm"), "libvpx-vp9", "libopus", ["vp09", "opus"]),
        (("-f", "flv"), "libx264", "aac", ["avc1", "mp4a"]),
    ],
)
async def test_ffmpeg_sends(output: tuple[str, ...], video: str, audio: str, codecs: list[str]) -> None:
    """`ffmpeg -f … http://` as it is: chunked POST of each container that is read."""
    async with door() as (watched, url):
        with publishers.ffmpeg(*output, url, video=video, audio=audio) as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, codecs)


async def test_put_with_a_key() -> None:
    """By PUT, and the key as a parameter, a bearer token, or Basic's password."""
    async with door(publish_keys={"*": KEY}) as (watched, url):
        with publishers.ffmpeg("-method", "PUT", *FMP4, f"{url}?key={KEY}"):
            await watched.live(1.0)
        async with aiohttp.ClientSession() as session:
            for headers, query in (
                ({}, ""),
                ({}, "?key=wrong-horse"),
                ({"Authorization": "Bearer wrong"}, ""),
                ({"Authorization": "Basic ü"}, ""),
            ):
                async with session.put(url + query, headers=headers, data=b"x") as answer:
                    assert answer.status == 401
            clip = b"\x47" * 376
            basic = "Basic " + base64.b64encode(f"any:{KEY}".encode()).decode()
            for headers, query in (
                ({}, f"?key={KEY}"),
                ({"Authorization": f"Bearer {KEY}"}, ""),
                ({"Authorization": basic}, ""),
            ):
                async with session.post(url + query, headers=headers, data=clip) as answer:
                    assert answer.status in {204, 409}


async def test_guessing_is_barred() -> None:
    """As with every door, and over all of them."""
    async with door(publish_keys={"*": KEY}) as (_, url), aiohttp.ClientSession() as session:
        statuses = []
        for number in range(7):
            async with session.put(f"{url}?key=guess-{number}", data=b"x") as answer:
                statuses.append(answer.status)
    assert statuses == [401] * 5 + [429] * 2


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://[::1"},
        {"Host": "evil.example:8080"},
        {"Host": "[::1"},
        {"X-Forwarded-For": "192.0.2.7"},
        {"Via": "1.1 proxy"},
    ],
)
async def test_those_from_elsewhere_need_a_key(headers: dict[str, str]) -> None:
    """A page that is shown on this machine is not this machine, nor is whom a proxy on it lets through."""
    async with door() as (_, url), aiohttp.ClientSession(headers=headers) as session:
        async with session.put(url, data=b"x") as answer:
            assert answer.status == 401
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url)
        assert refused.value.status == 401


async def test_a_second_publisher() -> None:
    """It is refused with 409 and the first goes on."""
    async with door() as (watched, url), aiohttp.ClientSession() as session:
        with publishers.ffmpeg(*FMP4, url):
            await watched.live()
            async with session.put(url, data=b"x") as answer:
                assert answer.status == 409
            await watched.live(0.5)
    watched.check()


@pytest.mark.parametrize(
    "body",
    [b"hello" * 100, b"", b"\x47" * 1000, b"\x1a\x45\xdf\xa3" + b"\xff" * 1000, b"FLV\x01" + bytes(1000),
     (8).to_bytes(4, "big") + b"moov" + b"\xff" * 1000, b"\x7f\xff\xff\xffmdat" + bytes(1000),
     b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"],
)  # fmt: skip
async def test_what_is_no_media(body: bytes) -> None:
    """It is taken, or refused once that is known; and the door stays open for the next."""
    async with door() as (watched, url), aiohttp.ClientSession() as session:
        async with session.put(url, data=body) as answer:
            assert answer.status in {204, 409}
        await wait_until(lambda: watched.reason != "the source is being opened", 20)
        with publishers.ffmpeg(*FMP4, url):
            await watched.live()


async def test_slow_bodies() -> None:
    """Nothing at all for too long is answered so; a trickle of what is no media is given up by the stall time."""
    async with door(stall_seconds=1) as (watched, url):
        host, port = url.split("/")[2].split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PUT /publish/cam1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n" + b"\x47" * 20)
        answer = await asyncio.wait_for(reader.read(100), 20)
        assert b"409" in answer
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await watched.interrupted("for 1 s")


async def test_websocket(tmp_path: Path) -> None:
    """Messages are pieces of one file, wherever it is cut; the end of the file ends the publisher."""
    clip = make_clip(tmp_path / "clip.webm", video="libvpx-vp9", audio="libopus").read_bytes()
    async with door() as (watched, url), aiohttp.ClientSession() as session:
        async with session.ws_connect(url) as socket:
            for begin in range(0, len(clip), 999):
                await socket.send_bytes(clip[begin : begin + 999])
        await watched.interrupted("its publisher left")
    assert [codec.partition(".")[0] for codec in watched.codecs] == ["vp09", "opus"]


async def test_a_page_is_served() -> None:
    """For people, with a policy that lets it load nothing of elsewhere."""
    async with door() as (_, url), aiohttp.ClientSession() as session:
        async with session.get(url) as answer:
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert "Publish" in await answer.text()
        for name, status in (("publish.js", 200), ("publish.css", 200), ("index.html", 404), ("..%2fapp.py", 404)):
            async with session.get(url.replace("publish/cam1", f"publish-page/{name}")) as answer:
                assert answer.status == status
        async with session.get(url.replace("cam1", "a%20b")) as answer:
            assert answer.status == 404
