"""Fetching one stream from parents for as long as somebody here wants it.

A `Fetch` lives from the first demand to the end of the linger. It asks the registry's placement for the best parent,
subscribes there after the last chunks it has, and feeds the stream's broadcast. When the link is lost, the parent
refuses, leaves or turns out to be fed by this node, it goes on from the next one at once: with several parents known,
trying again is for those that failed only. A parent that leaves keeps delivering until the next one does, and so does
one that nothing is wrong with when the stream goes elsewhere (headrace.session.aims); if that fails, it is kept.

A parent that says that the stream is interrupted is kept: whoever lost its own parent looks for another, those below it
wait. Only when it has found none for `ASTRAY_SECONDS`, while the source is known to be somewhere, is it left.

Viewers hear nothing of a switch that succeeds within `switch_seconds`: the state stays as it was, and a cold parent's
first word, that it has nothing yet, is held back for as long.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping

import structlog

from headrace.identifiers import ChunkId, NodeId
from headrace.registry.placement import Candidate, pick_standby
from headrace.relay.broadcast import Broadcast, StateChange
from headrace.relay.link import NotCovered, TooManySubscriptions
from headrace.session.aims import Aims, is_nearer
from headrace.session.avoiding import Avoided
from headrace.session.context import FetchContext
from headrace.session.feed import FeedEnd, ParentFeed
from headrace.session.hearing import Hearing
from headrace.session.link import Link, LinkError
from headrace.wire.chunk import Chunk
from headrace.wire.stream import ROUTE_MAX_NODES, RouteHop, StreamState

AVOID_SECONDS = 5.0
"""How long a stream is not fetched from a parent that refused it or was fed by this node: routes settle meanwhile."""

RETRY_SECONDS = 1.0
"""How long to wait for the registry to change before a parent that is known, but has no room, is asked again."""

FAILED_SECONDS = 0.1
"""How long a stream is not fetched from a node that it could not be, beside what `Parents.failing` says of it."""

PATIENCE_SECONDS = 3.0
"""How long a new parent may take to deliver, when there are others: it may have to dial a whole chain itself."""

ASTRAY_SECONDS = 10.0
"""How long a parent that delivered may be without a way to a source that is known to be somewhere; up to half as long
again, so that not all children leave at once. Longer than another ingress takes to take a source over: a death further
up moves nobody else."""

NOBODY_KNOWN = "no node to fetch the stream from is known"

log = structlog.get_logger(__name__)


class Fetch:
    """Keeps one demanded stream coming.

    Attributes:
        broadcast: where it goes.
        parent: the node it comes from, `None` while it comes from nowhere.
        is_unknown: nobody who could have it is known; nothing but news of that can help, and nothing is tried.
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
        self.is_unknown = False
        self._begin_after = begin_after
        self._context = context
        self._avoided = Avoided(context.is_draining)
        self._changed = asyncio.Event()
        self._feeds: list[ParentFeed] = []
        self._last_end: FeedEnd | None = None
        self._candidate: Candidate | None = None
        self._had_parent = False
        self._rests = False
        self._standby: Candidate | None = None
        self._newest: tuple[ChunkId, float] | None = None
        self._aims = Aims()
        self._hearing = Hearing(
            broadcast, context.own, context.switch_seconds, context.metrics, self._is_fed, self._why_silent
        )

    @property
    def is_orphan(self) -> bool:
        """Whether parents are known but none can be linked to: the way is broken, and not merely nobody there."""
        return self.parent is None and bool(self._rank(()))

    def tick(self) -> Candidate | None:
        """Do what is not urgent, about once a second; return the standby, from which to go on if the parent is lost."""
        if self.parent is None:
            return None
        if self._rests and not self._context.parents.failing():
            return self._standby
        ranked = self._ranked()
        newest = self._feeds[-1] if self._feeds else None
        if newest is not None and not newest.ended.done() and newest.delivers and not newest.is_astray:
            if self._is_moved(newest):
                self._leave_for(newest, ranked[0].node, FeedEnd.MOVED)
            else:
                self._return_to_layer(newest, ranked)
        self._standby = self._standby_of(ranked)
        self._rests = self._is_content_with(ranked)
        return self._standby

    def _is_content_with(self, ranked: list[Candidate]) -> bool:
        """Return whether nothing but news would make another parent or standby of what was found."""
        wanted = self._context.preferred(self.broadcast.name)
        is_best = bool(ranked) and ranked[0].node == self.parent
        return is_best and wanted in (None, self.parent) and not self._unwanted()

    def _standby_of(self, ranked: list[Candidate]) -> Candidate | None:
        if self.parent is None:
            return None
        if self._candidate is not None and all(one.node != self.parent for one in ranked):
            ranked = [self._candidate, *ranked]
        return pick_standby(ranked, self.parent)

    @property
    def link(self) -> Link | None:
        """The link that delivers the stream, `None` while none does."""
        feed = next((feed for feed in reversed(self._feeds) if feed.delivers and feed.link.is_open), None)
        return None if feed is None else feed.link

    def wake(self) -> None:
        """Look again: nodes or streams changed."""
        self._rests = False
        self._changed.set()
        self._avoided.pardon()
        newest = self._feeds[-1] if self._feeds else None
        if newest is None or newest.ended.done():
            return
        if newest.is_astray and newest.is_overdue:
            self._leave_astray(newest, "another parent is there")
        elif self._is_moved(newest):
            self._leave_for(newest, self._ranked()[0].node, FeedEnd.MOVED)

    def seconds_since(self, id: ChunkId) -> float | None:
        """Return how long ago the newest chunk came if it is `id`."""
        if self._newest is None or self._newest[0] != id:
            return None
        return self._now - self._newest[1]

    async def run(self) -> None:
        """Fetch until cancelled."""
        self._hearing.expect()
        try:
            while True:
                await self._fetch_once()
        finally:
            self._hearing.close()
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
        self._newest = (chunk.id, self._now)
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
        own = self._context.own
        loops = any(hop.node == mine.node for hop in route for mine in own)
        if loops or len(route) + len(own) > ROUTE_MAX_NODES:
            feed.finish(FeedEnd.LOOP, " > ".join(hop.node for hop in route))
            self.feed_over(feed)
            return
        change = feed.said = StateChange(state, reason, (*route, *own))
        if feed is not self._feeds[-1]:
            return  # the parent before, which is leaving; the next one's word counts
        feed.is_astray = state is StreamState.INTERRUPTED and not self._leads_to_source(route)
        if state is not StreamState.INTERRUPTED:
            self._delivers(feed)
            self._hearing.tell(change)
        elif self._hearing.is_quiet and not feed.delivers:
            self._hearing.hold(change)
        else:
            self._hearing.tell(change)
        if not feed.is_astray and feed.delivers:
            feed.be_content()
        elif feed.is_overdue:
            self._leave_astray(feed, reason)
        elif feed.delivers:
            feed.be_patient(ASTRAY_SECONDS * (1 + random.random() / 2), self._lose_patience)

    def feed_over(self, feed: ParentFeed) -> None:
        """`feed` delivers nothing any more."""
        self._drop(feed)
        self._rests = False
        if not self._feeds:
            self.parent = None
            self._hearing.expect()

    # -- inside ------------------------------------------------------------------------------------

    async def _fetch_once(self) -> None:
        """Take the best parent there is and stay with it until its feed ends; or wait for one."""
        self._changed.clear()
        self._rests = self.is_unknown = False
        candidate = self._choose_next()
        feed = self._kept_instead_of(candidate)
        if feed is None:
            if candidate is None:
                await self._wait_for_candidate()
                return
            feed = await self._take(candidate)
        if feed is not None:
            self._after(feed, await feed.ended)

    async def _take(self, candidate: Candidate) -> ParentFeed | None:
        """Subscribe at `candidate`; return `None` when that cannot be done."""
        try:
            return self._subscribe(await self._context.parents.open(candidate), candidate)
        except NotCovered as error:
            log.debug("parent_failed", stream=self.broadcast.name, parent=candidate.node, error=str(error))
            self._avoided.add(candidate.node, self._now + AVOID_SECONDS)
        except (LinkError, TooManySubscriptions) as error:
            log.debug("parent_failed", stream=self.broadcast.name, parent=candidate.node, error=str(error))
            self._avoided.add(candidate.node, self._now + FAILED_SECONDS)
        return None

    def _kept_instead_of(self, candidate: Candidate | None) -> ParentFeed | None:
        """Return the parent before if the stream was on its way from it to another that cannot be had, else `None`."""
        aim = self._aims.aim
        if aim is None or (candidate is not None and candidate.node == aim):
            return None
        is_news = self._aims.missed(self._now, random.random())
        kept = next((feed for feed in reversed(self._feeds) if feed.may_be_kept), None)
        if kept is None:
            return None
        for newer in self._feeds[self._feeds.index(kept) + 1 :]:
            self._drop(newer)
        kept.keep()
        self.parent, self._candidate, self._last_end = kept.node, kept.candidate, None
        if kept.said is not None:
            self._hearing.tell(kept.said)
        (log.warning if is_news else log.debug)("move_failed", stream=self.broadcast.name, to=aim, parent=kept.node)
        log.info("parent_chosen", stream=self.broadcast.name, parent=kept.node, why=f"kept, for {aim} cannot be had")
        return kept

    @property
    def _now(self) -> float:
        return self._context.clock.monotonic()

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
        return self._rank(self._unwanted())

    def _unwanted(self) -> Collection[NodeId]:
        return self._avoided.nodes(self._now) | self._context.parents.failing()

    def _rank(self, avoid: Collection[NodeId]) -> list[Candidate]:
        return self._context.rank(self.broadcast.name, avoid, self._had_parent)

    def _is_moved(self, feed: ParentFeed) -> bool:
        """Return whether the stream was moved to another parent than that of `feed`, which can be had."""
        wanted = self._context.preferred(self.broadcast.name)
        if wanted is None or wanted == feed.node or feed.ended.done() or not self._aims.may_try(wanted, self._now):
            return False
        best = self._choose()
        return best is not None and best.node == wanted

    def _return_to_layer(self, feed: ParentFeed, ranked: list[Candidate]) -> None:
        """Go back to the node's layer, if the stream went past it and the layer has been there again for a while."""
        present = next((one for one in ranked if one.node == feed.node), None)
        if present is None:
            return
        best = ranked[0]
        if is_nearer(best, present):  # and has more room than is kept for who lost its parent?
            best = next(iter(self._context.rank(self.broadcast.name, self._unwanted(), False)), best)
        if self._aims.is_time_to_return(present, best, self._now, random.random()):
            self._leave_for(feed, best.node, FeedEnd.NEARER)

    def _leave_for(self, feed: ParentFeed, node: NodeId, end: FeedEnd) -> None:
        """Go from `feed`, which nothing is wrong with, to `node`."""
        self._aims.begin(node)
        feed.finish(end, f"for {node}")

    def _leads_to_source(self, route: tuple[RouteHop, ...]) -> bool:
        """Return whether a parent's route begins where the source is; `True` when that is not known."""
        owner = self._context.owner(self.broadcast.name)
        return owner is None or (bool(route) and route[0].node == owner)

    def _leave_astray(self, feed: ParentFeed, reason: str) -> None:
        """Look for another parent than `feed`, if there is one: it has lost its own."""
        if self._choose(beside=feed.node) is not None:
            feed.finish(FeedEnd.ASTRAY, reason)

    def _lose_patience(self, feed: ParentFeed) -> None:
        """`feed` should deliver by now, unless the source itself is away."""
        if feed.is_astray:
            self._leave_astray(feed, "it has had no way to the source for long")

    async def _wait_for_candidate(self) -> None:
        """Wait until the registry changes or a parent that failed is worth a try; tell viewers if none is known."""
        known = self._rank(())
        self.is_unknown = not known
        if not self._feeds and not known and not self.broadcast.awaited:
            self._hearing.interrupt(NOBODY_KNOWN)
        if known and all(one.poor for one in known):
            self._context.look_for_room()
        waits = self._avoided.seconds(self._now)
        next_try = self._context.parents.next_try()
        if next_try is not None:
            waits.append(next_try)
        try:
            async with asyncio.timeout(max(0.01, min(waits, default=RETRY_SECONDS)) if known else None):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _subscribe(self, link: Link, candidate: Candidate) -> ParentFeed:
        after = {track: chunk.id for track, chunk in self.broadcast.last.items()} or self._begin_after()
        feed = ParentFeed(self, link, candidate)
        feed.begin(self.broadcast.name, after, self._context.history_seconds)
        patience = ASTRAY_SECONDS if self._last_end is FeedEnd.ASTRAY else PATIENCE_SECONDS
        feed.be_patient(patience, self._lose_patience)
        self._feeds.append(feed)
        self._rests = False
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
        if end in (FeedEnd.MOVED, FeedEnd.NEARER):
            return
        self._aims.lost(feed.node, self._now, random.random())
        if end is FeedEnd.LEAVING:
            self._avoided.add_leaving(feed.node, self._now + AVOID_SECONDS)
        elif end is not FeedEnd.LOST:  # a lost link has its node avoided for all streams
            self._avoided.add(feed.node, self._now + AVOID_SECONDS)

    def _delivers(self, feed: ParentFeed) -> None:
        """The stream flows by `feed`, or is about to: nobody needs to be told that it does not."""
        if (feed.delivers and not self._hearing.is_expecting) or feed is not self._feeds[-1]:
            return
        feed.delivers = self._had_parent = True
        feed.be_content()
        self._aims.reached(feed.node, self._now)
        self._hearing.flows()

    def _drop(self, feed: ParentFeed) -> None:
        if feed in self._feeds:
            self._feeds.remove(feed)
        feed.stop()

    def _is_fed(self) -> bool:
        return any(feed.delivers and not feed.is_astray for feed in self._feeds)  # the parent before, maybe

    def _why_silent(self) -> str:
        return "the node it came from is away" if self._rank(()) else NOBODY_KNOWN
