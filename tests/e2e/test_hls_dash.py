"""Everybody's players on HLS and DASH: real processes, requests spread at random over two edges."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import pytest

from support.balancer import balancer
from support.browser import requires_chromium
from support.http_players import (
    PLAYERS,
    FirefoxPlayer,
    HttpPlayer,
    play,
    play_in_firefox,
    requires_firefox,
    requires_players,
)
from support.live_cluster import LiveCluster, live_cluster, stalls_allowed, wait_filled
from support.native_players import Played, play_in_ffmpeg, play_in_gstreamer, play_in_vlc, requires_native_players
from unit.live.m3u8 import read

WATCH_SECONDS = float(os.environ.get("HEADRACE_TEST_PLAY_SECONDS", "15"))

NUMBERS = itertools.count(1)
"""For names of edges: each is one that the others have not known."""

LATENCY_MAX_MS = 15_000
"""What nobody calls live; measured on a quiet machine it is a tenth of that (docs/hls-dash.md)."""

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LiveCluster]:
    with live_cluster() as made:
        yield made


Open = Callable[[str, str], AbstractAsyncContextManager[HttpPlayer | FirefoxPlayer]]


@pytest.mark.browser
@requires_chromium
@requires_firefox
@requires_players
@pytest.mark.parametrize(
    ("player", "name", "opened"),
    [
        ("hls.js", "index.m3u8", play),
        ("dash.js", "manifest.mpd", play),
        ("shaka", "manifest.mpd", play),
        ("hls.js", "index.m3u8", play_in_firefox),
    ],
    ids=["hls.js", "dash.js", "shaka", "hls.js in Firefox"],
)
async def test_a_browser_plays_from_whichever_edge(cluster: LiveCluster, player: str, name: str, opened: Open) -> None:
    """No stall and no fatal error while an edge is killed and a new one takes its place."""
    await wait_filled(cluster.urls()[0], segments=5)
    async with balancer(*cluster.urls()) as front, opened(player, f"{front.url}/live/demo/{name}") as tab:
        await tab.wait_playing(40)
        await asyncio.sleep(4)  # a player finds its distance to live first
        before = await tab.watch(WATCH_SECONDS / 3)
        meanwhile = asyncio.ensure_future(tab.watch(WATCH_SECONDS / 3))
        await asyncio.to_thread(cluster.replace, 0, f"edge-after-{next(NUMBERS)}")
        during = await meanwhile
        front.edges = cluster.urls()
        after = await tab.watch(WATCH_SECONDS / 3)
    seen = (before, during, after)
    latencies = [latency for one in seen for latency in one["latency_ms"]]
    stalls = [one["stalls"] for one in seen]
    print(
        f"{opened.__name__} {player}: p50 {statistics.median(latencies):.0f} ms, worst {max(latencies):.0f} ms, "
        f"stalls {stalls}, rates {[round(one['rate'], 3) for one in seen]}, requests {list(front.served.values())}"
    )
    assert len(front.served) == 3
    # A busy machine may cost the settling player a stall; losing an edge may cost none.
    assert sum(stalls[1:]) <= stalls_allowed(), (after["errors"], front.refused)
    assert not [error for error in after["errors"] if error.startswith("fatal")]
    assert statistics.median(latencies) < LATENCY_MAX_MS


@requires_native_players
@pytest.mark.parametrize(
    ("played", "name"),
    [
        (play_in_vlc, "index.m3u8"),
        (play_in_gstreamer, "index.m3u8"),
        (play_in_ffmpeg, "index.m3u8"),
        (play_in_ffmpeg, "manifest.mpd"),
    ],
)
async def test_a_program_plays_from_whichever_edge(
    cluster: LiveCluster, played: Callable[[str, float], Awaitable[Played]], name: str
) -> None:
    """The same for players that know nothing of low latency."""
    await wait_filled(cluster.urls()[0], segments=8)
    async with balancer(*cluster.urls()) as front:
        playing = asyncio.ensure_future(played(f"{front.url}/live/demo/{name}", WATCH_SECONDS))
        await asyncio.sleep(WATCH_SECONDS / 3)
        await asyncio.to_thread(cluster.replace, 0, f"edge-after-{next(NUMBERS)}")
        front.edges = cluster.urls()
        seen = await playing
    print(f"{played.__name__} {name}: {seen}, requests {list(front.served.values())}")
    assert seen.seconds >= WATCH_SECONDS - 1, seen
    # These players hold no distance to live that an edge's end could not use up.
    assert seen.stalls <= 1 + stalls_allowed(), seen
    assert seen.problem == ""
    assert len(front.served) == 3


async def test_ffmpeg_reads_hls_and_dash(cluster: LiveCluster, tmp_path: Path) -> None:
    """Eight seconds of both tracks without a gap or a complaint, requests spread over both edges."""
    await wait_filled(cluster.urls()[0], segments=4)
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
                # The pattern leaves pictures out where the machine is busy, and a frame of sound may be cut short to
                # bring it back to the picture.
                steps = [later - time for time, later in itertools.pairwise(times)]
                assert 0 < min(steps) <= max(steps) < 1, (name, stream)
                assert sum(one < step * 0.9 for one in steps) <= 1, (name, stream, steps)


@requires_players
async def test_hls_parser_takes_every_playlist(cluster: LiveCluster, tmp_path: Path) -> None:
    """hls-parser, strict, and our own reader take what the edges give out for a while, deltas included."""
    texts = []
    async with aiohttp.ClientSession() as session:
        for turn in range(12):
            for name in ("index.m3u8", "1.m3u8", "2.m3u8", "1.m3u8?_HLS_skip=YES"):
                async with session.get(f"{cluster.urls()[turn % 2]}/live/demo/{name}") as answer:
                    texts.append(await answer.text())
            await asyncio.sleep(0.3)
    assert all(read(text).segments for text in texts if "#EXT-X-STREAM-INF" not in text)
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


async def test_both_edges_give_the_same_bytes(cluster: LiveCluster) -> None:
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
