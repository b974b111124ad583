"""Edges that begin to carry a stream late, through intermediates that do not hold its past either."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from headrace.identifiers import NodeId
from headrace.media.segments import media_bytes
from headrace.relay.broadcast import Broadcast, Opened
from headrace.relay.hub import Hub
from headrace.session.node import Node
from headrace.testing import wait_until
from headrace.wire.chunk import Chunk
from integration.edge.chain import DEMO, Chain
from integration.live.publishing import publish
from unit.live.m3u8 import read
from unit.live.streams import BEGIN_SECONDS, Programme


@pytest.fixture
async def chain() -> AsyncIterator[Chain]:
    async with contextlib.AsyncExitStack() as stack:
        chain = Chain(stack, has_middle=True)
        await chain.start()
        yield chain


async def text(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url, headers={"Accept-Encoding": "identity"}) as answer:
        assert answer.status == 200, (url, answer.status, await answer.text())
        return await answer.text()


async def test_a_cold_edge_says_what_a_warm_one_says(chain: Chain, http: aiohttp.ClientSession) -> None:
    """All of the window, epochs included, though its parent began late as well; every segment can be had."""
    programme = Programme()
    publish(chain, programme.epoch(30.0))
    warm = (await chain.edge("edge-1")).url
    await text(http, f"{warm}/live/demo/1.m3u8")
    publish(chain, programme.epoch(40.0))
    await wait_until(lambda: _head(chain.middle) == _head(chain.hub))
    cold = (await chain.edge("edge-2")).url
    for name in ("index.m3u8", "1.m3u8", "2.m3u8", "manifest.mpd"):
        assert await text(http, f"{cold}/live/demo/{name}") == await text(http, f"{warm}/live/demo/{name}"), name
    listed = read(await text(http, f"{cold}/live/demo/1.m3u8")).segments
    assert sum(segment.seconds for segment in listed) > 55
    for segment in listed:
        bodies = []
        for edge in (cold, warm):
            async with http.get(f"{edge}/live/demo/{segment.uri}") as answer:
                assert answer.status == 200
                bodies.append(await answer.read())
        assert bodies[0] == bodies[1]


async def test_an_intermediate_asks_its_own_parent(chain: Chain, http: aiohttp.ClientSession) -> None:
    """A chain that is cold all the way says as much as one that was there from the beginning."""
    publish(chain, Programme().epoch(50.0))
    cold = (await chain.edge("edge-1")).url
    listed = read(await text(http, f"{cold}/live/demo/1.m3u8")).segments
    assert [segment.number for segment in listed] == list(range(100, 125))
    assert chain.middle.streams[DEMO].reach_seconds < 10  # it passed the past on and kept none


async def test_a_publisher_that_began_anew_is_no_beginning(http: aiohttp.ClientSession) -> None:
    """What another published before it, an edge that begins now has from one that was there: from the first byte on."""
    async with contextlib.AsyncExitStack() as stack:
        chain = Chain(stack)
        await chain.start()
        programme = Programme()
        first = programme.epoch(20.0)
        publish(chain, first[:60])
        warm = await chain.edge("edge-1")
        await text(http, f"{warm.url}/live/demo/1.m3u8")
        publish(chain, first[60:])
        await wait_until_listed(http, f"{warm.url}/live/demo/1.m3u8", 109)
        chain.hub.streams[DEMO].clear()  # as a process that begins to publish knows nothing of who did before
        programme.segment += 1
        publish(chain, programme.epoch(9.0))
        await wait_until_listed(http, f"{warm.url}/live/demo/1.m3u8", 115)
        cold = await chain.edge("edge-2")
        await wait_until(lambda: DEMO in cold.registry.nodes[NodeId("edge-1")].streams)
        for name in ("1.m3u8", "2.m3u8", "manifest.mpd"):
            assert await text(http, f"{cold.url}/live/demo/{name}") == await text(http, f"{warm.url}/live/demo/{name}")
        playlist = read(await text(http, f"{cold.url}/live/demo/1.m3u8"))
        assert playlist.sequence == 100
        assert [segment.discontinuity for segment in playlist.segments] == [0] * 11 + [1] * 5


async def test_a_segment_that_was_lost_here_is_fetched_once(
    chain: Chain, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for it gets what its parent has; what nobody has is asked for once, and is 404 from then on."""
    recall = Node.recall
    recalls: list[Node] = []

    def count(node: Node, *arguments: Any) -> Any:
        recalls.append(node)
        return recall(node, *arguments)

    monkeypatch.setattr(Node, "recall", count)
    entries = Programme().epoch(20.0)
    publish(chain, [e for e in entries if isinstance(e, Opened) or e.id.segment < 102])
    url = (await chain.edge("edge-1")).url
    await text(http, f"{url}/live/demo/1.m3u8")
    above = (chain.hub.streams[DEMO], chain.middle.streams[DEMO])
    append = Broadcast.append
    recalls.clear()

    def lose(broadcast: Broadcast, chunk: Chunk) -> bool:
        lost = broadcast not in above and chunk.id.segment in {103, 104} and chunk.id.chunk == 3
        return not lost and append(broadcast, chunk)

    monkeypatch.setattr(Broadcast, "append", lose)
    everywhere = (1, 106, 5)  # lost on the way to the ingress
    publish(chain, [e for e in entries if isinstance(e, Opened) or (e.id.segment > 101 and e.id[1:] != everywhere)])
    playlist = f"{url}/live/demo/1.m3u8"
    await wait_until_listed(http, playlist, 109)
    listed = {segment.number: segment for segment in read(await text(http, playlist)).segments}
    assert [number for number, segment in listed.items() if segment.gap] == [103, 104, 106]
    by_time = f"1/t{(BEGIN_SECONDS + 6) * 90_000}.m4s"  # as the manifest of another edge has it
    for number, name, status in (
        (103, by_time, 200),
        (104, listed[104].uri, 200),
        (106, listed[106].uri, 404),
        (106, listed[106].uri, 404),
    ):
        async with http.get(f"{url}/live/demo/{name}", allow_redirects=False) as answer:
            assert (number, answer.status) == (number, status)
            if status == 200:
                whole = [e for e in entries if isinstance(e, Chunk) and e.id[1:3] == (1, number)]
                assert await answer.read() == media_bytes(whole)
    assert [s.number for s in read(await text(http, playlist)).segments if s.gap] == [106]
    assert len(recalls) == 2
    assert (await text(http, f"{url}/live/demo/2.m3u8")).count("GAP") == 0


async def wait_until_listed(http: aiohttp.ClientSession, url: str, number: int) -> None:
    """Wait until a playlist ends with that segment."""
    async with asyncio.timeout(10):
        while True:
            if read(await text(http, url)).segments[-1].number == number:
                return
            await asyncio.sleep(0.02)


def _head(hub: Hub) -> object:
    broadcast = hub.streams.get(DEMO)
    return None if broadcast is None else {track: chunk.id for track, chunk in broadcast.last.items()}
