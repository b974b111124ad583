"""RTMP publishers of other people's making, whole ways: what they send is what comes out."""

from __future__ import annotations

import pytest

from integration.ingress.publishing import check_carried, publishing
from support import publishers


@pytest.mark.parametrize(("audio", "codec"), [("aac", "mp4a"), ("libmp3lame", "mp4a"), ("", "")])
async def test_ffmpeg_publishes(audio: str, codec: str) -> None:
    """ffmpeg's RTMP with each codec that plain FLV has."""
    async with publishing() as (watched, uri):
        with publishers.ffmpeg("-f", "flv", uri, audio=audio) as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, ["avc1", codec] if codec else ["avc1"])


async def test_ffmpeg_publishes_sound_alone() -> None:
    """A radio is a stream too."""
    async with publishing() as (watched, uri):
        with publishers.ffmpeg("-f", "flv", uri, video=""):
            await watched.live(3.0)
    check_carried(watched, ["mp4a"])


@pytest.mark.gstreamer
@pytest.mark.parametrize("audio", ["aac", "mp3"])
async def test_gstreamer_publishes(audio: str) -> None:
    """GStreamer's rtmp2sink, which has a handshake and chunking of its own."""
    async with publishing() as (watched, uri):
        with publishers.gstreamer(uri, audio) as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, ["avc1", "mp4a"], steady=False)


@pytest.mark.parametrize(
    ("video", "audio", "codecs"),
    [
        ("libx264", "aac", ["avc1", "mp4a"]),
        ("libx265", "aac", ["hvc1", "mp4a"]),
        ("libsvtav1", "libopus", ["av01", "opus"]),
        ("libvpx-vp9", "flac", ["vp09", "flac"]),
    ],
)
async def test_enhanced_rtmp(video: str, audio: str, codecs: list[str]) -> None:
    """Codecs that came with enhanced RTMP, by libav as it publishes them."""
    async with publishing() as (watched, uri):
        with publishers.libav(uri, "flv", video, audio) as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, codecs)
