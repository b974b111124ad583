"""Where an ingress was killed, playlists go on: at edges that were there, and at one that begins afterwards."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence

import aiohttp
import pytest

from e2e.test_hls_alignment import newest_epoch
from support.live_cluster import LiveCluster, live_cluster, wait_filled
from unit.live.m3u8 import Playlist, read

SAME_SECONDS = 30.0
"""Longest wait for all edges to be asked between the same two parts."""

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def cluster() -> Iterator[LiveCluster]:
    # So much that the first epoch is still there at the end, on a machine that starts programs slowly.
    with live_cluster({"edge.window_seconds": "300", "ring.seconds": "360"}) as made:
        yield made


async def text_of(http: aiohttp.ClientSession, edge: str, name: str) -> str:
    """Return what an edge says."""
    async with http.get(f"{edge}/live/demo/{name}") as answer:
        assert answer.status == 200, (edge, name, answer.status)
        return await answer.text()


async def same(http: aiohttp.ClientSession, edges: Sequence[str], name: str) -> Playlist:
    """Ask edges until all say the same, and return that."""
    async with asyncio.timeout(SAME_SECONDS):
        while True:
            texts = set(await asyncio.gather(*(text_of(http, edge, name) for edge in edges)))
            if len(texts) == 1:
                return read(texts.pop())


def facts(playlist: Playlist) -> set[tuple[int, str | None, float, int]]:
    """Return what is told of each whole segment."""
    return {(one.number, one.uri, one.seconds, one.discontinuity) for one in playlist.segments if one.uri}


async def test_a_killed_ingress_leaves_one_playlist(cluster: LiveCluster) -> None:
    """Nothing that was listed goes, numbers and discontinuities go on one by one, and all edges say so alike.

    One that begins now tells the same of what the others carried themselves, though the ingress knows nothing of it.
    """
    epoch = await newest_epoch(cluster.urls()[0])
    async with aiohttp.ClientSession() as http:
        before = {name: await same(http, cluster.urls(), name) for name in ("1.m3u8", "2.m3u8")}
        for _ in range(2):
            cluster.ingress.kill()
            cluster.ingress.stop()
            cluster.ingress.start()
            epoch = await newest_epoch(cluster.urls()[0], epoch)
        cold = cluster.edge("edge-cold").start()
        try:
            await wait_filled(f"http://127.0.0.1:{cold.port()}", segments=1)  # it knows of the stream in a moment
            for name, old in before.items():
                late = read(await text_of(http, f"http://127.0.0.1:{cold.port()}", name))
                new = await same(http, cluster.urls(), name)
                assert facts(old) <= facts(new)
                assert facts(late) <= facts(new)
                for one, two in itertools.pairwise(new.segments):
                    assert two.number == one.number + 1
                    assert two.discontinuity - one.discontinuity in {0, 1}
                newest = new.segments[-1].discontinuity
                assert newest >= old.segments[-1].discontinuity + 2
                assert late.segments[0].discontinuity < newest
        finally:
            cold.stop()
