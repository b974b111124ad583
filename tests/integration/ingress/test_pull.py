"""Feeds that are pulled by RTMP, HTTP, HLS and UDP, from servers of other people's making; where they may not lead."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import web

from headrace.clock import SystemClock
from headrace.media.samples import PackagerOptions
from headrace.registry.feed_uri import parse_uri
from headrace.testing import free_port, wait_until
from headrace.wire.stream import StreamState
from headrace_ingress.pull import PulledSource
from headrace_ingress.source import SourceBroken
from integration.ingress.clips import make_clip
from integration.ingress.publishing import check_carried
from integration.ingress.rig import feeding
from support import publishers

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(**answers: Answer | Path) -> AsyncIterator[str]:
    """Serve files, folders and answers over HTTP on loopback; give the address."""
    app = web.Application()
    for name, answer in answers.items():
        path = "/" + name.replace("_", ".")
        if isinstance(answer, Path) and answer.is_dir():
            app.router.add_static(path, answer)
        elif isinstance(answer, Path):
            app.router.add_get(path, file(answer))
        else:
            app.router.add_get(path, answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def file(path: Path) -> Answer:
    """Return an answer that is a file."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path)

    return answer


def text(body: str) -> Answer:
    """Return an answer that is a text."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=body)

    return answer


def redirect(location: str) -> Answer:
    """Return an answer that leads elsewhere."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location.replace("SELF", str(request.url.origin()))})

    return answer


@pytest.mark.parametrize("format", ["mpegts", "flv", "matroska"])
async def test_an_endless_answer(format: str) -> None:
    """What a server sends as it comes (MPEG-TS, FLV, Matroska over HTTP), by ffmpeg that serves."""
    port = free_port()
    with publishers.ffmpeg("-f", format, "-listen", "1", f"http://127.0.0.1:{port}/cam"):
        async with feeding(f"http://127.0.0.1:{port}/cam") as watched:
            await watched.live(3.0)
    check_carried(watched, ["avc1", "mp4a"])


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts", "clip.mkv"])
async def test_a_file_at_live_speed(name: str, tmp_path: Path) -> None:
    """A file of a server passes as fast as its media lasts, and begins again when it has ended."""
    clip = make_clip(tmp_path / name)
    async with serving(**{name.replace(".", "_"): clip}) as url, feeding(f"{url}/{name}") as watched:
        begun = time.monotonic()
        await watched.live(0.3)
        assert time.monotonic() - begun > 0.1
        await wait_until(lambda: len(watched.opened) >= 2, 20, what="the second pass")
    watched.check()


async def test_hls(tmp_path: Path) -> None:
    """A live playlist by ffmpeg, segments of MPEG-TS: at live speed, without an interruption, decodable."""
    folder = tmp_path / "live"
    folder.mkdir()
    options = ["-f", "hls", "-hls_time", "1", "-hls_list_size", "5", "-hls_flags", "delete_segments"]
    with publishers.ffmpeg(*options, str(folder / "cam.m3u8")):
        await wait_until(lambda: len(list(folder.glob("*.ts"))) >= 3, 30)
        async with serving(live=folder) as url, feeding(f"{url}/live/cam.m3u8") as watched:
            await watched.live(6.0)
            assert len(watched.opened) == 1
    check_carried(watched, ["avc1", "mp4a"])


async def test_hls_of_fmp4(tmp_path: Path) -> None:
    """The same with segments of fMP4 under a main playlist."""
    folder = tmp_path / "live"
    folder.mkdir()
    options = ["-f", "hls", "-hls_time", "1", "-hls_segment_type", "fmp4", "-master_pl_name", "main.m3u8"]
    with publishers.ffmpeg(*options, str(folder / "cam.m3u8")):
        await wait_until(lambda: (folder / "main.m3u8").exists() and len(list(folder.glob("*.m4s"))) >= 3, 30)
        async with serving(live=folder) as url, feeding(f"{url}/live/main.m3u8") as watched:
            await watched.live(3.0)
    check_carried(watched, ["avc1", "mp4a"])


async def test_udp() -> None:
    """MPEG-TS that ffmpeg sends by UDP; it may begin before we listen."""
    port = free_port()
    with publishers.ffmpeg("-f", "mpegts", f"udp://127.0.0.1:{port}?pkt_size=1316"):
        async with feeding(f"udp://127.0.0.1:{port}") as watched:
            await watched.live(3.0)
    check_carried(watched, ["avc1", "mp4a"])


@pytest.mark.gstreamer
async def test_udp_by_gstreamer() -> None:
    """The same of GStreamer's udpsink, whose multiplexer is its own."""
    port = free_port()
    with publishers.gstreamer_udp(port) as sender:
        async with feeding(f"udp://127.0.0.1:{port}") as watched:
            await watched.live(3.0)
            assert sender.is_running, sender.log
    check_carried(watched, ["avc1", "mp4a"], steady=False)


async def test_udp_in_the_middle_of_a_long_gop() -> None:
    """Parameter sets come with keyframes alone: the next one is looked for, for longer than libav looks by itself."""
    port = free_port()
    with publishers.ffmpeg("-f", "mpegts", f"udp://127.0.0.1:{port}?pkt_size=1316", gop=125):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
            first.bind(("127.0.0.1", port))
            first.setblocking(False)
            for _ in range(30):
                await asyncio.wait_for(asyncio.get_running_loop().sock_recv(first, 2048), 30)
        source = await asyncio.to_thread(opened, f"udp://127.0.0.1:{port}", networks=LOOPBACK)
    assert [track.kind for track in source.tracks] == ["video", "audio"]


async def test_udp_that_stops_and_comes_back() -> None:
    """Silence is a broken feed, and what comes again is taken up."""
    port = free_port()
    async with feeding(f"udp://127.0.0.1:{port}", stall_seconds=1) as watched:
        with publishers.ffmpeg("-f", "mpegts", f"udp://127.0.0.1:{port}?pkt_size=1316"):
            await watched.live(1.0)
        await watched.interrupted("nothing received over UDP for 1 s")
        with publishers.ffmpeg("-f", "mpegts", f"udp://127.0.0.1:{port}?pkt_size=1316"):
            await watched.live(1.0)
    watched.check()


async def test_rtmp_that_goes_and_comes_back() -> None:
    """Pulled from ffmpeg as the server; killed and started again."""
    uri = f"rtmp://127.0.0.1:{free_port()}/live/cam"
    async with feeding(uri) as watched:
        with publishers.ffmpeg("-f", "flv", "-listen", "1", uri):
            await watched.live(3.0)
        await watched.interrupted("refused")
        with publishers.ffmpeg("-f", "flv", "-listen", "1", uri):
            await watched.live(1.0)
    watched.check()
    assert len(watched.opened) == 2


async def test_srt() -> None:
    """A listener that is called, with a stream id; killed and started again."""
    port = free_port()
    async with feeding(f"srt://127.0.0.1:{port}?streamid=cam&latency=50", stall_seconds=2) as watched:
        with publishers.ffmpeg("-f", "mpegts", f"srt://127.0.0.1:{port}?mode=listener"):
            await watched.live(3.0)
        await wait_until(lambda: watched.state is StreamState.INTERRUPTED, 20)
        with publishers.ffmpeg("-f", "mpegts", f"srt://127.0.0.1:{port}?mode=listener"):
            await watched.live(1.0)
    watched.check()
    assert [codec.partition(".")[0] for codec in watched.codecs] == ["avc1", "mp4a"]


@pytest.mark.parametrize(
    ("query", "words"),
    [("passphrase=correct-horse", "passphrase"), ("mode=listener", "does not listen"), ("linger=1", "no others")],
)
async def test_srt_options(query: str, words: str) -> None:
    """What cannot be had safely is refused, and not shown."""
    with pytest.raises(SourceBroken, match=words) as refused:
        await asyncio.to_thread(opened, f"srt://127.0.0.1:9999?{query}", networks=LOOPBACK)
    assert "horse" not in str(refused.value)


def opened(uri: str, *, networks: tuple[str, ...] = (), trusted: bool = False) -> PulledSource:
    """Open a source that came by API and return it.

    Raises:
        SourceBroken: as it does.
    """
    allowed = [ip_network(network) for network in networks]
    checked = parse_uri(uri, trusted=trusted)
    source = PulledSource(checked, "tcp", allowed, PackagerOptions(), 2.0, SystemClock(), threading.Event())
    try:
        source.open(lambda note: None)
    finally:
        source.close()
    return source


LOOPBACK = ("127.0.0.1/32",)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:{port}/clip.mp4",
        "srt://127.0.0.1:{port}",
        "rtmp://127.0.0.1:{port}/live/cam",
        "udp://127.0.0.1:{port}",
        "udp://0.0.0.0:{port}",
        "udp://239.1.2.3:{port}",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:{port}/",
        "http://localhost:{port}/clip.mp4",
        "http://2130706433:{port}/clip.mp4",
    ],
)
async def test_what_came_by_api_stays_outside(uri: str, tmp_path: Path) -> None:
    """Our own doors, the cloud's metadata and every private address are refused, whatever way they are written."""
    async with serving(clip_mp4=make_clip(tmp_path / "clip.mp4")) as url:
        port = url.rpartition(":")[2]
        with pytest.raises(SourceBroken, match="private network"):
            await asyncio.to_thread(opened, uri.format(port=port))


async def test_a_network_that_is_allowed(tmp_path: Path) -> None:
    """What the operator names is reached."""
    async with serving(clip_mp4=make_clip(tmp_path / "clip.mp4")) as url:
        source = await asyncio.to_thread(opened, f"{url}/clip.mp4", networks=LOOPBACK)
    assert [track.kind for track in source.tracks] == ["video", "audio"]


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://169.254.169.254/latest/meta-data/", "private network"),
        ("http://127.0.0.2:1/", "private network"),
        ("file:///etc/passwd", "leads to file:"),
        ("rtsp://127.0.0.1/cam", "leads to rtsp:"),
        ("SELF/again.ts", "redirects more than"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "leads to gopher:"),
    ],
)
async def test_redirects_are_checked(location: str, words: str) -> None:
    """Each step is checked like the first: addresses, schemes, and how many there are."""
    async with serving(again_ts=redirect(location)) as url:
        with pytest.raises(SourceBroken, match=words):
            await asyncio.to_thread(opened, f"{url}/again.ts", networks=LOOPBACK)


@asynccontextmanager
async def leading(location: str) -> AsyncIterator[str]:
    """Serve RTSP at an address that redirects to `location`; gives the URI."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while request := await reader.readuntil(b"\r\n\r\n"):
                number = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"cseq"))
                status = b"200 OK" if request.startswith(b"OPTIONS") else b"302 Moved"
                told = b"\r\nLocation: " + location.encode()
                writer.write(b"RTSP/1.0 " + status + b"\r\n" + number + told + b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/cam"


async def test_a_camera_leads_nowhere() -> None:
    """An RTSP server that came by API cannot have libav go to an address that was not checked."""
    came: list[object] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer.get_extra_info("peername"))
        writer.close()

    inside = await asyncio.start_server(elsewhere, "127.0.0.2", 0)
    async with inside, leading(f"rtsp://127.0.0.2:{inside.sockets[0].getsockname()[1]}/admin") as uri:
        with pytest.raises(SourceBroken, match="leads to another address"):
            await asyncio.to_thread(opened, uri, networks=LOOPBACK)
    assert not came


async def test_a_redirect_that_may_be(tmp_path: Path) -> None:
    """It is followed, and the password goes to no other host."""
    seen: list[str | None] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return web.FileResponse(tmp_path / "clip.ts")

    make_clip(tmp_path / "clip.ts")
    async with serving(clip_ts=elsewhere) as other, serving(cam=redirect(f"{other}/clip.ts")) as url:
        source = await asyncio.to_thread(opened, url.replace("//", "//user:secret@") + "/cam", networks=LOOPBACK)
    assert len(source.tracks) == 2
    assert seen == [None]


FORMS = [
    "{head}#EXTINF:2,\n{entry}\n",
    '{head}#EXT-X-MAP:URI="{entry}"\n#EXTINF:2,\n1.ts\n',
    '{head}#EXT-X-KEY:METHOD=AES-128,URI="{entry}"\n#EXTINF:2,\n1.ts\n',
    "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{entry}\n",
]
HEAD = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n"


ENTRIES = [
    "file:///etc/passwd",
    "/etc/passwd",
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.2:1/1.ts",
    "rtsp://127.0.0.1/cam",
    "tcp://127.0.0.1:6379",
    "data:text/plain;base64,AAAA",
    "concat:/etc/passwd|/etc/group",
    "subfile,,start,0,end,10,,:/etc/passwd",
    "crypto+file:///etc/passwd",
    "list.m3u8",
]
LEADS = [(FORMS[0], entry) for entry in ENTRIES] + [
    (form, entry) for form in FORMS[1:] for entry in (ENTRIES[0], ENTRIES[2], ENTRIES[-1])
]


@pytest.mark.parametrize(("form", "entry"), LEADS)
async def test_playlists_lead_nowhere_else(form: str, entry: str) -> None:
    """Segments, maps, keys and playlists that name other schemes, places or themselves: refused, and in time."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text=form.format(head=HEAD, entry=entry))

    async def nothing(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=404)

    async with serving(**{"list_m3u8": answer, "{path:.*}": nothing}) as url:
        with pytest.raises(SourceBroken):
            await asyncio.wait_for(asyncio.to_thread(opened, f"{url}/list.m3u8", networks=LOOPBACK), 60)
    assert len(asked) < 200


async def test_a_playlist_without_end() -> None:
    """It is read to its limit and no further."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(HEAD.encode())
        try:
            while True:
                await response.write(b"#EXTINF:2,\nhttp://127.0.0.1:1/1.ts\n" * 1000)
        except ConnectionError:
            return response

    async with serving(list_m3u8=answer) as url:
        with pytest.raises(SourceBroken, match="is not read"):
            await asyncio.to_thread(opened, f"{url}/list.m3u8", networks=LOOPBACK)


@pytest.mark.parametrize(("status", "words"), [(401, "password"), (404, "404"), (500, "failed"), (418, "418")])
async def test_a_server_that_refuses(status: int, words: str) -> None:
    """It is told in words."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serving(cam=answer) as url, feeding(f"{url}/cam") as watched:
        await watched.interrupted(words)


BODIES = [
    "",
    "hello",
    "#EXTM3U",
    "\0" * 1000,
    "FLV\x01\x05\0\0\0\x09\0\0\0\0",
    "ffconcat version 1.0\nfile /etc/passwd\n",
    "v=0\nm=video 1 RTP/AVP 96\n",
]


@pytest.mark.parametrize("body", BODIES)
async def test_what_is_no_media(body: str) -> None:
    """It is a broken source, whatever it looks like."""
    async with serving(cam=text(body)) as url:
        with pytest.raises(SourceBroken):
            await asyncio.to_thread(opened, f"{url}/cam", networks=LOOPBACK)
