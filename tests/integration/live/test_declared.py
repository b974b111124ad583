"""What is declared of a stream: alike at every edge, and what its segments take."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterable

import aiohttp
import msgspec
import pytest

from headrace.relay.broadcast import Opened
from headrace.testing import wait_until
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, StreamState
from headrace_ingress.declaring import Declaring
from integration.edge.chain import DEMO, Chain
from integration.live.test_cold_edge import text, wait_until_listed
from unit.live.m3u8 import read
from unit.live.streams import Programme


@pytest.fixture
async def chain() -> AsyncIterator[Chain]:
    async with contextlib.AsyncExitStack() as stack:
        chain = Chain(stack, has_middle=True)
        await chain.start()
        yield chain


def publish(declaring: Declaring, entries: Iterable[Opened | Chunk]) -> None:
    """Publish as a feed does."""
    for entry in entries:
        if isinstance(entry, Opened):
            wrong = (
                msgspec.structs.replace(track, bandwidth=264_000, average_bandwidth=264_000) for track in entry.tracks
            )
            declaring.open(entry.epoch, tuple(wrong))
        else:
            declaring.append(entry)


async def is_told(http: aiohttp.ClientSession, url: str, words: str) -> bool:
    return words in await text(http, f"{url}/live/demo/index.m3u8")


async def rates(http: aiohttp.ClientSession, url: str, track: int) -> list[float]:
    """Return the bits a second of each whole segment of a track."""
    found = []
    for segment in read(await text(http, f"{url}/live/demo/{track}.m3u8")).segments:
        async with http.get(f"{url}/live/demo/{segment.uri}") as answer:
            found.append(8 * len(await answer.read()) / segment.seconds)
    return found


async def test_what_is_declared_is_what_segments_take(chain: Chain, http: aiohttp.ClientSession) -> None:
    """At an edge that was there and at one that came later, in HLS and DASH, whatever the source had said."""
    broadcast = chain.hub.produce(DEMO)
    declaring = Declaring(broadcast)
    broadcast.set_state(StreamState.LIVE, "", (RouteHop("ingress-1", "ingress"),))
    entries = Programme(sample_bytes=3000).epoch(20.0)
    publish(declaring, entries[:20])
    warm = (await chain.edge("edge-1")).url
    said = await text(http, f"{warm}/live/demo/index.m3u8")
    publish(declaring, entries[20:])
    cold = (await chain.edge("edge-2")).url
    total = sum(track.bandwidth for track in broadcast.tracks.values())
    await wait_until(lambda: is_told(http, warm, f"BANDWIDTH={total},"))
    for track in (1, 2):
        await wait_until_listed(http, f"{warm}/live/demo/{track}.m3u8", 109)
    for name in ("index.m3u8", "manifest.mpd", "1.m3u8"):
        assert await text(http, f"{cold}/live/demo/{name}") == await text(http, f"{warm}/live/demo/{name}"), name
    index = await text(http, f"{warm}/live/demo/index.m3u8")
    assert index != said
    peaks, means = [], []
    for track in (1, 2):
        found = await rates(http, cold, track)
        peaks.append(max(found))
        means.append(sum(found) / len(found))
    variant = next(line for line in index.splitlines() if line.startswith("#EXT-X-STREAM-INF"))
    declared = dict(re.findall(r"([A-Z-]*BANDWIDTH)=([0-9]+)", variant))
    assert 1.0 <= int(declared["BANDWIDTH"]) / sum(peaks) <= 1.25
    assert 0.9 <= int(declared["AVERAGE-BANDWIDTH"]) / sum(means) <= 1.1
    mpd = await text(http, f"{cold}/live/demo/manifest.mpd")
    assert [int(rate) for rate in re.findall(r'bandwidth="([0-9]+)"', mpd)] == [
        broadcast.tracks[track].bandwidth for track in (1, 2)
    ]
