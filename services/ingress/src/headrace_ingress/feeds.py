"""All feeds of one node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from headrace.errors import StartupError
from headrace.identifiers import StreamName
from headrace.registry.claims import Claim
from headrace.registry.contest import Contest
from headrace.registry.feed_uri import BORDER_SCHEMES
from headrace.registry.records import StreamRecord
from headrace.registry.registry import Registry
from headrace.relay.hub import STREAMS_MAX, Hub, TooManyStreams
from headrace.service.runtime import Runtime
from headrace.wire.stream import RouteHop
from headrace_ingress.border.sources import BorderSources
from headrace_ingress.claimant import contest_for_sources
from headrace_ingress.feed import Feed, FeedOptions
from headrace_ingress.hold import Hold
from headrace_ingress.jobs import Job
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.reading import Readers, slate_maker
from headrace_ingress.slate import NONE
from headrace_ingress.source import ChunkSource, RefusedSource
from headrace_ingress.wanted import SourceRequest, Wanted

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Running:
    request: SourceRequest
    hold: Hold
    feed: Feed
    task: asyncio.Task[None]


@dataclass
class Feeds:
    """Runs the sources of the own configuration, and those that others asked for, whose claims this node wins.

    Attributes:
        wanted: what could be run here.
        readers: read what is no other cluster's.
        lease_seconds: how long a claim outlives its holder.
        slate: what fills in for sources that do not say.
        border: makes sources of streams of other clusters.
        on_begin: called before a source is run.
        on_fenced_elsewhere: called when a stream that is kept here, and that is no source's, belongs to another node.
    """

    wanted: Wanted
    hub: Hub
    registry: Registry
    runtime: Runtime
    metrics: IngressMetrics
    readers: Readers
    lease_seconds: float = 3.0
    feed_options: FeedOptions = field(default_factory=FeedOptions)
    slate: str = NONE
    border: BorderSources | None = None
    on_begin: Callable[[StreamName], None] = lambda name: None
    on_fenced_elsewhere: Callable[[StreamName, StreamRecord], None] = lambda name, other: None
    _running: dict[StreamName, _Running] = field(default_factory=dict, init=False)
    _contest: Contest | None = field(default=None, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)

    async def start(self) -> None:
        """Begin to run what is wanted; nothing is waited for.

        Raises:
            StartupError: when the configuration names more sources than a process can carry.
        """
        if len(self.wanted.requests) + len(self.hub.streams) > STREAMS_MAX:
            raise StartupError(f"ingress: {TooManyStreams()}")
        self.registry.on_fenced = self._fenced
        self._contest = contest_for_sources(
            self.runtime.node, self.registry, self.lease_seconds, self.wanted, self, self.hub.may_produce
        )
        self._task = self.runtime.spawn("sources", self._contest.run())
        self.runtime.health.add("feeds", lambda: self.problem)

    async def stop(self) -> None:
        """End all feeds, together; takes little more than a second when a library hangs."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        if self._contest is not None:
            await self._contest.close()

    @property
    def problem(self) -> str | None:
        """What is wrong with the first feed that something is wrong with; `None` when all is well."""
        return next((one.feed.problem for one in self._running.values() if one.feed.problem), None)

    def begin(self, name: StreamName, claim: Claim | None) -> None:
        """Run a stream's source, or give the one that runs its claim."""
        running = self._running.get(name)
        if running is not None:
            running.hold.claim = claim
            running.feed.announce()
            return
        self.on_begin(name)
        request, hold = self.wanted.requests[name], Hold(self.registry, claim, self.lease_seconds)
        try:
            broadcast = self.hub.produce(name)
        except TooManyStreams as error:
            log.error("source_not_run", stream=name, reason=str(error))
            return
        feed = Feed(
            name,
            request.shown,
            lambda failures: self._make_source(name, request, hold, failures),
            broadcast,
            self.registry,
            hold,
            RouteHop(self.runtime.node, self.runtime.role),
            self.feed_options,
            self.runtime.clock,
            self.metrics,
            slate_maker(self.readers, name, self._slate_of(request)),
        )
        self._running[name] = _Running(request, hold, feed, self.runtime.spawn(f"feed {name}", feed.run()))

    def fence(self, name: StreamName) -> None:
        """Publish nothing more of a stream, from this moment on; an unknown one is ignored."""
        if name in self._running:
            self._running[name].feed.shut()

    async def end(self, name: StreamName) -> None:
        """End a feed; an unknown name is ignored."""
        running = self._running.pop(name, None)
        if running is None:
            return
        running.task.cancel()
        await asyncio.wait([running.task])
        if not (self.wanted.is_own(name) or self.wanted.is_desired(name)):
            running.feed.finish()
        running.feed.close()
        self.hub.retire(name)

    def is_current(self, name: StreamName) -> bool:
        """Whether a stream's source runs as it is wanted now."""
        return name not in self._running or self._running[name].request == self.wanted.requests.get(name)

    def _fenced(self, name: StreamName, other: StreamRecord) -> None:
        if name in self._running:
            self._running[name].feed.fence(other)
        else:
            self.on_fenced_elsewhere(name, other)

    def _slate_of(self, request: SourceRequest) -> str:
        is_border = any(uri.scheme in BORDER_SCHEMES for uri in request.uris)
        return NONE if is_border else request.slate or self.slate

    def _make_source(self, name: StreamName, request: SourceRequest, hold: Hold, failures: int) -> ChunkSource:
        """Return the source to try after so many failures in a row; a backup gives way when the first is back."""
        if request.refusal:
            return RefusedSource(request.refusal)
        uri, first = request.uris[failures % len(request.uris)], request.uris[0]
        if uri.scheme in BORDER_SCHEMES:
            assert self.border is not None, "the app gives it"
            return self.border.make(uri, request.remote_name, hold.facts)
        is_backup = uri is not first and request.fail_back_seconds > 0 and first.scheme not in BORDER_SCHEMES
        return self.readers.make(
            Job(
                name,
                uri,
                first if is_backup else None,
                request.transport,
                request.loop,
                request.fail_back_seconds,
                is_held=self._slate_of(request) != NONE,
            )
        )
