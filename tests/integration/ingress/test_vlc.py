"""VLC as the server that is pulled from, and as the sender by UDP: what it sends is what comes out."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.testing import free_port
from integration.ingress.publishing import check_carried
from integration.ingress.rig import feeding
from support import publishers


@pytest.fixture(scope="module")
def clip() -> Iterator[Path]:
    """A clip that is longer than any test waits, where VLC may read it, which is not root."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        path = Path(folder) / "clip.mp4"
        picture, sound = f"testsrc2=size={publishers.SIZE}:rate=25:duration=90", "sine=sample_rate=48000:duration=90"
        encoded = "-c:v libx264 -preset ultrafast -bf 0 -g 25 -pix_fmt yuv420p -c:a aac -ac 2"
        inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
        subprocess.run(["ffmpeg", "-v", "error", *inputs, *encoded.split(), str(path)], check=True)
        yield path


async def test_vlc_serves_rtsp(clip: Path) -> None:
    """Its RTSP server, which sends by UDP alone; packets and sender reports are its own."""
    uri = f"rtsp://127.0.0.1:{free_port()}/cam"
    with publishers.vlc(clip, f"#rtp{{sdp={uri}}}") as server:
        async with feeding(f"{uri}#transport=udp") as watched:
            await watched.live(3.0)
            assert server.is_running, server.log
    check_carried(watched, ["avc1", "mp4a"])


async def test_vlc_serves_http(clip: Path) -> None:
    """Its HTTP server with MPEG-TS of its own multiplexer."""
    place = f"127.0.0.1:{free_port()}/cam"
    with publishers.vlc(clip, f"#standard{{access=http,mux=ts,dst={place}}}") as server:
        async with feeding(f"http://{place}") as watched:
            await watched.live(3.0)
            assert server.is_running, server.log
    check_carried(watched, ["avc1", "mp4a"])


async def test_vlc_sends_udp(clip: Path) -> None:
    """The same by UDP, where we come in the middle of a GOP."""
    port = free_port()
    with publishers.vlc(clip, f"#standard{{access=udp,mux=ts,dst=127.0.0.1:{port}}}") as sender:
        async with feeding(f"udp://127.0.0.1:{port}") as watched:
            await watched.live(3.0)
            assert sender.is_running, sender.log
    check_carried(watched, ["avc1", "mp4a"])
