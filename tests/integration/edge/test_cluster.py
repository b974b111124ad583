"""An edge as a node of its own: it finds a parent, fetches what viewers want, and is found by players."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect

from headrace.identifiers import NodeId
from headrace.testing import wait_until
from headrace.wire import play
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, StreamState
from integration.edge.chain import DEMO, Chain
from integration.edge.rig import PlayClient
from unit.edge.synthetic import Feed


class Cluster(Chain):
    """One ingress node with the stream `demo`, and edges on request.

    Attributes:
        feed: what it publishes.
    """

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        super().__init__(stack, relay={"linger_seconds": 0.2})
        self.feed = Feed(self.hub.produce(DEMO))


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """An ingress with a stream."""
    async with contextlib.AsyncExitStack() as stack:
        cluster = Cluster(stack)
        await cluster.start()
        yield cluster


@contextlib.asynccontextmanager
async def player(address: str, stream: str = "demo", after: Sequence[Chunk] | None = None) -> AsyncIterator[PlayClient]:
    subprotocols: Any = [play.SUBPROTOCOL]
    async with connect(f"ws://{address}/play/{stream}", subprotocols=subprotocols, compression=None) as socket:
        places = None if after is None else {chunk.id.track: chunk.id.position for chunk in after}
        await socket.send(play.encode(play.Play(session="test", after=places)).decode())
        client = PlayClient(socket)
        client.welcome = await client.expect(play.Welcome)
        yield client


async def test_fetching_on_demand(cluster: Cluster) -> None:
    """The first viewer pulls the stream through the edge, with its route; the last one's leaving lets it go."""
    address = (await cluster.edge("edge-1")).address
    assert cluster.hub.demands(DEMO) == 0
    async with player(address) as viewer:
        await wait_until(lambda: cluster.hub.demands(DEMO) == 1)
        cluster.feed.push(3)
        chunks = [await viewer.expect(Chunk) for _ in range(6)]
        assert [chunk.id for chunk in chunks] == [chunk.id for chunk in cluster.feed.sent]
        live = [said for said in viewer.said if isinstance(said, play.State) and said.state is StreamState.LIVE]
        assert live[-1].route == (RouteHop("ingress-1", "ingress"), RouteHop("edge-1", "edge"))
    await wait_until(lambda: cluster.hub.demands(DEMO) == 0)


async def test_edges_know_each_other(cluster: Cluster) -> None:
    """Players are told all edges: each by its public URL, or where it listens when it has none."""
    first = await cluster.edge("edge-1")
    second = await cluster.edge("edge-2", public_url="https://two.example")
    await wait_until(lambda: all({"edge-1", "edge-2"} <= edge.registry.nodes.keys() for edge in (first, second)))
    async with player(first.address) as viewer:
        assert viewer.welcome.edges == (f"ws://{first.address}", "wss://two.example")
    async with player(second.address) as viewer:
        assert viewer.welcome.edges == ("wss://two.example", f"ws://{first.address}")


async def test_the_pages_list_the_cluster(cluster: Cluster) -> None:
    """A page of an edge lists streams that it does not carry itself, and nobody asks it to."""
    edge = await cluster.edge("edge-1")
    async with aiohttp.ClientSession() as http, http.get(f"{edge.url}/streams") as response:
        answer = await response.json()
    assert [(stream["name"], stream["owner"]) for stream in answer["streams"]] == [("demo", "ingress-1")]
    assert cluster.hub.demands(DEMO) == 0


async def test_viewers_are_the_load(cluster: Cluster) -> None:
    """An edge announces its viewers as load, so that others are preferred when it is full."""
    edge = await cluster.edge("edge-1", capacity=4)
    async with player(edge.address), player(edge.address):
        await wait_until(lambda: edge.registry.nodes[NodeId("edge-1")].load == 0.5)


async def test_moving_to_another_edge_loses_nothing(cluster: Cluster) -> None:
    """A player whose edge goes away resumes at a cold one: every chunk once, in order."""
    first, second = await cluster.edge("edge-1"), await cluster.edge("edge-2")
    cluster.feed.push(3)
    async with player(first.address) as viewer:
        had = [await viewer.expect(Chunk) for _ in range(5)]
    cluster.feed.push(25)
    async with player(second.address, after=had) as viewer:
        cluster.feed.push(5)
        while had[-1].id != cluster.feed.sent[-1].id:
            had.append(await viewer.expect(Chunk))
    assert [chunk.id for chunk in had] == [chunk.id for chunk in cluster.feed.sent]
