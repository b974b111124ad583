"""Nodes in one process, on real sockets, that share a registry's store; and a source and a viewer without media."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

from aiohttp import web
from prometheus_client import CollectorRegistry

from headrace.clock import Clock, SystemClock, microseconds
from headrace.http.listener import HttpListener
from headrace.identifiers import ChunkId, Epoch, NodeId, StreamName
from headrace.registry.memory import MemoryRegistry, MemoryStore
from headrace.registry.placement import Candidate
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.registry.registry import Registry
from headrace.relay.broadcast import Broadcast, Cursor, Gap, Opened, RingLimits, StateChange
from headrace.relay.hub import Demand, Hub
from headrace.session.node import Node
from headrace.session.options import RelayOptions
from headrace.testing import wait_until
from headrace.wire.chunk import Chunk, Flag, make_chunk
from headrace.wire.stream import RouteHop, StreamState, Track

CAM = StreamName("cam1")
VIDEO = Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=b"v" * 700)
AUDIO = Track(track=2, kind="audio", codec="mp4a.40.2", timescale=48_000, header=b"a" * 600)
CHUNKS_PER_SEGMENT = 20
LAYERS = {"ingress": 0, "edge": 1000}
FAST = RelayOptions(heartbeat_seconds=0.05, timeout_seconds=0.3, linger_seconds=0.3)


class Source:
    """Writes numbered chunks of video and audio into a broadcast, as a packager does, at whatever pace it is asked."""

    def __init__(self, broadcast: Broadcast, node: str, size: int = 2000, epoch: int | None = None) -> None:
        self.broadcast = broadcast
        self.size = size
        self.sent: list[ChunkId] = []
        self.epoch = Epoch(epoch or microseconds(SystemClock().utc()) // 1000)
        self.segment = int(SystemClock().utc())
        self._number = 0
        self._begin = self.segment
        broadcast.open(self.epoch, (VIDEO, AUDIO))
        broadcast.set_state(StreamState.LIVE, "", (RouteHop(node, "ingress"),))

    def step(self) -> None:
        """Write the next chunk of both tracks, 100 ms of each."""
        segment, chunk = divmod(self._number, CHUNKS_PER_SEGMENT)
        self._number += 1
        flags = Flag.RANDOM_ACCESS if chunk == 0 else Flag(0)
        end = Flag.END_OF_SEGMENT if chunk == CHUNKS_PER_SEGMENT - 1 else Flag(0)
        for track, first in ((VIDEO, flags), (AUDIO, Flag.RANDOM_ACCESS)):
            id = ChunkId(self.epoch, track.track, self.segment + segment, chunk)
            ticks = track.timescale // 10
            time = self._begin * track.timescale + (self._number - 1) * ticks
            media = bytes((track.track,)) * self.size
            utc_us = microseconds(SystemClock().utc())
            self.broadcast.append(make_chunk(id, first | end, time, ticks, chunk // 5, 3, utc_us, media))
            self.sent.append(id)

    async def run(self, interval: float = 0.01) -> None:
        """Write until cancelled."""
        while True:
            self.step()
            await asyncio.sleep(interval)


class Viewer:
    """Demands a stream at a node and keeps everything it is told."""

    def __init__(self, hub: Hub, stream: StreamName = CAM) -> None:
        self.demand: Demand = hub.demand(stream)
        self.broadcast = self.demand.broadcast
        self.cursor: Cursor = self.broadcast.join()
        self.chunks: list[Chunk] = []
        self.gaps: list[Gap] = []
        self.states: list[StateChange] = []
        self.opened: list[Opened] = []
        self.broadcast.listeners.add(self.read)
        self.read()

    def read(self) -> None:
        """Take what is there."""
        for entry in self.broadcast.read(self.cursor):
            if isinstance(entry, Chunk):
                self.chunks.append(entry)
            elif isinstance(entry, Gap):
                self.gaps.append(entry)
            elif isinstance(entry, StateChange):
                self.states.append(entry)
            else:
                self.opened.append(entry)

    def leave(self) -> None:
        """Want it no more."""
        self.broadcast.listeners.discard(self.read)
        self.demand.release()

    def ids(self, track: int | None = None) -> list[ChunkId]:
        """Return the identities of the chunks had, in order."""
        return [chunk.id for chunk in self.chunks if track is None or chunk.id.track == track]


def expected_ids(sent: Iterable[ChunkId], first: ChunkId, track: int) -> list[ChunkId]:
    """Return what a viewer that began at `first` should have of `track`."""
    return [id for id in sent if id.track == track and id.position >= first.position]


def assert_complete(source: Source, viewer: Viewer) -> None:
    """Check that the viewer had every chunk since its first one, once and in order, up to the newest it has."""
    assert viewer.gaps == []
    for track in (1, 2):
        had = viewer.ids(track)
        assert had, f"nothing of track {track}"
        assert expected_ids(source.sent, had[0], track)[: len(had)] == had


def application(node: Node) -> web.Application:
    """Return what a node listens with."""
    app = web.Application()
    app.router.add_get("/relay", node.relay_handler())
    return app


@dataclass
class MeshNode:
    """One node with its own hub, registry and listener, as a process has them."""

    node: Node
    hub: Hub
    registry: Registry
    listener: HttpListener
    metrics: CollectorRegistry
    stopped: bool = False

    @property
    def id(self) -> str:
        return self.node.record.node

    def metric(self, name: str, **labels: str) -> float:
        """Return a sample of this node's metrics, 0 when there is none."""
        return self.metrics.get_sample_value(name, labels) or 0.0

    def produce(self, stream: StreamName = CAM, size: int = 2000) -> Source:
        """Make this node the ingress of `stream`."""
        source = Source(self.hub.produce(stream), self.id, size)
        self.registry.keep_stream(
            StreamRecord(
                stream=stream,
                node=self.id,
                epoch=source.epoch,
                state="live",
                next_segment=source.segment,
                end_seconds=0.0,
            )
        )
        return source

    def cut(self) -> None:
        """Die without a word: every connection ends, nobody is told."""
        for link in tuple(self.node.links.all):
            link.channel.abort()

    def hide(self, other: MeshNode, relay_url: str) -> None:
        """Have this node dial `other` elsewhere than the registry says."""
        rank = self.node._context.rank

        def elsewhere(stream: StreamName, avoid: Collection[NodeId], lost: bool) -> list[Candidate]:
            candidates = rank(stream, avoid, lost)
            return [replace(c, relay_url=relay_url) if c.node == other.id else c for c in candidates]

        self.node._context = replace(self.node._context, rank=elsewhere)

    async def close_door(self) -> None:
        """Become unreachable: nobody can dial, and every connection ends."""
        self.cut()
        await self.listener.stop()

    async def open_door(self) -> None:
        """Listen again on the same port."""
        self.listener = HttpListener(self.id, "127.0.0.1", self.listener.bound_port, application(self.node))
        await self.listener.start()

    async def stop(self) -> None:
        """End in order, once."""
        if not self.stopped:
            self.stopped = True
            await self.node.stop()
            await self.listener.stop()
            await self.registry.close()


@dataclass
class Mesh:
    """Nodes that share a store, and the tasks of a test."""

    options: RelayOptions = FAST
    store: MemoryStore = field(default_factory=MemoryStore)
    nodes: dict[str, MeshNode] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    make_registry: Callable[[Mesh], Registry] = lambda mesh: MemoryRegistry(mesh.store)
    ring: RingLimits = field(default_factory=RingLimits)

    async def add(
        self,
        name: str,
        role: str = "intermediate",
        layer: int | None = None,
        options: RelayOptions | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> MeshNode:
        """Start a node; with `tls` it serves `wss://localhost`."""
        here = "wss://localhost" if tls is not None else "ws://127.0.0.1"
        hub, metrics, clock = Hub(self.ring), CollectorRegistry(), clock or SystemClock()
        registry = self.make_registry(self)
        record = NodeRecord(node=name, role=role, layer=LAYERS.get(role, 1) if layer is None else layer)
        node = Node(
            record,
            hub,
            registry,
            options or self.options,
            clock,
            metrics,
            relay_url=lambda: f"{here}:{listener.bound_port}/relay",
        )
        listener = HttpListener(name, "127.0.0.1", 0, application(node), tls=tls)
        await registry.start()
        await listener.start()
        await node.start()
        self.nodes[name] = MeshNode(node, hub, registry, listener, metrics)
        return self.nodes[name]

    async def settled(self) -> None:
        """Wait until every node knows every other, and every stream."""
        streams = {name for node in self.nodes.values() for name in node.hub.streams if node.hub.produced(name)}
        registries = [node.registry for node in self.nodes.values() if not node.stopped]
        alive = {node.id for node in self.nodes.values() if not node.stopped}
        await wait_until(lambda: all(alive <= r.nodes.keys() and streams <= r.streams.keys() for r in registries))

    def run(self, source: Source, interval: float = 0.01) -> None:
        """Let a source write until the end of the test."""
        self.tasks.append(asyncio.create_task(source.run(interval)))

    async def stop(self) -> None:
        """End everything."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))


@contextlib.asynccontextmanager
async def mesh(options: RelayOptions = FAST) -> AsyncIterator[Mesh]:
    """Give a mesh that is stopped at the end."""
    made = Mesh(options)
    try:
        yield made
    finally:
        await made.stop()
