"""A stream that is fetched, and the parents that it may be had from: links that remember, and no sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from prometheus_client import CollectorRegistry

from headrace.identifiers import ChunkId, Epoch, NodeId, StreamName
from headrace.registry.placement import Candidate
from headrace.relay.broadcast import Broadcast, Cursor, StateChange
from headrace.session.context import FetchContext
from headrace.session.feed import ParentFeed
from headrace.session.fetching import Fetch
from headrace.session.link import Link, LinkError
from headrace.session.metrics import RelayMetrics
from headrace.testing import FakeClock, wait_until
from headrace.wire.stream import RouteHop, StreamState
from unit.relay.streams import AUDIO, VIDEO, video

CAM = StreamName("cam1")
SWITCH_SECONDS = 0.05
OWNER = NodeId("in")


class FakeLink:
    """A link that remembers who subscribed after what."""

    def __init__(self, peer: str) -> None:
        self.peer = NodeId(peer)
        self.is_open = True
        self.feeds: dict[int, ParentFeed] = {}
        self.asked: list[Mapping[int, ChunkId] | None] = []
        self.let_go = 0

    def subscribe(
        self, stream: StreamName, after: Mapping[int, ChunkId] | None, history_seconds: float, feed: ParentFeed
    ) -> int:
        self.asked.append(after)
        self.feeds[len(self.asked)] = feed
        return len(self.asked)

    def unsubscribe(self, handle: int) -> None:
        self.let_go += 1
        del self.feeds[handle]

    def transit_seconds(self, sent_us: int) -> float | None:
        return 0.001

    @property
    def feed(self) -> ParentFeed:
        """The newest feed."""
        return list(self.feeds.values())[-1]

    def live(self, *route: str) -> None:
        """Say that the stream is live."""
        self.feed.state_received(StreamState.LIVE, "", hops(*route, self.peer))

    def interrupted(self, reason: str, *route: str) -> None:
        """Say that it is interrupted."""
        self.feed.state_received(StreamState.INTERRUPTED, reason, hops(*route, self.peer))

    def deliver(self, *numbers: int) -> None:
        """Deliver video chunks."""
        self.feed.tracks_received(Epoch(1), (VIDEO, AUDIO))
        for number in numbers:
            self.feed.chunk_received(video(number), 0)

    def lose(self) -> None:
        """End."""
        self.is_open = False
        feeds, self.feeds = self.feeds, {}
        for feed in feeds.values():
            feed.link_lost("connection_lost")


def hops(*nodes: str) -> tuple[RouteHop, ...]:
    return tuple(RouteHop(node, "intermediate") for node in nodes)


@dataclass
class World:
    """Parents by name, best first, and the fetch that chooses among them."""

    names: list[str]
    clock: FakeClock = field(default_factory=FakeClock)
    links: dict[str, FakeLink] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)
    owner: NodeId | None = OWNER
    moved_to: NodeId | None = None
    full: set[str] = field(default_factory=set)
    hosts: dict[str, str] = field(default_factory=dict)
    draining: set[str] = field(default_factory=set)
    distances: dict[str, int] = field(default_factory=dict)
    searches: int = 0
    ranked: int = 0
    own: tuple[RouteHop, ...] = (RouteHop("me", "edge"),)
    broadcast: Broadcast = field(default_factory=lambda: Broadcast(CAM))
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        context = FetchContext(
            self.own,
            self,
            self.rank,
            lambda stream: self.owner,
            SWITCH_SECONDS,
            4.0,
            self.clock,
            RelayMetrics.make(self.registry),
            lambda stream: self.moved_to,
            self.look_for_room,
            lambda node: node in self.draining,
        )
        self.fetch = Fetch(self.broadcast, lambda: None, context)

    # -- as the fetch sees it ----------------------------------------------------------------------

    async def open(self, candidate: Candidate) -> Link:
        if candidate.node in self.unreachable:
            raise LinkError("unreachable", "nobody there")
        link = self.links.setdefault(candidate.node, FakeLink(candidate.node))
        if not link.is_open:
            link = self.links[candidate.node] = FakeLink(candidate.node)
        return cast(Link, link)

    def failing(self) -> set[NodeId]:
        return {NodeId(name) for name in self.unreachable}

    def next_try(self) -> float | None:
        return 0.02 if self.unreachable else None

    def rank(self, stream: StreamName, avoid: Collection[NodeId], lost: bool) -> list[Candidate]:
        self.ranked += 1
        names = sorted(self.names, key=lambda name: (name in self.full, name != self.moved_to))
        return [
            Candidate(
                NodeId(name),
                f"ws://{name}/relay",
                "",
                self.hosts.get(name, ""),
                "",
                int(name in self.full),
                (self.distances.get(name, 0), 0),
            )
            for name in names
            if name not in avoid
        ]

    def look_for_room(self) -> None:
        self.searches += 1

    # -- for tests ---------------------------------------------------------------------------------

    async def fed_by(self, name: str) -> FakeLink:
        """Wait until the stream is asked for at `name`, and return that link."""
        await wait_until(lambda: self.fetch.parent == name and name in self.links and bool(self.links[name].feeds), 2)
        return self.links[name]

    @property
    def state(self) -> StreamState:
        return self.broadcast.state.state

    def switches(self, reason: str) -> float:
        return self.registry.get_sample_value("headrace_relay_switches_total", {"reason": reason}) or 0.0


@asynccontextmanager
async def fetching_from(*names: str, own: tuple[RouteHop, ...] = (RouteHop("me", "edge"),)) -> AsyncIterator[World]:
    world = World(list(names), own=own)
    task = asyncio.create_task(world.fetch.run())
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def pass_seconds(seconds: float) -> None:
    """Let that much real time pass, for what must not happen within it."""
    await asyncio.sleep(seconds)


def told(world: World, cursor: Cursor) -> list[StateChange]:
    """Return the states that a reader is told."""
    return [entry for entry in world.broadcast.read(cursor) if isinstance(entry, StateChange)]
