"""Fetching one stream from parents for as long as somebody here wants it.

A `Fetch` lives from the first demand to the end of the linger. It asks the registry's placement for the best parent,
subscribes there after the last chunks it has, and feeds the stream's broadcast. When the link is lost, the parent
refuses, leaves, has lost its own way to the source or turns out to be fed by this node, it goes on from the next one at
once: with several parents known, trying again is for those that failed only. A parent that leaves keeps delivering
until the next one does.

Viewers hear nothing of a switch that succeeds within `switch_seconds`: the state stays as it was, and a cold parent's
first word, that it has nothing yet, is held back for as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass
from typing import Protocol

import structlog

from headrace.clock import Clock
from headrace.identifiers import ChunkId, NodeId, StreamName
from headrace.registry.placement import Candidate, pick_standby
from headrace.relay.broadcast import Broadcast, StateChange
from headrace.relay.link import NotCovered, TooManySubscriptions
from headrace.session.feed import FeedEnd, ParentFeed
from headrace.session.link import Link, LinkError
from headrace.session.metrics import RelayMetrics
from headrace.wire.chunk import Chunk
from headrace.wire.stream import ROUTE_MAX_NODES, RouteHop, StreamState

AVOID_SECONDS = 5.0
"""How long a stream is not fetched from a parent that refused it or was fed by this node: routes settle meanwhile."""

RETRY_SECONDS = 1.0
"""How long to wait for the registry to change before looking again anyway."""

FAILED_SECONDS = 0.1
"""How long a stream is not fetched from a node that it could not be, beside what `Parents.failing` says of it."""

PATIENCE_SECONDS = 3.0
"""How long a new parent may take to deliver, when there are others: it may have to dial a whole chain itself."""

log = structlog.get_logger(__name__)


class Parents(Protocol):
    """Where a fetch gets its links from."""

    async def open(self, candidate: Candidate) -> Link:
        """Return an open link to `candidate`.

        Raises:
            LinkError: when there is none to be had.
        """

    def failing(self) -> Set[NodeId]:
        """Return the nodes that are not worth a try at the moment."""

    def next_try(self) -> float | None:
        """Return in how many seconds the first of them is worth a try again."""


Rank = Callable[[StreamName, Collection[NodeId], bool], list[Candidate]]
"""Returns the candidates for a stream, best first, without those to avoid; told whether the stream had a parent."""


@dataclass(frozen=True, slots=True)
class FetchContext:
    """What all fetches of a node share.

    Attributes:
        hop: this node.
        parents: makes links.
        rank: chooses parents.
        owner: returns the node that has a stream's source, as far as is known.
        switch_seconds: how long a stream may be without a parent before its viewers are told.
        history_seconds: how much of the past a stream begins with.
        preferred: returns where somebody moved a stream to.
        look_for_room: called when no parent that is known has any.
    """

    hop: RouteHop
    parents: Parents
    rank: Rank
    owner: Callable[[StreamName], NodeId | None]
    switch_seconds: float
    history_seconds: float
    clock: Clock
    metrics: RelayMetrics
    preferred: Callable[[StreamName], NodeId | None] = lambda stream: None
    look_for_room: Callable[[], None] = lambda: None


class Fetch:
    """Keeps one demanded stream coming.

    Attributes:
        broadcast: where it goes.
        parent: the node it comes from, `None` while it comes from nowhere.
    """

    def __init__(
        self,
        broadcast: Broadcast,
        begin_after: Callable[[], Mapping[int, ChunkId] | None],
        context: FetchContext,
    ) -> None:
        """Write to `broadcast`; as long as nothing was had, ask `begin_after` where a child wants it to begin."""
        self.broadcast = broadcast
        self.parent: NodeId | None = None
        self._begin_after = begin_after
        self._context = context
        self._avoid: dict[NodeId, float] = {}
        self._changed = asyncio.Event()
        self._feeds: list[ParentFeed] = []
        self._silence: asyncio.TimerHandle | None = None
        self._held: StateChange | None = None
        self._last_end: FeedEnd | None = None
        self._candidate: Candidate | None = None
        self._had_parent = False
        self._newest: tuple[ChunkId, float] | None = None

    @property
    def is_orphan(self) -> bool:
        """Whether parents are known but none can be linked to: the way is broken, and not merely nobody there."""
        return self.parent is None and bool(self._rank(()))

    @property
    def standby(self) -> Candidate | None:
        """The parent to go on from should this one be lost, `None` when there is no parent or no other."""
        if self.parent is None:
            return None
        ranked = self._ranked()
        if self._candidate is not None and all(one.node != self.parent for one in ranked):
            ranked.insert(0, self._candidate)
        return pick_standby(ranked, self.parent)

    @property
    def link(self) -> Link | None:
        """The link that delivers the stream, `None` while none does."""
        feed = next((feed for feed in reversed(self._feeds) if feed.delivers and feed.link.is_open), None)
        return None if feed is None else feed.link

    def wake(self) -> None:
        """Look again: nodes or streams changed."""
        self._changed.set()
        newest = self._feeds[-1] if self._feeds else None
        if newest is None:
            return
        if newest.is_astray and (newest.delivers or newest.is_overdue):
            self._leave_astray(newest, "another parent is there")
        elif self._is_moved(newest):
            newest.finish(FeedEnd.MOVED, "")

    def seconds_since(self, id: ChunkId) -> float | None:
        """Return how long ago the newest chunk came if it is `id`."""
        if self._newest is None or self._newest[0] != id:
            return None
        return self._context.clock.monotonic() - self._newest[1]

    async def run(self) -> None:
        """Fetch until cancelled."""
        try:
            while True:
                await self._fetch_once()
        finally:
            self._cancel_silence()
            for feed in tuple(self._feeds):
                self._drop(feed)

    # -- for its feeds -----------------------------------------------------------------------------

    def chunk_came(self, feed: ParentFeed, chunk: Chunk, sent_us: int) -> None:
        """A chunk came by `feed`."""
        metrics = self._context.metrics
        metrics.chunks_received.inc()
        metrics.bytes_received.inc(len(chunk.record))
        transit = feed.link.transit_seconds(sent_us)
        if transit is not None:
            metrics.transit.observe(transit)
        gaps = self.broadcast.gaps
        self._newest = (chunk.id, self._context.clock.monotonic())
        if not self.broadcast.append(chunk):
            metrics.duplicates.inc()
        elif self.broadcast.gaps != gaps:
            metrics.gaps.inc()
        self._delivers(feed)
        if len(self._feeds) > 1 and feed is self._feeds[-1]:
            for older in self._feeds[:-1]:
                self._drop(older)  # leaving, and needed no more

    def state_came(self, feed: ParentFeed, state: StreamState, reason: str, route: tuple[RouteHop, ...]) -> None:
        """`feed` tells how the stream is doing there; it comes from `route`, the parent last."""
        own = self._context.hop
        if any(hop.node == own.node for hop in route) or len(route) >= ROUTE_MAX_NODES:
            feed.finish(FeedEnd.LOOP, " > ".join(hop.node for hop in route))
            self.feed_over(feed)
            return
        if feed is not self._feeds[-1]:
            return  # the parent before, which is leaving; the next one's word counts
        change = StateChange(state, reason, (*route, own))
        feed.is_astray = state is StreamState.INTERRUPTED and not self._leads_to_source(route)
        if state is not StreamState.INTERRUPTED:
            self._delivers(feed)
            self._tell(change)
        elif self.broadcast.state.state is StreamState.LIVE and (feed.is_astray or not feed.delivers):
            self._held = change  # another parent, or this one in a moment, may have it
            self._expect_silence()
        else:
            self._tell(change)
        if feed.is_astray and feed.delivers:
            self._leave_astray(feed, reason)

    def feed_over(self, feed: ParentFeed) -> None:
        """`feed` delivers nothing any more."""
        self._drop(feed)
        if not self._feeds:
            self.parent = None
            self._expect_silence()

    # -- inside ------------------------------------------------------------------------------------

    async def _fetch_once(self) -> None:
        """Take the best parent there is and stay with it until its feed ends; or wait for one."""
        self._changed.clear()
        candidate = self._choose_next()
        if candidate is None:
            await self._wait_for_candidate()
            return
        try:
            link = await self._context.parents.open(candidate)
            feed = self._subscribe(link, candidate)
        except (LinkError, TooManySubscriptions) as error:
            log.debug("parent_failed", stream=self.broadcast.name, parent=candidate.node, error=str(error))
            self._avoid_for(candidate.node, FAILED_SECONDS)
            return
        except NotCovered as error:
            self._context.metrics.refused.labels("deliver").inc()
            log.warning("stream_forbidden", stream=error.stream, node=candidate.node, key=error.key, tried="deliver")
            self._avoid_for(candidate.node, AVOID_SECONDS)
            return
        patience = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._lose_patience, feed)
        try:
            end = await feed.ended
        finally:
            patience.cancel()
        self._after(feed, end)

    def _choose(self, beside: NodeId | None = None) -> Candidate | None:
        """Return the best parent that is worth a try, other than `beside`."""
        return next((one for one in self._ranked() if one.node != beside), None)

    def _choose_next(self) -> Candidate | None:
        """Return whom to go on from: after a loss the standby, if it is known to be on another host than the parent."""
        ranked = self._ranked()
        if self._last_end is FeedEnd.LOST and self._candidate is not None:
            standby = pick_standby([self._candidate, *ranked], self._candidate.node)
            if standby is not None and standby.host and standby.poor <= ranked[0].poor:
                return standby
        return ranked[0] if ranked else None

    def _ranked(self) -> list[Candidate]:
        """Return the parents that are worth a try, best first."""
        now = self._context.clock.monotonic()
        self._avoid = {node: until for node, until in self._avoid.items() if until > now}
        avoid = self._avoid.keys() | self._context.parents.failing()
        return self._rank(avoid)

    def _rank(self, avoid: Collection[NodeId]) -> list[Candidate]:
        return self._context.rank(self.broadcast.name, avoid, self._had_parent)

    def _is_moved(self, feed: ParentFeed) -> bool:
        """Return whether the stream was moved to another parent than that of `feed`, which can be had."""
        wanted = self._context.preferred(self.broadcast.name)
        if wanted is None or wanted == feed.node or feed.ended.done():
            return False
        best = self._choose()
        return best is not None and best.node == wanted

    def _leads_to_source(self, route: tuple[RouteHop, ...]) -> bool:
        """Return whether a parent's route begins where the source is; `True` when that is not known."""
        owner = self._context.owner(self.broadcast.name)
        return owner is None or (bool(route) and route[0].node == owner)

    def _leave_astray(self, feed: ParentFeed, reason: str) -> None:
        """Look for another parent than `feed`, if there is one: it has lost its own."""
        if self._choose(beside=feed.node) is not None:
            feed.finish(FeedEnd.ASTRAY, reason)

    def _lose_patience(self, feed: ParentFeed) -> None:
        """`feed` should have delivered by now, unless the source itself is away."""
        feed.is_overdue = True
        if feed.is_astray and not feed.delivers:
            self._leave_astray(feed, "it has delivered nothing yet")

    async def _wait_for_candidate(self) -> None:
        """Wait until the registry changes or a parent that failed is worth a try; tell viewers if none is known."""
        known = self._rank(())
        if not self._feeds and not known:
            self._interrupt("no node to fetch the stream from is known")
        if known and all(one.poor for one in known):
            self._context.look_for_room()
        now = self._context.clock.monotonic()
        waits = [until - now for until in self._avoid.values()]
        next_try = self._context.parents.next_try()
        if next_try is not None:
            waits.append(next_try)
        try:
            async with asyncio.timeout(max(0.01, min(waits, default=RETRY_SECONDS))):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _subscribe(self, link: Link, candidate: Candidate) -> ParentFeed:
        after = {track: chunk.id for track, chunk in self.broadcast.last.items()} or self._begin_after()
        feed = ParentFeed(self, link)
        feed.begin(self.broadcast.name, after, self._context.history_seconds)
        self._feeds.append(feed)
        self.parent = candidate.node
        self._candidate = candidate
        if self._last_end is not None:
            self._context.metrics.switches.labels(self._last_end.value).inc()
            self._last_end = None
        log.info("parent_chosen", stream=self.broadcast.name, parent=candidate.node, why=candidate.why)
        return feed

    def _after(self, feed: ParentFeed, end: FeedEnd) -> None:
        """The newest feed does not do any more."""
        self._last_end = end
        log.info("parent_lost", stream=self.broadcast.name, parent=feed.node, reason=end.value, detail=feed.detail)
        if end not in (FeedEnd.LOST, FeedEnd.MOVED):  # a lost link has its node avoided for all streams
            self._avoid_for(feed.node, AVOID_SECONDS)

    def _delivers(self, feed: ParentFeed) -> None:
        """The stream flows by `feed`, or is about to: nobody needs to be told that it does not."""
        if (feed.delivers and self._silence is None) or feed is not self._feeds[-1]:
            return
        feed.delivers = self._had_parent = True
        self._cancel_silence()
        self._held = None

    def _drop(self, feed: ParentFeed) -> None:
        if feed in self._feeds:
            self._feeds.remove(feed)
        feed.stop()

    def _avoid_for(self, node: NodeId, seconds: float) -> None:
        self._avoid[node] = self._context.clock.monotonic() + seconds

    def _expect_silence(self) -> None:
        """Tell viewers if nothing has come for `switch_seconds`."""
        if self._silence is None and self.broadcast.state.state is StreamState.LIVE:
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(self._context.switch_seconds, self._silence_told)

    def _silence_told(self) -> None:
        self._silence = None
        held, self._held = self._held, None
        if any(feed.delivers and not feed.is_astray for feed in self._feeds):  # the parent before, still
            self._held = held
            self._expect_silence()
        elif held is not None:
            self._tell(held)
        else:
            self._interrupt("the node it came from is away")

    def _cancel_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _interrupt(self, reason: str) -> None:
        self._cancel_silence()
        if self.broadcast.state.state is StreamState.LIVE:
            self._context.metrics.interruptions.inc()
            log.warning("stream_interrupted", stream=self.broadcast.name, reason=reason)
        if self.broadcast.state.state is not StreamState.ENDED:
            self.broadcast.set_state(StreamState.INTERRUPTED, reason, (self._context.hop,))

    def _tell(self, change: StateChange) -> None:
        self.broadcast.set_state(change.state, change.reason, change.route)
