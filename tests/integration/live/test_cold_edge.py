"""Edges that begin to carry a stream late, through intermediates that do not hold its past either."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

import aiohttp
import pytest

from headrace.http.application import make_application
from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId, StreamName
from headrace.registry.memory import MemoryRegistry, MemoryStore
from headrace.registry.records import StreamRecord
from headrace.relay.broadcast import Opened, RingLimits
from headrace.relay.hub import Hub
from headrace.service.groups import Settings
from headrace.service.runtime import Component, Runtime
from headrace.session.membership import join_cluster
from headrace.testing import wait_until
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, StreamState
from headrace_edge.app import build
from unit.live.m3u8 import read
from unit.live.streams import Programme

DEMO = StreamName("demo")
RING = RingLimits(seconds=75.0)


class Chain:
    """An ingress, an intermediate, and edges on request.

    Attributes:
        hub: of the ingress.
        middle: the hub of the intermediate.
    """

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self.store = MemoryStore()
        self.hub = Hub(RING)
        self.middle = Hub(RING)
        self._stack = stack

    async def start(self) -> None:
        await self._relay("ingress-1", "ingress", self.hub)
        await self._relay("middle-1", "intermediate", self.middle)

    async def edge(self, name: str) -> str:
        """Start an edge and return where it listens."""
        settings = Settings.model_validate({"edge": {"port": 0, "fmp4_port": 0}})
        registry = MemoryRegistry(self.store)
        components = build(settings, Runtime(NodeId(name), "edge"), registry=registry)
        await self._run(components)
        await wait_until(lambda: {"ingress-1", "middle-1"} <= registry.nodes.keys() and DEMO in registry.streams)
        listener = next(part for part in components if isinstance(part, HttpListener))
        return f"http://127.0.0.1:{listener.bound_port}"

    def publish(self, entries: Sequence[Opened | Chunk]) -> None:
        """Write into the ingress' broadcast."""
        broadcast = self.hub.produce(DEMO)
        for entry in entries:
            if isinstance(entry, Opened):
                broadcast.open(entry.epoch, entry.tracks)
                broadcast.set_state(StreamState.LIVE, "", (RouteHop("ingress-1", "ingress"),))
            else:
                broadcast.append(entry)

    async def _relay(self, name: str, role: str, hub: Hub) -> None:
        runtime = Runtime(NodeId(name), role)
        app = make_application(runtime)
        listener = HttpListener(name, "127.0.0.1", 0, app)
        registry = MemoryRegistry(self.store)
        member = join_cluster(Settings(), runtime, hub, registry, lambda: ("127.0.0.1", listener.bound_port))
        app.router.add_get("/relay", member.node.relay_handler())
        await self._run([listener, member])
        if role == "ingress":
            registry.keep_stream(StreamRecord(stream=DEMO, node=name, epoch=1, state="live"))

    async def _run(self, components: Sequence[Component]) -> None:
        for component in components:
            await component.start()
            self._stack.push_async_callback(component.stop)


@pytest.fixture
async def chain() -> AsyncIterator[Chain]:
    async with contextlib.AsyncExitStack() as stack:
        chain = Chain(stack)
        await chain.start()
        yield chain


async def text(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url, headers={"Accept-Encoding": "identity"}) as answer:
        assert answer.status == 200, (url, answer.status, await answer.text())
        return await answer.text()


async def test_a_cold_edge_says_what_a_warm_one_says(chain: Chain, http: aiohttp.ClientSession) -> None:
    """All of the window, epochs included, though its parent began late as well; every segment can be had."""
    programme = Programme()
    chain.publish(programme.epoch(30.0))
    warm = await chain.edge("edge-1")
    await text(http, f"{warm}/live/demo/1.m3u8")
    chain.publish(programme.epoch(40.0))
    await wait_until(lambda: _head(chain.middle) == _head(chain.hub))
    cold = await chain.edge("edge-2")
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
    chain.publish(Programme().epoch(50.0))
    cold = await chain.edge("edge-1")
    listed = read(await text(http, f"{cold}/live/demo/1.m3u8")).segments
    assert [segment.number for segment in listed] == list(range(100, 125))
    assert chain.middle.streams[DEMO].reach_seconds < 10  # it passed the past on and kept none


def _head(hub: Hub) -> object:
    broadcast = hub.streams.get(DEMO)
    return None if broadcast is None else {track: chunk.id for track, chunk in broadcast.last.items()}
