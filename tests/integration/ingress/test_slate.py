"""A slate between a source that went and the same source back: an epoch of its own, and the stream interrupted."""

from __future__ import annotations

import io
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from headrace.errors import ConfigurationError
from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from integration.ingress.publishing import publishing
from integration.ingress.rig import NAME, Watched, feeding
from integration.ingress.workers import linux, workers_of
from support import publishers
from support.rtsp_server import RtspServer, available

PATIENCE = 60
"""Longer than anything here waits: nothing is given up."""


@pytest.fixture
def camera() -> Iterator[RtspServer]:
    with RtspServer() as server:
        yield server


def slates(watched: Watched) -> float:
    return watched.runtime.metrics.get_sample_value("headrace_ingress_slates_total") or 0.0


async def slate(watched: Watched, seconds: float = 1.0) -> int:
    """Wait until a slate has played for so long; return its epoch."""
    known = len(watched.opened)

    def plays() -> bool:
        epoch = watched.broadcast.epoch
        own = [chunk for chunk in watched.chunks() if chunk.id.epoch == epoch]
        played = sum(chunk.duration for chunk in own) / 90_000
        return watched.broadcast.tracks[1].frame_rate == 10 and played >= seconds

    await wait_until(plays, 40, what=f"a slate, after {known} epochs")
    assert watched.state is StreamState.INTERRUPTED
    return watched.broadcast.epoch


def check_whole(watched: Watched) -> None:
    """Numbers and times go on over all epochs, and sound as long as the picture in each."""
    watched.check()
    for track in (1, 2):
        times = [chunk.decode_time for chunk in watched.chunks(track)]
        assert times == sorted(times)
    for one, two in itertools.pairwise(watched.opened):
        assert two.tracks[0].discontinuity == one.tracks[0].discontinuity + 1


async def test_a_publisher_that_goes_and_comes() -> None:
    """Killed: the slate in the feed's size, with silence; the next publisher's picture in an epoch after it."""
    async with publishing(slate="built-in") as (watched, uri):
        with publishers.ffmpeg("-f", "flv", uri) as publisher:
            await watched.live(1.0)
            feed = watched.broadcast.tracks
            publisher.kill()
            epoch = await slate(watched, 3.0)
        assert slates(watched) == 1
        assert "its publisher left" in watched.reason
        assert watched.registry.streams[NAME].state == "interrupted"
        tracks = watched.broadcast.tracks
        assert {number: track.kind for number, track in tracks.items()} == {1: "video", 2: "audio"}
        assert (tracks[1].width, tracks[1].height) == (feed[1].width, feed[1].height)
        assert tracks[2].header == feed[2].header
        assert average_color(watched.file()) == pytest.approx((48, 150, 118), abs=12)
        with publishers.ffmpeg("-f", "flv", uri):
            await watched.live(1.0)
            assert watched.broadcast.epoch > epoch
            assert watched.broadcast.tracks[1].frame_rate == 25
    check_whole(watched)
    assert len(watched.opened) == 3


@pytest.mark.gstreamer
@pytest.mark.skipif(not available(), reason="GStreamer's RTSP server is not installed; see make test")
async def test_a_camera_that_stands_still(camera: RtspServer) -> None:
    """Held before the slate begins, on a connection that stands; its media go on in an epoch after the slate's."""
    async with feeding(camera.uri, slate="built-in", stall_seconds=PATIENCE, silence_seconds=0.9) as watched:
        await watched.live(1.0)
        camera.freeze()
        await slate(watched)
        assert watched.reason.startswith("silent for ")
        camera.thaw()
        await watched.live(1.0)
    check_whole(watched)
    assert len(watched.opened) == 3


@pytest.mark.gstreamer
@pytest.mark.skipif(not available(), reason="GStreamer's RTSP server is not installed; see make test")
async def test_a_camera_that_is_given_up(camera: RtspServer) -> None:
    """The slate outlives the attempts, and the camera's return ends it."""
    async with feeding(camera.uri, slate="built-in", stall_seconds=3, silence_seconds=0.9) as watched:
        await watched.live(1.0)
        camera.freeze()
        epoch = await slate(watched)
        camera.kill()
        await watched.interrupted("refused")
        assert watched.broadcast.epoch == epoch
        camera.start()
        await watched.live(1.0)
    check_whole(watched)
    assert len(watched.opened) == 3


@linux
async def test_a_slate_whose_worker_ends() -> None:
    """It begins anew in another."""
    async with publishing(slate="built-in", workers=1) as (watched, uri):
        with publishers.ffmpeg("-f", "flv", uri) as publisher:
            await watched.live(1.0)
            publisher.signal(signal.SIGKILL)
            first = await slate(watched)
        for worker in workers_of(os.getpid()):
            worker.signal(signal.SIGKILL)
        await wait_until(lambda: slates(watched) == 2, 30)
        assert await slate(watched) > first


async def test_a_picture_of_ones_own(tmp_path: Path) -> None:
    """Shown in the feed's size with black beside it."""
    path = picture(tmp_path / "green.png", 100, 100)
    async with publishing(slate=str(path)) as (watched, uri):
        with publishers.ffmpeg("-f", "flv", uri, audio="") as publisher:
            await watched.live(1.0)
            publisher.kill()
            await slate(watched)
        assert list(watched.broadcast.tracks) == [1]
        pixels = last_picture(watched.file())
        assert (pixels.width, pixels.height) == (320, 180)
        assert pixel(pixels, 160, 90) == pytest.approx((173, 42, 26), abs=8)
        assert pixel(pixels, 10, 90) == pytest.approx((16, 128, 128), abs=8)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("none.png", None, "it cannot be read"),
        ("text.png", b"no picture", "neither PNG nor JPEG"),
        ("huge.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4) * 2, "60000x60000"),
        ("broken.jpg", b"\xff\xd8\xff\xc0\0\x11\x08\0\x10\0\x10" + b"\0" * 20, "it is damaged"),
    ],
)
async def test_a_bad_picture_is_refused(tmp_path: Path, name: str, content: bytes | None, why: str) -> None:
    """The program does not start with it, and says which setting, which file and why."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"ingress\.slate: .*{name} cannot be the picture: .*{why}"):
        async with feeding("test:", slate=str(path)):
            pass


def picture(path: Path, width: int, height: int) -> Path:
    """Write a picture that is all green."""
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png")
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        frame = av.VideoFrame(width, height, "rgb24")
        (plane,) = frame.planes
        plane.update((b"\x00\xff\x00" * width).ljust(plane.line_size, b"\0") * height)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def last_picture(file: bytes) -> av.VideoFrame:
    """Return the last picture of a file as yuv420p."""
    with av.open(io.BytesIO(file), "r") as container:
        *_, last = container.decode(video=0)
    return last


def pixel(frame: av.VideoFrame, x: int, y: int) -> tuple[int, ...]:
    """Return Y, Cb and Cr."""
    return tuple(
        bytes(plane)[(y >> bool(at)) * plane.line_size + (x >> bool(at))] for at, plane in enumerate(frame.planes)
    )


def average_color(file: bytes) -> tuple[int, ...]:
    """Return the colour of a corner of the last picture."""
    return pixel(last_picture(file), 20, 20)
