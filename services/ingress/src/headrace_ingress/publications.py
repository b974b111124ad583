"""The streams that others publish here: who is let in, and a feed for each.

Theory of operation
-------------------
A door asks with `admit`, and adds files to the publication that it gets. The stream's feed is an ordinary one; its
source waits for the next publication. So a publisher that comes back finds its stream
`interrupted` and goes on with it, and a stream whose publisher stays away is let go after a while.

A second publisher is refused or takes over, as configured. A stream that a source is configured or was ordered for has
no publishers; a source that is ordered later ends the publication.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from headrace.identifiers import StreamName
from headrace.registry.records import StreamRecord
from headrace.registry.registry import Registry
from headrace.relay.hub import Hub, TooManyStreams
from headrace.service.runtime import Runtime
from headrace.wire.stream import RouteHop, StreamState
from headrace_ingress.admission import Guesses, Keys, PublishRefused
from headrace_ingress.feed import Feed, FeedOptions
from headrace_ingress.hold import Hold
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.published import Publication, PublishedFeed, Slot
from headrace_ingress.reading import Readers, slate_maker
from headrace_ingress.slate import NONE

RETRY_SECONDS = 0.05
"""Wait before a broken publication's feed takes the next: the door limits how often there is one."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """Who may publish, and what becomes of it; the settings group `ingress`.

    Attributes:
        keys: of streams.
        takes_over: whether a second publisher of a stream replaces the first; otherwise it is refused.
        publishers_max: most at once.
        away_seconds: how long a stream is kept without a publisher.
    """

    keys: Keys = Keys({})
    takes_over: bool = False
    publishers_max: int = 200
    away_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks.

    Attributes:
        door: by which it comes, for example `rtmp`.
        address: its IP address.
        is_local: whether it comes from this machine by a door that only this machine reaches.
    """

    door: str
    address: str
    is_local: bool


class OpenHold(Hold):
    """The hold on a stream that whoever publishes it owns: no source was ordered, so there is no claim to win."""

    @property
    def is_claimed(self) -> bool:
        return True

    def may_publish(self) -> bool:
        return True


@dataclass(slots=True)
class _Published:
    """A stream that is or was published here."""

    slot: Slot
    feed: Feed
    task: asyncio.Task[None]
    publication: Publication | None = None
    leaving: asyncio.TimerHandle | None = None


@dataclass
class Publications:
    """Lets publishers in, and runs the feeds of their streams.

    Attributes:
        readers: read what they send.
        slate: what fills in while a publisher is away.
        is_sourced: whether a source is configured or was ordered for a stream.
    """

    hub: Hub
    registry: Registry
    runtime: Runtime
    metrics: IngressMetrics
    options: PublishOptions
    feed_options: FeedOptions
    readers: Readers
    slate: str
    is_sourced: Callable[[StreamName], bool]
    _streams: dict[StreamName, _Published] = field(default_factory=dict, init=False)
    _guesses: Guesses = field(default_factory=Guesses, init=False)
    _closing: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    async def start(self) -> None:
        """Nothing is to be done before somebody comes."""

    async def stop(self) -> None:
        """End all streams that are published here."""
        for name in tuple(self._streams):
            self._leave(name)
        if self._closing:
            await asyncio.wait(self._closing)

    def admit(self, name: StreamName, key: str, peer: Peer, on_over: Callable[[str], None]) -> Publication:
        """Let a publisher in.

        Args:
            name: of the stream.
            key: as given, empty for none.
            peer: who asks.
            on_over: called on the loop with the reason, once, when nothing more is taken from it.

        Raises:
            PublishRefused: when it may not.
        """
        self.check(name, key, peer)
        try:
            stream = self._streams.get(name) or self._begin(name)
        except PublishRefused as refused:
            self.refused(name, peer, refused)
            raise
        return self._let_in(name, stream, peer, on_over)

    def check(self, name: StreamName, key: str, peer: Peer) -> None:
        """Ask whether a publisher would be let in, where its protocol wants the answer before its media come.

        Raises:
            PublishRefused: when it may not.
        """
        try:
            self._check(name, key, peer)
        except PublishRefused as refused:
            self.refused(name, peer, refused)
            raise

    def refused(self, name: str, peer: Peer, refused: PublishRefused) -> None:
        """Tell and count a publisher that was not let in."""
        self.metrics.publish_refused.labels(refused.code).inc()
        log.warning("publisher_refused", stream=name, door=peer.door, peer=peer.address, reason=str(refused))

    def guessed(self, peer: Peer) -> None:
        """Take note of a wrong secret that a door found by itself; it counts like a wrong key."""
        self._guesses.note(peer.address, self.runtime.clock.monotonic())

    def leave(self, name: StreamName, publication: Publication) -> None:
        """Its publisher is gone; what it sent is still carried."""
        publication.end()
        stream = self._streams.get(name)
        if stream is not None and stream.publication is publication:
            stream.publication = None
            self.metrics.publishers.dec()
            self._await_return(name, stream)

    def displace(self, name: StreamName) -> None:
        """A source was ordered for the stream: whoever publishes it is sent away, at this moment."""
        self._leave(name)

    def fence(self, name: StreamName, other: StreamRecord) -> None:
        """Another node has a newer epoch of a stream: its publisher took over there."""
        stream = self._streams.get(name)
        # What was published here before may be on record for a moment yet; the epoch to come outranks it.
        if stream is not None and other.node != self.runtime.node:
            stream.feed.fence(other)
            if stream.publication is not None:
                stream.publication.finish(f"another publisher took over at node {other.node}")

    # -- inside ---------------------------------------------------------------------------------------------------

    def _check(self, name: StreamName, key: str, peer: Peer) -> None:
        now = self.runtime.clock.monotonic()
        if self._guesses.is_barred(peer.address, now):
            raise PublishRefused("guessing", "too many wrong keys from this address; try again in a minute")
        if not self.options.keys.opens(name, key, is_local=peer.is_local):
            self._guesses.note(peer.address, now)
            what = "the key is wrong" if key else "publishing this stream needs a key"
            raise PublishRefused("key", what)
        if not self.hub.may_produce(name):
            raise PublishRefused("node", "this node may not have this stream's source")
        if self.is_sourced(name):
            raise PublishRefused("sourced", "this stream has a source of its own")
        if self._has_publisher(name):
            if not self.options.takes_over:
                raise PublishRefused("busy", "somebody publishes this stream already")
        elif sum(stream.publication is not None for stream in self._streams.values()) >= self.options.publishers_max:
            raise PublishRefused("limit", "this node has as many publishers as it may")

    def _has_publisher(self, name: StreamName) -> bool:
        stream, known = self._streams.get(name), self.registry.streams.get(name)
        elsewhere = known is not None and known.node != self.runtime.node and known.state == StreamState.LIVE.value
        return elsewhere or (stream is not None and stream.publication is not None)

    def _begin(self, name: StreamName) -> _Published:
        slot = Slot()
        try:
            broadcast = self.hub.produce(name)
        except TooManyStreams as error:
            raise PublishRefused("limit", str(error)) from None
        feed = Feed(
            name,
            "a publisher",
            lambda failures: PublishedFeed(name, slot, self.readers, is_held=self.slate != NONE),
            broadcast,
            self.registry,
            OpenHold(self.registry, None, 0.0),
            RouteHop(self.runtime.node, self.runtime.role),
            replace(self.feed_options, retry_min_seconds=RETRY_SECONDS, retry_max_seconds=RETRY_SECONDS),
            self.runtime.clock,
            self.metrics,
            slate_maker(self.readers, name, self.slate),
        )
        stream = _Published(slot, feed, self.runtime.spawn(f"feed {name}", feed.run()))
        self._streams[name] = stream
        return stream

    def _let_in(self, name: StreamName, stream: _Published, peer: Peer, on_over: Callable[[str], None]) -> Publication:
        loop = asyncio.get_running_loop()
        before, stream.publication = stream.publication, None
        if before is not None:
            self.metrics.publishers.dec()
            before.finish("another publisher took over")
        publication = Publication(on_loop(loop, on_over))
        stream.publication = publication
        if stream.leaving is not None:
            stream.leaving.cancel()
            stream.leaving = None
        stream.feed.reclaim()
        stream.slot.put(publication)
        self.metrics.publishers.inc()
        log.info("publisher_in", stream=name, door=peer.door, peer=peer.address)
        return publication

    def _await_return(self, name: StreamName, stream: _Published) -> None:
        loop = asyncio.get_running_loop()
        stream.leaving = loop.call_later(self.options.away_seconds, self._leave, name)

    def _leave(self, name: StreamName) -> None:
        """Let a stream go: nothing of it is published from this moment on."""
        stream = self._streams.pop(name, None)
        if stream is None:
            return
        if stream.leaving is not None:
            stream.leaving.cancel()
        if stream.publication is not None:
            self.metrics.publishers.dec()
            stream.publication.finish("the stream is stopped here")
        stream.feed.shut()
        stream.task.cancel()
        stream.feed.close()
        if not self.is_sourced(name):
            self.hub.retire(name)
        task = asyncio.create_task(_ended(stream.task), name=f"end of feed {name}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[str], None]) -> Callable[[str], None]:
    """Return what calls `call` on the loop, from any thread, and does nothing once the loop is closed."""

    def hand_over(reason: str) -> None:
        with contextlib.suppress(RuntimeError):  # the process ends, and nobody is left to tell
            loop.call_soon_threadsafe(call, reason)

    return hand_over


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])
