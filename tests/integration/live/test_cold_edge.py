"""Edges that begin to carry a stream late, through intermediates that do not hold its past either."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from headrace.relay.hub import Hub
from headrace.testing import wait_until
from integration.edge.chain import DEMO, Chain
from integration.live.publishing import publish
from unit.live.m3u8 import read
from unit.live.streams import Programme


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


def _head(hub: Hub) -> object:
    broadcast = hub.streams.get(DEMO)
    return None if broadcast is None else {track: chunk.id for track, chunk in broadcast.last.items()}
