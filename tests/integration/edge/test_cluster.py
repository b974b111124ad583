"""An edge as a node of its own: it finds a parent, fetches what viewers want, and is found by players."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect

from headrace.http.application import make_application
from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId, StreamName
from headrace.registry.memory import MemoryRegistry, MemoryStore
from headrace.registry.records import StreamRecord
from headrace.relay.hub import Hub
from headrace.service.groups import Settings
from headrace.service.runtime import Component, Runtime
from headrace.session.membership import join_cluster
from headrace.testing import wait_until
from headrace.wire import play
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, StreamState
from headrace_edge.app import build
from integration.edge.rig import PlayClient
from unit.edge.synthetic import Feed

DEMO = StreamName("demo")


class Cluster:
    """One ingress node with the stream `demo`, and edges on request."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self.store = MemoryStore()
        self.hub = Hub()
        self.feed = Feed(self.hub.produce(DEMO))
        self._stack = stack

    async def start(self) -> None:
        """Start the ingress node."""
        runtime = Runtime(NodeId("ingress-1"), "ingress")
        app = make_application(runtime)
        listener = HttpListener("ingress", "127.0.0.1", 0, app)
        registry = MemoryRegistry(self.store)
        member = join_cluster(Settings(), runtime, self.hub, registry, lambda: ("127.0.0.1", listener.bound_port))
        app.router.add_get("/relay", member.node.relay_handler())
        await self.run([listener, member])
        registry.keep_stream(StreamRecord(stream=DEMO, node="ingress-1", epoch=1, state="live"))

    async def edge(self, name: str, **node: Any) -> tuple[str, MemoryRegistry]:
        """Start an edge and return where it listens and its registry."""
        settings = Settings.model_validate(
            {"node": node, "edge": {"port": 0, "fmp4_port": 0}, "relay": {"linger_seconds": 0.2}}
        )
        registry = MemoryRegistry(self.store)
        components = build(settings, Runtime(NodeId(name), "edge"), registry=registry)
        await self.run(components)
        listener = next(part for part in components if isinstance(part, HttpListener) and part.name == "edge")
        return f"127.0.0.1:{listener.bound_port}", registry

    async def run(self, components: Sequence[Component]) -> None:
        for component in components:
            await component.start()
            self._stack.push_async_callback(component.stop)


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
    address, _ = await cluster.edge("edge-1")
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
    first, *registries = await cluster.edge("edge-1")
    second, *more = await cluster.edge("edge-2", public_url="https://two.example")
    await wait_until(lambda: all({"edge-1", "edge-2"} <= set(registry.nodes) for registry in registries + more))
    async with player(first) as viewer:
        assert viewer.welcome.edges == (f"ws://{first}", "wss://two.example")
    async with player(second) as viewer:
        assert viewer.welcome.edges == ("wss://two.example", f"ws://{first}")


async def test_the_pages_list_the_cluster(cluster: Cluster) -> None:
    """A page of an edge lists streams that it does not carry itself, and nobody asks it to."""
    address, registry = await cluster.edge("edge-1")
    await wait_until(lambda: DEMO in registry.streams)
    async with aiohttp.ClientSession() as http, http.get(f"http://{address}/streams") as response:
        answer = await response.json()
    assert [(stream["stream"], stream["node"]) for stream in answer["streams"]] == [("demo", "ingress-1")]
    assert cluster.hub.demands(DEMO) == 0


async def test_viewers_are_the_load(cluster: Cluster) -> None:
    """An edge announces its viewers as load, so that others are preferred when it is full."""
    address, registry = await cluster.edge("edge-1", capacity=4)
    async with player(address), player(address):
        await wait_until(lambda: registry.nodes[NodeId("edge-1")].load == 0.5)


async def test_moving_to_another_edge_loses_nothing(cluster: Cluster) -> None:
    """A player whose edge goes away resumes at a cold one: every chunk once, in order."""
    first, _ = await cluster.edge("edge-1")
    second, _ = await cluster.edge("edge-2")
    cluster.feed.push(3)
    async with player(first) as viewer:
        had = [await viewer.expect(Chunk) for _ in range(5)]
    cluster.feed.push(25)
    async with player(second, after=had) as viewer:
        cluster.feed.push(5)
        while had[-1].id != cluster.feed.sent[-1].id:
            had.append(await viewer.expect(Chunk))
    assert [chunk.id for chunk in had] == [chunk.id for chunk in cluster.feed.sent]
