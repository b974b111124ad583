"""RTSP publishers of other people's making, whole ways: what they send is what comes out."""

from __future__ import annotations

import pytest

from integration.ingress.publishing import check_carried, publishing_rtsp
from support import publishers


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("video", "audio", "codecs"),
    [
        ("libx264", "aac", ["avc1", "mp4a"]),
        ("libx265", "aac", ["hvc1", "mp4a"]),
        ("libx264", "libopus", ["avc1", "opus"]),
        ("libx264", "", ["avc1"]),
        ("", "aac", ["mp4a"]),
    ],
)
async def test_ffmpeg_records(transport: str, video: str, audio: str, codecs: list[str]) -> None:
    """ffmpeg's RTSP, over TCP and UDP, carried as it is."""
    async with publishing_rtsp() as (watched, uri):
        output = ["-f", "rtsp", "-rtsp_transport", transport, uri]
        with publishers.ffmpeg(*output, video=video, audio=audio) as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, codecs)


async def test_ffmpeg_records_g711() -> None:
    """G.711, which browsers do not play, becomes AAC."""
    async with publishing_rtsp() as (watched, uri):
        output = ["-ar", "8000", "-ac", "1", "-f", "rtsp", "-rtsp_transport", "tcp", uri]
        with publishers.ffmpeg(*output, audio="pcm_alaw") as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, ["avc1", "mp4a"])


async def test_ffmpeg_records_motion_jpeg() -> None:
    """Motion JPEG becomes H.264."""
    async with publishing_rtsp() as (watched, uri):
        output = ["-huffman", "default", "-f", "rtsp", "-rtsp_transport", "tcp", uri]
        with publishers.ffmpeg(*output, video="mjpeg") as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, ["avc1", "mp4a"])


@pytest.mark.parametrize(
    ("video", "audio", "codecs"),
    [
        ("libsvtav1", "libopus", ["av01", "opus"]),
        ("libx264", "libmp3lame", ["avc1", "mp4a"]),
        ("libx264", "pcm_s16be", ["avc1", "mp4a"]),
    ],
)
async def test_libav_records(video: str, audio: str, codecs: list[str]) -> None:
    """libav of the version that we ship, with what Debian's cannot; L16 becomes AAC."""
    async with publishing_rtsp() as (watched, uri):
        with publishers.libav(uri, "rtsp", video, audio) as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, codecs)


@pytest.mark.gstreamer
@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("video", "audio", "codecs"),
    [("h264", "aac", ["avc1", "mp4a"]), ("h265", "opus", ["hvc1", "opus"]), ("h264", "g711", ["avc1", "mp4a"])],
)
async def test_gstreamer_records(transport: str, video: str, audio: str, codecs: list[str]) -> None:
    """GStreamer's rtspclientsink, whose RTSP, packets and sender reports are its own."""
    async with publishing_rtsp() as (watched, uri):
        with publishers.gstreamer_rtsp(uri, transport, video, audio) as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, codecs, steady=False)
