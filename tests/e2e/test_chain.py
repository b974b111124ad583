"""The main job, for real: an RTSP server of other people's making, four processes, a real Redis, a real browser."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets

from support.browser import open_page, requires_chromium
from support.play_client import Seen, out_of_order, watch
from support.redis_server import RedisServer
from support.rtsp_server import RtspServer, available
from support.services import Service, chain, running

PLAY_SECONDS = float(os.environ.get("HEADRACE_TEST_PLAY_SECONDS", "20"))
"""How long the browser watches; a minute shows more, and costs it."""

pytestmark = [
    pytest.mark.redis,
    pytest.mark.gstreamer,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not available(), reason="GStreamer's RTSP server is not installed"),
]


@pytest.fixture(scope="module")
def camera() -> Iterator[RtspServer]:
    with RtspServer(video="h264", audio="aac", size=(640, 360)) as server:
        yield server


@pytest.fixture(scope="module")
def nodes(camera: RtspServer) -> Iterator[tuple[Service, ...]]:
    with RedisServer() as store, running(*chain(store.url, {"cam": camera.uri})) as services:
        yield services


def edge_url(nodes: tuple[Service, ...], scheme: str = "ws", door: int = 0) -> str:
    return f"{scheme}://127.0.0.1:{nodes[-1].port(door)}"


async def test_every_chunk_arrives_once_and_in_order(nodes: tuple[Service, ...]) -> None:
    """A viewer gets every chunk of both tracks, through the chain that the registry's layers make."""
    seen = await watch(f"{edge_url(nodes)}/play/cam", Seen(), lambda seen: len(seen.chunks) > 200, 60)
    route = [hop["node"] for hop in seen.of_type("state")[-1]["route"]]
    assert route == ["ingress-1", "intermediate-1", "intermediate-2", "edge-1"]
    assert {chunk.id.track for chunk in seen.chunks} == {1, 2}
    assert out_of_order(seen.chunks) == []


async def test_decode_times_are_continuous_to_the_tick(nodes: tuple[Service, ...]) -> None:
    """Each chunk begins where the one before it ended."""
    seen = await watch(f"{edge_url(nodes)}/play/cam", Seen(), lambda seen: len(seen.chunks) > 100, 60)
    for track in (1, 2):
        chunks = [chunk for chunk in seen.chunks if chunk.id.track == track]
        ends = [chunk.decode_time + chunk.duration for chunk in chunks]
        assert ends[:-1] == [chunk.decode_time for chunk in chunks[1:]]


async def test_ffprobe_reads_plain_fmp4_without_a_complaint(nodes: tuple[Service, ...], tmp_path: Path) -> None:
    """Ten seconds of the plain WebSocket door are a file that other people's tools read without an error."""
    file = tmp_path / "plain.mp4"
    async with websockets.connect(f"{edge_url(nodes, door=1)}/cam", max_size=2**25) as socket:
        with file.open("wb") as out:
            async with asyncio.timeout(60):
                for _ in range(220):
                    message = await socket.recv()
                    assert isinstance(message, bytes)
                    out.write(message)
    probe = ["ffprobe", "-v", "warning", "-show_entries", "packet=stream_index,dts", "-of", "json", str(file)]
    result = await asyncio.to_thread(subprocess.run, probe, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    packets = json.loads(result.stdout)["packets"]
    for stream in (0, 1):
        own = [packet for packet in packets if packet["stream_index"] == stream]
        assert len(own) > 100
        times = [packet["dts"] for packet in own]
        assert times == sorted(set(times)), "decode times must grow"


@requires_chromium
@pytest.mark.browser
async def test_a_browser_plays_and_goes_on_after_the_camera_was_away(
    camera: RtspServer, nodes: tuple[Service, ...]
) -> None:
    """The picture plays at its own speed; the camera dies and comes back, and so does the picture, not reloaded."""
    async with open_page(f"{edge_url(nodes, 'http')}/watch/cam") as page:
        await page.wait_for_player("video.currentTime > 0 && stats.state === 'live'", 30)
        await page.measure_rate(5)
        steady = await page.measure_rate(PLAY_SECONDS)
        print(f"rate {steady.rate:.4f}, stalls {steady.stalls}, latency {statistics.median(steady.latency_ms)} ms")
        assert steady.rate == pytest.approx(1.0, abs=0.1)

        camera.kill()
        await page.wait_for_player("stats.state === 'interrupted'", 30)
        await asyncio.to_thread(camera.start)
        position = (await page.wait_for_player("stats.state === 'live'", 60))["currentTime"]
        await page.wait_for_player(f"video.currentTime > {position} + 2 && !video.paused", 30)
        assert (await page.player())["videoWidth"] == 640
        assert page.refused == []
    broke, back = nodes[0].events("feed_broken"), nodes[0].events("feed_back")
    assert len(broke) == len(back) == 1
