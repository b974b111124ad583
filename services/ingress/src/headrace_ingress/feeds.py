"""All feeds of one node."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from headrace.errors import StartupError
from headrace.identifiers import StreamName
from headrace.registry.records import StreamRecord
from headrace.registry.registry import Registry
from headrace.relay.hub import Hub, TooManyStreams
from headrace.service.runtime import Runtime
from headrace.wire.stream import RouteHop
from headrace_ingress.encoder import PatternSource
from headrace_ingress.feed import Feed, FeedOptions
from headrace_ingress.file import FileSource
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.rtsp import RtspSource
from headrace_ingress.source import Source
from headrace_ingress.uri import FeedUri, Scheme, Transport


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """A feed that is wanted.

    Attributes:
        uri: where from, checked.
        transport: how RTSP media travels unless the URI says.
        loop: whether a file begins again unless the URI says.
    """

    uri: FeedUri
    transport: Transport = "tcp"
    loop: bool = True


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What sources may and must do; the settings group `ingress`.

    Attributes:
        file_roots: folders that files of untrusted URIs lie below.
        stall_seconds: silence after which a feed is broken.
    """

    file_roots: tuple[Path, ...] = ()
    stall_seconds: float = 5.0


@dataclass(slots=True)
class _Running:
    feed: Feed
    task: asyncio.Task[None]


@dataclass
class Feeds:
    """Runs the configured feeds, and others as they are asked for.

    Attributes:
        requests: the feeds to begin with, by stream.
    """

    requests: Mapping[StreamName, SourceRequest]
    hub: Hub
    registry: Registry
    runtime: Runtime
    metrics: IngressMetrics
    source_options: SourceOptions = field(default_factory=SourceOptions)
    feed_options: FeedOptions = field(default_factory=FeedOptions)
    _running: dict[StreamName, _Running] = field(default_factory=dict, init=False)

    async def start(self) -> None:
        """Begin all feeds; none of them is waited for.

        Raises:
            StartupError: when there are more than a process can carry.
        """
        self.registry.on_fenced = self._fenced
        try:
            for name, request in self.requests.items():
                self.add(name, request)
        except TooManyStreams as error:
            await self.stop()
            raise StartupError(f"ingress: {error}") from None

    async def stop(self) -> None:
        """End all feeds, together; takes little more than a second when a library hangs."""
        await asyncio.gather(*(self.remove(name) for name in list(self._running)))

    def add(self, name: StreamName, request: SourceRequest) -> None:
        """Begin a feed.

        Raises:
            ValueError: when there is a feed of that name.
            TooManyStreams: when the process carries as many streams as it may.
        """
        if name in self._running:
            raise ValueError(f"stream {name} has a feed already")
        feed = Feed(
            name,
            request.uri.shown,
            lambda stopping: self._make_source(request, stopping),
            self.hub.produce(name),
            self.registry,
            RouteHop(self.runtime.node, self.runtime.role),
            self.feed_options,
            self.runtime.clock,
            self.metrics,
        )
        self._running[name] = _Running(feed, self.runtime.spawn(f"feed {name}", feed.run()))

    async def remove(self, name: StreamName) -> None:
        """End a feed; an unknown name is ignored."""
        running = self._running.pop(name, None)
        if running is None:
            return
        running.task.cancel()
        await asyncio.wait([running.task])
        running.feed.close()
        self.hub.retire(name)

    def _fenced(self, name: StreamName, other: StreamRecord) -> None:
        if name in self._running:
            self._running[name].feed.fence(other)

    def _make_source(self, request: SourceRequest, stopping: threading.Event) -> Source:
        options, clock = self.feed_options.packager, self.runtime.clock
        uri = request.uri
        match uri.scheme:
            case Scheme.RTSP | Scheme.RTSPS:
                stall_seconds = self.source_options.stall_seconds
                return RtspSource(uri, request.transport, options, stall_seconds, clock, stopping)
            case Scheme.FILE:
                return FileSource(uri, self.source_options.file_roots, request.loop, options, clock, stopping)
            case Scheme.TEST:
                return PatternSource(uri.pattern, options, clock, stopping, self.metrics)
        assert_never(uri.scheme)
