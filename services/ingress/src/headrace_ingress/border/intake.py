"""Streams that other clusters push here: each offer of a publisher becomes a feed of this cluster.

Theory of operation
-------------------
A publisher dials `/relay` in the role `publisher` and offers a stream. When nobody here has the name, this node asks
for it by a desired source and claims that, subscribes on the link, and publishes what comes as `pulling` does. When the
link is lost the stream stays `interrupted` for a while: the publisher, or another node of its cluster in its place,
dials again, here or at another ingress, and goes on. A stream that its publisher withdraws has ended. A name that is
taken ends the link with that as its reason; so does the end of the desired source, by which a stream is ended here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from headrace.clock import microseconds
from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.registry.claims import Claim, ClaimState
from headrace.registry.desired import DesiredConflict, DesiredKey, DesiredLimit, DesiredSource
from headrace.registry.leases import StoreAway
from headrace.registry.records import InvalidRecord, StreamRecord
from headrace.registry.registry import Registry
from headrace.registry.sealing import Uri
from headrace.registry.transfers import OPTION_PUBLISHER, PUSHED, pull_key
from headrace.relay.hub import Hub, TooManyStreams
from headrace.relay.link import POLICY_VIOLATION, CannotSubscribe
from headrace.service.runtime import Runtime
from headrace.session.border import PUBLISHER, BorderError
from headrace.session.link import Link
from headrace.wire.stream import RouteHop
from headrace_ingress.border.pulling import PullSource
from headrace_ingress.border.upstream import LinkFeed, Taker
from headrace_ingress.feed import Feed, FeedOptions
from headrace_ingress.hold import Hold
from headrace_ingress.metrics import IngressMetrics

AWAY_SECONDS: Final = 30.0
"""How long a pushed stream is kept without its publisher: longer than another node takes to be the publisher."""

NAME_IN_USE: Final = "name_in_use"
TERMINATED: Final = "terminated"
BUSY: Final = "busy"
"""Not now: the store is away, or another node has the stream still."""

log = structlog.get_logger(__name__)


class PushedUpstream:
    """What a publisher delivers over the links that it dials, one after the other."""

    def __init__(self, stream: StreamName) -> None:
        self._stream = stream
        self._link: Link | None = None
        self._came = asyncio.Event()

    def offered(self, link: Link) -> None:
        """Take the stream from this link from now on."""
        self._link = link
        self._came.set()

    async def follow(self, taker: Taker, after: Mapping[int, ChunkId] | None) -> None:
        """See `Upstream`."""
        await self._came.wait()
        link = self._link
        self._came.clear()
        if link is None or not link.is_open:
            raise BorderError("lost", "its publisher is away")
        feed = LinkFeed(taker)
        try:
            handle = link.subscribe(self._stream, after, 0.0, feed)
        except CannotSubscribe as error:
            raise BorderError("refused", str(error)) from None
        try:
            raise await feed.ended
        finally:
            if link.is_open:
                link.unsubscribe(handle)


@dataclass(slots=True)
class _Taken:
    """A stream that is pushed here."""

    upstream: PushedUpstream
    hold: Hold
    feed: Feed
    task: asyncio.Task[None]
    link: Link
    leaving: asyncio.TimerHandle | None = None


@dataclass
class Intake:
    """Takes what publishers of other clusters offer; a component with `start` and `stop`.

    Attributes:
        hub, registry, runtime: of this process.
        feed_options: how feeds are retried.
        lease_seconds: the registry's.
    """

    hub: Hub
    registry: Registry
    runtime: Runtime
    metrics: IngressMetrics
    feed_options: FeedOptions
    lease_seconds: float = 3.0
    _taken: dict[StreamName, _Taken] = field(default_factory=dict, init=False)
    _pending: dict[StreamName, asyncio.Task[None]] = field(default_factory=dict, init=False)
    _ending: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _watching: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _forgetting: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    async def start(self) -> None:
        """Begin to watch what is terminated; nothing else is to be done before somebody offers."""
        self.registry.desired_watchers.add(self._desired_changed)
        others = self.registry.on_fenced

        def fenced(name: StreamName, other: StreamRecord) -> None:
            taken = self._taken.get(name)
            if taken is None:
                others(name, other)
            else:
                taken.feed.fence(other)

        self.registry.on_fenced = fenced

    async def stop(self) -> None:
        """End all streams that are pushed here; their publishers go on elsewhere."""
        self.registry.desired_watchers.discard(self._desired_changed)
        begun = (*self._pending.values(), *self._watching)
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        for name in tuple(self._taken):
            self._end(name, is_over=False)
        if self._ending:
            await asyncio.wait(self._ending)
        for task in self._forgetting:
            task.cancel()
        await asyncio.gather(*self._forgetting, return_exceptions=True)

    def _desired_changed(self, keys: frozenset[DesiredKey]) -> None:
        for name in tuple(self._taken):
            if pull_key(name) in keys and pull_key(name) not in self.registry.desired:
                self.terminate(name)

    def has(self, name: StreamName) -> bool:
        """Return whether a stream of that name is pushed here."""
        return name in self._taken or name in self._pending

    def terminate(self, name: StreamName) -> None:
        """End a stream here, and tell its publisher so; an unknown one is ignored."""
        taken = self._taken.get(name)
        if taken is not None:
            self._end(name)
            taken.link.close(POLICY_VIOLATION, TERMINATED)

    def offers_changed(self, link: Link) -> None:
        """Look at what a link offers; links of nodes, and of others that are no publishers, are not looked at."""
        if link.peer_role != PUBLISHER:
            return
        for name, taken in tuple(self._taken.items()):
            if taken.link is link and link.is_open and name not in link.offers:
                log.info("push_withdrawn", stream=name, publisher=link.peer)
                self._end(name)
        for name in link.offers:
            self._offered(name, link)

    def _offered(self, name: StreamName, link: Link) -> None:
        taken = self._taken.get(name)
        if taken is None:
            if name not in self._pending:
                task = self.runtime.spawn(f"take {name}", self._take(name, link))
                self._pending[name] = task
                task.add_done_callback(lambda _: self._pending.pop(name, None))
        elif taken.link.peer != link.peer:
            link.close(POLICY_VIOLATION, NAME_IN_USE)
        elif taken.link is not link:
            before, taken.link = taken.link, link
            taken.upstream.offered(link)
            if before.is_open:  # another node of its cluster is the publisher now
                before.close(POLICY_VIOLATION, BUSY)
            self._watch(name, taken)

    async def _take(self, name: StreamName, link: Link) -> None:
        refusal = await self._claim(name, link)
        if refusal:
            log.info("push_refused", stream=name, publisher=link.peer, reason=refusal)
            link.close(POLICY_VIOLATION, refusal)

    async def _claim(self, name: StreamName, link: Link) -> str:
        """Take a stream; return why not, empty when it was."""
        key = pull_key(name)
        try:
            refusal = await self._ask_for(name, link)
            if refusal:
                return refusal
            claim = await self.registry.claim(key, self.runtime.node, lambda claim: self._claim_changed(name, claim))
        except (StoreAway, ValueError):
            return BUSY
        if claim is None:
            return BUSY
        try:
            self._begin(name, link, claim)
        except TooManyStreams:
            await self.registry.release(claim)
            return BUSY
        if link.is_open and name not in link.offers:
            self._end(name)  # withdrawn meanwhile
        return ""

    async def _ask_for(self, name: StreamName, link: Link) -> str:
        """Have a desired source stand for the stream; return why that cannot be, empty when it does."""
        entry, known = self.registry.desired.get(pull_key(name)), self.registry.streams.get(name)
        if entry is not None:
            is_same = isinstance(entry.record, DesiredSource) and entry.record.options.get(OPTION_PUBLISHER)
            return "" if is_same == link.peer else NAME_IN_USE
        if (known is not None and known.state != "ended") or self.hub.produced(name):
            return NAME_IN_USE
        record = DesiredSource(
            stream=name,
            uris=(Uri(PUSHED),),
            options={OPTION_PUBLISHER: str(link.peer)},
            by=PUBLISHER,
            since_us=microseconds(self.runtime.clock.utc()),
        )
        try:
            await self.registry.put_desired(record, expect=0)
        except DesiredConflict:
            return NAME_IN_USE
        except (DesiredLimit, InvalidRecord):
            return BUSY
        return ""

    def _begin(self, name: StreamName, link: Link, claim: Claim) -> None:
        upstream = PushedUpstream(name)
        hold = Hold(self.registry, claim, self.lease_seconds)
        clock = self.runtime.clock

        def tell(epoch: Epoch) -> None:
            hold.facts["publisher"] = str(link.peer)

        feed = Feed(
            name,
            "a publisher of another cluster",
            lambda failures: PullSource([upstream], clock, tell),
            self.hub.produce(name),
            self.registry,
            hold,
            RouteHop(self.runtime.node, self.runtime.role),
            self.feed_options,
            clock,
            self.metrics,
        )
        task = self.runtime.spawn(f"feed {name}", feed.run())
        taken = self._taken[name] = _Taken(upstream, hold, feed, task, link)
        upstream.offered(link)
        self._watch(name, taken)
        log.info("push_taken", stream=name, publisher=link.peer, key=link.peer_key)

    def _watch(self, name: StreamName, taken: _Taken) -> None:
        """See to it that the stream goes when its publisher stays away."""
        link = taken.link
        watching = asyncio.create_task(self._await_return(name, taken, link), name=f"watch {name}")
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)

    async def _await_return(self, name: StreamName, taken: _Taken, link: Link) -> None:
        await link.wait_closed()
        if self._taken.get(name) is taken and taken.link is link:
            loop = asyncio.get_running_loop()
            taken.leaving = loop.call_later(AWAY_SECONDS, self._leave, name, taken, link)

    def _leave(self, name: StreamName, taken: _Taken, link: Link) -> None:
        if self._taken.get(name) is taken and taken.link is link:
            log.info("push_let_go", stream=name, seconds=AWAY_SECONDS)
            self._end(name)

    def _claim_changed(self, name: StreamName, claim: Claim) -> None:
        if claim.state is ClaimState.LOST and name in self._taken:
            self._end(name, is_over=False)

    def _end(self, name: StreamName, *, is_over: bool = True) -> None:
        """Let a stream go: nothing of it is published from this moment on."""
        taken = self._taken.pop(name, None)
        if taken is None:
            return
        if taken.leaving is not None:
            taken.leaving.cancel()
        taken.feed.shut()
        taken.task.cancel()
        task = asyncio.create_task(self._close(name, taken, is_over), name=f"end of push {name}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _close(self, name: StreamName, taken: _Taken, is_over: bool) -> None:
        await asyncio.wait([taken.task])
        if is_over:
            taken.feed.finish()
        taken.feed.close()
        self.hub.retire(name)
        if taken.hold.claim is not None:
            await self.registry.release(taken.hold.claim)
        if is_over:
            forgetting = asyncio.create_task(self._forget(name), name=f"forget {name}")
            self._forgetting.add(forgetting)
            forgetting.add_done_callback(self._forgetting.discard)
            await asyncio.wait([forgetting], timeout=self.lease_seconds)

    async def _forget(self, name: StreamName) -> None:
        """Have nobody ask for a stream any more, as soon as the store can be told, unless it comes again."""
        while not self.has(name):
            with suppress(StoreAway):
                await self.registry.drop_desired(pull_key(name))
                return
            await asyncio.sleep(self.lease_seconds)
