"""Cameras: GStreamer's RTSP server as a process of its own, that is killed, frozen and asked for passwords."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from urllib.parse import quote

import av
import pytest
import structlog

from headrace.clock import SystemClock
from headrace.media.samples import PackagerOptions, Sample
from headrace.registry.feed_uri import parse_uri
from headrace.testing import free_port, wait_until
from headrace.wire.stream import StreamState
from headrace_ingress.pull import PulledSource
from integration.ingress.rig import NAME, feeding
from support.rtsp_server import PASSWORD, USER, RtspServer, available, tls_available
from support.services import Service

pytestmark = [
    pytest.mark.gstreamer,
    pytest.mark.skipif(not available(), reason="GStreamer's RTSP server is not installed; see make test"),
]

STALL_SECONDS = 1.0


@pytest.fixture
def camera() -> Iterator[Callable[..., RtspServer]]:
    """Start servers as a test asks for them; they are killed after it."""
    servers: list[RtspServer] = []

    def start(**arguments: object) -> RtspServer:
        servers.append(RtspServer(**arguments))  # type: ignore[arg-type]
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


Camera = Callable[..., RtspServer]


@pytest.mark.parametrize(
    ("video", "audio", "transport", "codecs"),
    [
        ("h264", "aac", "tcp", ["avc1", "mp4a"]),
        ("h264", "aac", "udp", ["avc1", "mp4a"]),
        ("h264-bframes", "aac", "tcp", ["avc1", "mp4a"]),
        ("h265", "opus", "tcp", ["hvc1", "opus"]),
        ("h264", "none", "tcp", ["avc1"]),
        ("none", "aac", "tcp", ["mp4a"]),
    ],
)
async def test_a_camera_is_carried_as_it_is(
    camera: Camera, video: str, audio: str, transport: str, codecs: list[str]
) -> None:
    """Every codec over every transport: all pictures from the first keyframe on, decodable, in real time."""
    server = camera(video=video, audio=audio)
    async with feeding(f"{server.uri}#transport={transport}") as watched:
        await watched.live(2.5)
        assert [codec.partition(".")[0] for codec in watched.codecs] == codecs
    watched.check()
    assert watched.chunks()[0].random_access
    with av.open(io.BytesIO(watched.file()), "r") as container:
        times = sorted(packet.pts * packet.time_base for packet in container.demux(0) if packet.pts is not None)
        # Of reordered pictures the last ones are not all there.
        steps = {round(float(two - one), 2) for one, two in itertools.pairwise(times[:-4])}
        assert steps <= {0.02, 0.04}
    with av.open(io.BytesIO(watched.file()), "r") as container:
        assert len(list(container.decode(container.streams[0]))) >= len(times) - 4


@pytest.mark.parametrize("how", [{"auth": "basic"}, {"auth": "digest"}, {"tls": True}], ids=["basic", "digest", "tls"])
async def test_a_camera_that_the_api_names(camera: Camera, how: dict[str, object]) -> None:
    """It is carried as well, though something stands between libav and what was not configured."""
    if how.get("tls") and not tls_available():
        pytest.skip("GLib has no TLS or openssl is missing")
    server = camera(**how)
    user = f"{quote(USER)}:{quote(PASSWORD, safe='')}@" if "auth" in how else ""
    uri = parse_uri(server.uri.replace("://", f"://{user}"), trusted=False)
    stopping = threading.Event()
    source = PulledSource(uri, "udp", [ip_network("127.0.0.1/32")], PackagerOptions(), 5.0, SystemClock(), stopping)

    def pull() -> tuple[set[int], list[int]]:
        """Read until both tracks have had a hundred samples; return the tracks, and the times of the video."""
        samples: list[Sample] = []
        try:
            source.open(lambda note: None)
            while len(samples) < 200:
                samples += source.read()
        finally:
            source.close()
        return {sample.track for sample in samples}, [sample.dts for sample in samples if sample.track == 1]

    tracks, times = await asyncio.to_thread(pull)
    assert tracks == {1, 2}
    assert times == sorted(times)
    await wait_until(lambda: not any(thread.name == "rtsp guard" for thread in threading.enumerate()))


async def test_capture_times_are_near_the_camera(camera: Camera) -> None:
    """What was captured just now says so, and capture and decode times stay together."""
    server = camera()
    async with feeding(server.uri) as watched:
        await watched.live(1.5)
        newest = watched.chunks()[-1]
        assert 0 <= time.time() - newest.capture_us / 1e6 < 2
    for chunk in watched.chunks():
        assert abs(chunk.decode_time / 90_000 - chunk.capture_us / 1e6) < 0.5 or not chunk.samples


@pytest.mark.parametrize("auth", ["basic", "digest"])
async def test_credentials_are_used_and_never_told(
    camera: Camera, auth: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The right password opens the camera; nothing that is logged or shown has it."""
    server = camera(auth=auth)
    user = f"{quote(USER)}:{quote(PASSWORD, safe='')}@"
    async with feeding(server.uri.replace("://", f"://{user}")) as watched:
        await watched.live()
        shown = json.dumps([str(watched.broadcast.state), str(watched.registry.streams[NAME])])
    logged = "".join(capsys.readouterr()) + shown
    assert server.uri.replace("://", "://***@") in logged
    for secret in (USER, PASSWORD, quote(PASSWORD, safe="")):
        assert secret not in logged


@pytest.mark.parametrize("auth", ["basic", "digest"])
async def test_a_wrong_password_is_told(camera: Camera, auth: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The state says what is wrong, without the password that was tried."""
    server = camera(auth=auth)
    async with feeding(server.uri.replace("://", "://operator:hunter2@")) as watched:
        await watched.interrupted("password")
    assert "hunter2" not in "".join(capsys.readouterr()) + watched.reason


@pytest.mark.skipif(not tls_available(), reason="GLib has no TLS or openssl is missing")
async def test_rtsps(camera: Camera) -> None:
    """The same inside TLS, whoever signed the certificate."""
    server = camera(tls=True)
    assert server.uri.startswith("rtsps://")
    async with feeding(server.uri) as watched:
        await watched.live()
    watched.check()


async def test_a_camera_that_goes_comes_back(camera: Camera) -> None:
    """Killed and started again: interrupted, then live with a greater epoch; numbers without a hole, time goes on."""
    server = camera()
    with structlog.testing.capture_logs() as logs:
        async with feeding(server.uri) as watched:
            await watched.live(1.0)
            server.kill()
            await watched.interrupted("")
            await watched.interrupted("refused")
            server.start()
            await watched.live(1.0)
    watched.check()
    interrupted, live = StreamState.INTERRUPTED, StreamState.LIVE
    assert watched.states == [interrupted, live, interrupted, live, interrupted]
    assert len(watched.opened) == 2
    times = [chunk.decode_time for chunk in watched.chunks()]
    assert times == sorted(times)
    events = [line["event"] for line in logs if line["event"] in {"feed_broken", "feed_back"}]
    assert events == ["feed_broken", "feed_back"]


async def test_a_frozen_camera_is_a_broken_one(camera: Camera) -> None:
    """A connection that stays open and says nothing is given up after the stall time, and tried until it is back."""
    server = camera()
    async with feeding(server.uri, stall_seconds=STALL_SECONDS) as watched:
        await watched.live(1.0)
        server.freeze()
        await watched.interrupted("nothing received for 1 s")
        server.thaw()
        await watched.live(0.5)
    watched.check()
    assert len(watched.opened) == 2


async def test_a_short_freeze_is_none(camera: Camera) -> None:
    """Silence that is shorter than the stall time leaves the connection and the epoch alone."""
    server = camera()
    async with feeding(server.uri, stall_seconds=10) as watched:
        await watched.live(1.0)
        server.freeze()
        await asyncio.sleep(1.0)
        server.thaw()
        await watched.live(1.0)
        assert len(watched.opened) == 1
    watched.check()


@pytest.mark.parametrize(
    ("video", "audio", "words"), [("vp8", "none", "video codec vp8"), ("none", "g722", "audio codec adpcm_g722")]
)
async def test_what_cannot_be_carried_is_named(camera: Camera, video: str, audio: str, words: str) -> None:
    """A camera without any codec that can be carried says which it has."""
    async with feeding(camera(video=video, audio=audio).uri) as watched:
        await watched.interrupted(words)


async def test_sound_that_cannot_be_carried_is_left_out(camera: Camera) -> None:
    """G.722 beside H.264: the picture goes on, and it is said once."""
    with structlog.testing.capture_logs() as logs:
        async with feeding(camera(audio="g722").uri) as watched:
            await watched.live()
            assert len(watched.broadcast.tracks) == 1
    assert [line["event"] for line in logs].count("feed_note") == 1


@pytest.mark.parametrize(("video", "codec"), [("h264", "avc1"), ("mjpeg", "avc1")])
async def test_motion_jpeg_and_g711_are_encoded(camera: Camera, video: str, codec: str) -> None:
    """What many cameras still send becomes H.264 and AAC, in one epoch, captured when it was."""
    async with feeding(camera(video=video, audio="g711").uri) as watched:
        await watched.live(2.0)
        assert [told.partition(".")[0] for told in watched.codecs] == [codec, "mp4a"]
        assert len(watched.opened) == 1
        late = [time.time() - chunk.capture_us / 1e6 for chunk in (watched.chunks(1)[-1], watched.chunks(2)[-1])]
        assert all(0 < seconds < 3 for seconds in late)
    watched.check()


async def test_a_stop_while_a_camera_hangs(camera: Camera) -> None:
    """A camera that is frozen, or never answers, does not hold a stop for more than a moment."""
    server = camera()
    async with feeding(server.uri, stall_seconds=60) as watched:
        await watched.live()
        server.freeze()
        await asyncio.sleep(0.2)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5


def test_the_program_ends_while_a_camera_hangs(camera: Camera) -> None:
    """Whatever its readers wait for, the process ends in good order and with exit code 0."""
    server = camera()
    sources = json.dumps({"cam1": server.uri, "cam2": "test:?size=320x180"})
    settings = {"ingress.port": "0", "ingress.sources": sources, "ingress.stall_seconds": "60"}
    service = Service("ingress", "ingress-1", settings).start()
    try:
        deadline = time.monotonic() + 40
        while len(service.events("feed_live")) < 2:
            assert time.monotonic() < deadline, service.log
            time.sleep(0.05)
        server.freeze()
    finally:
        begun = time.monotonic()
        assert service.stop() == 0
    assert time.monotonic() - begun < 10


async def test_a_stop_while_a_server_does_not_answer() -> None:
    """The same for one that accepts a connection and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        async with feeding(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/cam"):
            connection, _ = await asyncio.to_thread(silent.accept)
            begun = time.monotonic()
        assert time.monotonic() - begun < 5
        connection.close()


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("rtsp://127.0.0.1:{port}/cam", "refused"),
        ("rtsp://no-such-host.invalid/cam", "host name"),
    ],
)
async def test_an_address_that_is_not_there_is_told(uri: str, words: str) -> None:
    """Nothing listens, or nobody knows the name: the reason says so, and the node goes on."""
    async with feeding(uri.format(port=free_port())) as watched:
        await watched.interrupted(words)


async def test_a_path_that_is_not_there_is_told(camera: Camera) -> None:
    """A server that knows no such stream answers 404."""
    async with feeding(camera().uri + "/none") as watched:
        await watched.interrupted("404")


async def test_rubbish_ends_its_stream_only() -> None:
    """A server that answers nonsense is a broken source and nothing more."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\xff$\x00RTSP/9.9 rubbish\r\n" * 200)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, feeding(f"rtsp://127.0.0.1:{port}/cam") as watched:
        await wait_until(lambda: watched.reason not in {"", "the source is being opened"}, 20)
        assert watched.state is StreamState.INTERRUPTED
        assert watched.runtime.failure is None
