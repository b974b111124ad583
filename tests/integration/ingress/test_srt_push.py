"""SRT publishers of other people's making, whole ways: what they send is what comes out."""

from __future__ import annotations

import pytest

from integration.ingress.publishing import check_carried, publishing_srt
from support import publishers


@pytest.mark.parametrize(
    ("video", "audio", "codecs"),
    [
        ("libx264", "aac", ["avc1", "mp4a"]),
        ("libx265", "aac", ["hvc1", "mp4a"]),
        ("libx264", "libmp3lame", ["avc1", "mp4a"]),
        ("libx264", "libopus", ["avc1", "opus"]),
        ("libx264", "", ["avc1"]),
        ("", "aac", ["mp4a"]),
    ],
)
async def test_ffmpeg_calls(video: str, audio: str, codecs: list[str]) -> None:
    """ffmpeg's caller, with the codecs that MPEG-TS has."""
    async with publishing_srt() as (watched, port):
        place = f"srt://127.0.0.1:{port}?streamid=cam1"
        with publishers.ffmpeg("-f", "mpegts", place, video=video, audio=audio) as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, codecs)


async def test_srt_live_transmit_calls() -> None:
    """libsrt's own program, encrypted, with a stream id of standard keys; it is fed by UDP."""
    async with publishing_srt(srt_passphrase="correct-horse-battery") as (watched, port):
        place = f"srt://127.0.0.1:{port}?streamid=#!::r=cam1,m=publish&passphrase=correct-horse-battery"
        with publishers.srt_live_transmit(place) as (transmitter, feeder):
            await watched.live(3.0)
            assert transmitter.is_running, transmitter.log
            assert feeder.is_running, feeder.log
    check_carried(watched, ["avc1", "mp4a"])


@pytest.mark.gstreamer
async def test_gstreamer_calls() -> None:
    """GStreamer's srtsink, whose multiplexer is its own."""
    async with publishing_srt() as (watched, port):
        with publishers.gstreamer_srt(port, "cam1") as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, ["avc1", "mp4a"], steady=False)
