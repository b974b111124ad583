"""Everybody's players on HLS and DASH: real processes, requests spread at random over two edges."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from support.balancer import balancer
from support.browser import requires_chromium
from support.http_players import PLAYERS, play, requires_players
from support.redis_server import RedisServer
from support.services import Service, running

WATCH_SECONDS = float(os.environ.get("HEADRACE_TEST_PLAY_SECONDS", "20"))

LATENCY_MAX_MS = 15_000
"""What nobody calls live; measured on a quiet machine it is a tenth of that (docs/hls-dash.md)."""

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(240)]


class Cluster:
    """An ingress with the test pattern as `demo`, and edges."""

    def __init__(self, store: str) -> None:
        self.common = {"registry.url": store, "relay.secret": "a secret of the tests"}
        sources = json.dumps({"demo": "test:"})
        self.ingress = Service("ingress", "ingress-1", {**self.common, "ingress.port": "0", "ingress.sources": sources})
        self.edges = [self.edge("edge-1"), self.edge("edge-2")]

    def edge(self, name: str) -> Service:
        return Service("edge", name, {**self.common, "edge.port": "0", "edge.fmp4_port": "0"})

    def replace(self, place: int, name: str) -> None:
        """Kill an edge and start another in its place; returns when that listens."""
        self.edges[place].kill()
        self.edges[place].stop()
        self.edges[place] = self.edge(name).start()
        self.edges[place].port()

    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{edge.port()}" for edge in self.edges]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with RedisServer() as store:
        made = Cluster(store.url)
        with running(made.ingress, *made.edges):
            try:
                yield made
            finally:
                made.edges[0].stop()  # it may be another than at the beginning


async def _filled(url: str, segments: int) -> None:
    """Wait until a playlist has so many segments."""
    async with aiohttp.ClientSession() as session:

        async def count() -> int:
            async with session.get(f"{url}/live/demo/1.m3u8") as answer:
                return (await answer.text()).count("#EXTINF")

        for _ in range(120):
            if await count() >= segments:
                return
            await asyncio.sleep(0.5)
    raise AssertionError(f"no {segments} segments at {url}")


@pytest.mark.browser
@requires_chromium
@requires_players
@pytest.mark.parametrize(
    ("player", "name"), [("hls.js", "index.m3u8"), ("dash.js", "manifest.mpd"), ("shaka", "manifest.mpd")]
)
async def test_a_browser_plays_from_whichever_edge(cluster: Cluster, player: str, name: str) -> None:
    """No stall and no fatal error while an edge is killed and a new one takes its place."""
    await _filled(cluster.urls()[0], 5)
    async with balancer(*cluster.urls()) as front, play(player, f"{front.url}/live/demo/{name}") as tab:
        await tab.wait_playing(30)
        await asyncio.sleep(4)  # a player finds its distance to live first
        before = await tab.watch(WATCH_SECONDS / 2)
        meanwhile = asyncio.ensure_future(tab.watch(WATCH_SECONDS / 2))
        await asyncio.to_thread(cluster.replace, 0, f"edge-after-{player}")
        during = await meanwhile
        front.edges = cluster.urls()
        after = await tab.watch(WATCH_SECONDS / 2)
    seen = (before, during, after)
    latencies = [latency for one in seen for latency in one["latency_ms"]]
    print(f"{player}: p50 {statistics.median(latencies):.0f} ms, worst {max(latencies):.0f} ms, {front.served}")
    assert len(front.served) == 3
    # A busy machine may cost the settling player a stall; losing an edge may cost none.
    assert [one["stalls"] for one in (during, after)] == [0, 0], (after["errors"], front.refused)
    assert not [error for error in after["errors"] if error.startswith("fatal")]
    assert statistics.median(latencies) < LATENCY_MAX_MS


async def test_ffmpeg_reads_hls_and_dash(cluster: Cluster, tmp_path: Path) -> None:
    """Eight seconds of both tracks without a gap or a complaint, requests spread over both edges."""
    await _filled(cluster.urls()[0], 4)
    async with balancer(*cluster.urls()) as front:
        for name in ("index.m3u8", "manifest.mpd"):
            file = tmp_path / f"{name}.mp4"
            read = [
                "ffmpeg",
                "-v",
                "warning",
                "-i",
                f"{front.url}/live/demo/{name}",
                "-t",
                "8",
                "-c",
                "copy",
                str(file),
            ]
            done = await asyncio.to_thread(subprocess.run, read, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            probe = [
                "ffprobe",
                "-v",
                "error",
                "-show_entries",
                "packet=stream_index,dts_time",
                "-of",
                "json",
                str(file),
            ]
            found = await asyncio.to_thread(subprocess.run, probe, capture_output=True, text=True, check=True)
            packets = json.loads(found.stdout)["packets"]
            for stream, step in ((0, 0.04), (1, 1024 / 48_000)):
                times = [float(packet["dts_time"]) for packet in packets if packet["stream_index"] == stream]
                assert times[-1] - times[0] > 5
                # The pattern leaves pictures out where the machine is busy.
                assert all(step * 0.9 < later - time < 1 for time, later in itertools.pairwise(times))


@requires_players
async def test_hls_parser_takes_every_playlist(cluster: Cluster, tmp_path: Path) -> None:
    """hls-parser, strict, reads what the edges give out for a while, deltas included."""
    texts = []
    async with aiohttp.ClientSession() as session:
        for turn in range(12):
            for name in ("index.m3u8", "1.m3u8", "2.m3u8", "1.m3u8?_HLS_skip=YES"):
                async with session.get(f"{cluster.urls()[turn % 2]}/live/demo/{name}") as answer:
                    texts.append(await answer.text())
            await asyncio.sleep(0.3)
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    script = tmp_path / "check.cjs"
    script.write_text(
        f"const HLS = require({json.dumps(str(PLAYERS / 'hls-parser'))});"
        "HLS.setOptions({ strictMode: true });"
        "const texts = JSON.parse(require('fs').readFileSync(process.argv[2]));"
        "for (const text of texts) HLS.parse(text);"
        "console.log(texts.length);"
    )
    done = await asyncio.to_thread(
        subprocess.run, ["node", str(script), str(tmp_path / "texts.json")], capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == (str(len(texts)), "")


async def test_both_edges_give_the_same_bytes(cluster: Cluster) -> None:
    """What is listed at one edge is at the other, byte for byte."""
    async with aiohttp.ClientSession() as session:

        async def body(edge: str, path: str) -> bytes:
            async with session.get(f"{edge}/live/demo/{path}") as answer:
                assert answer.status == 200, (edge, path)
                return await answer.read()

        one, other = cluster.urls()

        async def same() -> bool:
            texts = await asyncio.gather(body(one, "1.m3u8"), body(other, "1.m3u8"))
            return texts[0] == texts[1]

        for _ in range(50):
            if await same():
                break
        else:
            raise AssertionError("the edges' playlists are never alike")
        listed = [line for line in (await body(one, "1.m3u8")).decode().splitlines() if line.endswith(".m4s")]
        for path in listed[1:]:
            assert await body(one, path) == await body(other, path)
