"""ffmpeg 9 at every door, publishing and pulled from, with the codecs that its older sister cannot send."""

from __future__ import annotations

import pytest

from headrace.http.listener import HttpListener
from headrace.testing import free_port
from integration.ingress.publishing import check_carried, publishing, publishing_rtsp, publishing_srt
from integration.ingress.rig import feeding
from support import publishers


@pytest.mark.parametrize(
    ("video", "audio", "codecs"),
    [
        ("libx264", "aac", ["avc1", "mp4a"]),
        ("libx265", "aac", ["hvc1", "mp4a"]),
        ("libsvtav1", "libopus", ["av01", "opus"]),
        ("libvpx-vp9", "flac", ["vp09", "flac"]),
    ],
)
async def test_rtmp(video: str, audio: str, codecs: list[str]) -> None:
    """RTMP, plain and enhanced."""
    async with publishing() as (watched, uri):
        with publishers.new_ffmpeg("-f", "flv", uri, video=video, audio=audio) as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, codecs)


@pytest.mark.parametrize(
    ("transport", "video", "audio", "codecs"),
    [
        ("tcp", "libx264", "aac", ["avc1", "mp4a"]),
        ("udp", "libx265", "libopus", ["hvc1", "opus"]),
        ("tcp", "libvpx-vp9", "libopus", ["vp09", "opus"]),
        ("udp", "libsvtav1", "libopus", ["av01", "opus"]),
    ],
)
async def test_rtsp(transport: str, video: str, audio: str, codecs: list[str]) -> None:
    """RTSP's ANNOUNCE and RECORD."""
    async with publishing_rtsp() as (watched, uri):
        # It calls its own packets of VP9 and AV1 experimental.
        output = ["-strict", "experimental", "-f", "rtsp", "-rtsp_transport", transport, uri]
        with publishers.new_ffmpeg(*output, video=video, audio=audio) as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, codecs)


@pytest.mark.parametrize(
    ("video", "audio", "codecs"),
    [("libx264", "aac", ["avc1", "mp4a"]), ("libx265", "libopus", ["hvc1", "opus"])],
)
async def test_srt(video: str, audio: str, codecs: list[str]) -> None:
    """SRT's caller, with a libsrt of its own."""
    async with publishing_srt() as (watched, port):
        place = f"srt://127.0.0.1:{port}?streamid=cam1"
        with publishers.new_ffmpeg("-f", "mpegts", place, video=video, audio=audio) as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, codecs)


FMP4 = ("-f", "mp4", "-movflags", "frag_keyframe+empty_moov+default_base_moof", "-frag_duration", "200000")


@pytest.mark.parametrize(
    ("output", "video", "audio", "codecs"),
    [
        (FMP4, "libx264", "aac", ["avc1", "mp4a"]),
        (FMP4, "libsvtav1", "libopus", ["av01", "opus"]),
        (("-f", "webm"), "libvpx-vp9", "libopus", ["vp09", "opus"]),
        (("-f", "matroska"), "libx265", "flac", ["hvc1", "flac"]),
    ],
)
async def test_http(output: tuple[str, ...], video: str, audio: str, codecs: list[str]) -> None:
    """POST of files that grow."""
    async with publishing() as (watched, _):
        listener = next(component for component in watched.components if isinstance(component, HttpListener))
        place = f"http://127.0.0.1:{listener.bound_port}/publish/cam1"
        with publishers.new_ffmpeg(*output, place, video=video, audio=audio) as publisher:
            await watched.live(3.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, codecs)


@pytest.mark.parametrize(
    ("format", "ours", "its"),
    [
        ("mpegts", "udp://127.0.0.1:{port}", "udp://127.0.0.1:{port}?pkt_size=1316"),
        ("mpegts", "srt://127.0.0.1:{port}", "srt://127.0.0.1:{port}?mode=listener"),
        ("matroska", "http://127.0.0.1:{port}/cam", "http://127.0.0.1:{port}/cam?listen=1"),
        ("flv", "rtmp://127.0.0.1:{port}/live/cam", "rtmp://127.0.0.1:{port}/live/cam"),
    ],
    ids=["udp", "srt", "http", "rtmp"],
)
async def test_pulled(format: str, ours: str, its: str) -> None:
    """As the server, or the sender, that is pulled from."""
    port = free_port()
    listens = ["-listen", "1"] if format in {"matroska", "flv"} else []
    place = its.format(port=port).removesuffix("?listen=1")
    with publishers.new_ffmpeg("-f", format, *listens, place, video="libx265") as server:
        async with feeding(ours.format(port=port)) as watched:
            await watched.live(3.0)
            assert server.is_running, server.log
    check_carried(watched, ["hvc1", "mp4a"])
