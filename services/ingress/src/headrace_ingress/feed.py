"""A feed: one stream's life in this node, from the first attempt at its source to its removal.

Theory of operation
-------------------
A feed runs on the event loop and owns no media. Each attempt at the source is a `Reader` in a thread of its own, mostly
of a worker process (`headrace_ingress.workers`); what it tells arrives as events, is written to the stream's broadcast,
and once in a segment to the registry. When a source falls silent (`headrace_ingress.rhythm`) the stream is
`interrupted`, and `live` again when media come before the source is given up. When an attempt ends, the stream is
`interrupted`, viewers stay, and after a wait that grows the next attempt begins a new epoch whose numbers and timeline
go on after the last. Meanwhile a slate may play (`headrace_ingress.filling`), in an epoch of its own; the stream is
`interrupted` all the same. Only a file that is played once is `ended`.

Who runs a source is decided by claims (`headrace.registry.contest`); a feed is told by its hold whether it may publish.
If another node publishes the stream with a newer epoch all the same, this feed stands by until that one is gone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.clock import Clock
from headrace.identifiers import Epoch, StreamName
from headrace.media.samples import PackagerOptions
from headrace.registry.records import StreamRecord
from headrace.registry.registry import Registry
from headrace.relay.broadcast import Broadcast
from headrace.transport.backoff import Backoff
from headrace.wire.stream import RouteHop, StreamState, Track
from headrace_ingress.attempt import Attempt
from headrace_ingress.events import GUILTY, Chunks, Closed, EpochOpened, Event, Held, Noted, Numbers, Ready
from headrace_ingress.filling import Filling
from headrace_ingress.hold import Hold
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.numbering import go_on_from, ring_numbers
from headrace_ingress.source import ChunkSource
from headrace_ingress.telling import Telling

NUMBERS_WAIT_SECONDS = 2.0
"""Longest wait for a stream's durable numbers at its first start; after it, numbers begin from UTC."""

READER_STOP_SECONDS = 1.0
"""Longest wait for a reader to end. A source that sends anything ends within a packet; one that hangs in a library does
not, and stopping must take less than two seconds in all."""

STEADY_SECONDS = 5.0
"""How long a source must have been live for its next break to be treated as the first."""

STANDBY_SECONDS = 0.5
"""How often a feed that stands by looks whether the other publisher is gone."""

MakeSource = Callable[[int], ChunkSource]
"""Makes a fresh source; told how many attempts in a row came to nothing."""

MakeSlate = Callable[[tuple[Track, ...]], ChunkSource]
"""Makes what fills in for a feed of these tracks."""


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """How feeds are cut, watched and retried; the settings groups `ingress` and `packager`."""

    packager: PackagerOptions = field(default_factory=PackagerOptions)
    retry_min_seconds: float = 0.5
    retry_max_seconds: float = 10.0
    silence_seconds: float = 0.9
    slate_after_seconds: float = 1.0


class Feed:
    """Keeps one stream fed while `run` runs; `close` takes leave of it.

    Args:
        name: of the stream.
        shown: where it comes from, without credentials.
        make_source: makes a source for each attempt.
        broadcast: what it writes to.
        registry: where the stream is announced.
        hold: whether it may be announced and published.
        hop: this process: the first hop of the stream's route.
        options: how it is cut and retried.
        clock, metrics: of this process.
        make_slate: makes what fills in while a source that was live is away; its attempts must be held then.
    """

    def __init__(
        self,
        name: StreamName,
        shown: str,
        make_source: MakeSource,
        broadcast: Broadcast,
        registry: Registry,
        hold: Hold,
        hop: RouteHop,
        options: FeedOptions,
        clock: Clock,
        metrics: IngressMetrics,
        make_slate: MakeSlate | None = None,
    ) -> None:
        self.name = name
        self._make_source = make_source
        self._broadcast = broadcast
        self._registry = registry
        self._hold = hold
        self._hop = hop
        self._options = options
        self._clock = clock
        self._metrics = metrics
        self._telling = Telling(name, shown, broadcast, registry, hold, hop, clock, metrics)
        self._attempt: Attempt | None = None
        self._failures = 0
        self._is_shut = False
        self._make_slate = make_slate
        self._tracks: tuple[Track, ...] = ()
        self._filling = Filling(
            None if make_slate is None else self._begin_slate,
            lambda: self._attempt,
            lambda: self._telling.numbers,
            options.slate_after_seconds,
        )

    @property
    def problem(self) -> str | None:
        """What is wrong, for `/health/ready`; `None` when all is well."""
        return self._telling.problem

    async def run(self) -> None:
        """Feed the stream; returns only when a source that is played once has ended. Cancel it to stop."""
        self._telling.set_state(StreamState.INTERRUPTED, "the source is being opened")
        self._telling.numbers = await self._first_numbers()
        backoff = Backoff(self._options.retry_min_seconds, self._options.retry_max_seconds)
        while True:
            closed, steady = await self._try()
            if closed.ended:
                self._end()
                return
            self._hold.facts["code"] = closed.code
            self._break(closed.reason)
            await self._stand_by()
            if steady and closed.code != GUILTY:
                backoff.reset()
            await asyncio.sleep(backoff.next(random.random()))

    def fence(self, other: StreamRecord) -> None:
        """Another node publishes the stream with a newer epoch: stop until it is gone."""
        self._telling.fenced_by = other
        self._filling.stop()
        if self._attempt is not None:
            self._attempt.stop()

    def reclaim(self) -> None:
        """Stand by no more: this node's publisher took over."""
        self._telling.fenced_by = None

    def shut(self) -> None:
        """Publish nothing more, from this moment on: another node has the source; to be cancelled soon."""
        self._is_shut = True
        self._filling.stop()
        if self._attempt is not None:
            self._attempt.stop()

    def finish(self) -> None:
        """Tell viewers that the stream is over, as somebody said; to be called before `close`."""
        if self._telling.state is not None and self._telling.state is not StreamState.ENDED:
            self._end()

    def close(self) -> None:
        """Tell viewers and registry that this node feeds the stream no more; `run` has returned or was cancelled."""
        self._filling.stop()
        self._telling.close()

    def announce(self) -> None:
        """Tell the registry where the stream stands."""
        self._telling.announce()

    # -- attempts -------------------------------------------------------------------------------------------------

    async def _try(self) -> tuple[Closed, bool]:
        """Run one attempt to its end; return its last word, and whether it had been live for long."""
        source = self._make_source(self._failures)
        attempt = self._attempt = Attempt(source, self._may_publish, self._take, self._clock)
        attempt.watch(self._options.silence_seconds, self._fall_silent)
        attempt.start(self._telling.numbers)
        if self._is_shut:
            attempt.stop()
        try:
            closed = await asyncio.shield(attempt.closed)
        finally:
            attempt.stop()
            if not attempt.closed.done():
                await self._abandon(attempt)
            self._attempt = None
            self._measure(attempt)
        self._failures = self._failures + 1 if attempt.live_at is None else 0
        lived = 0.0 if attempt.live_at is None else self._clock.monotonic() - attempt.live_at
        return closed, lived >= STEADY_SECONDS

    async def _abandon(self, attempt: Attempt) -> None:
        """Wait a moment for a reader that was told to stop; then leave it to end by itself."""
        await asyncio.wait([attempt.closed], timeout=READER_STOP_SECONDS)
        if not attempt.closed.done():
            self._metrics.abandoned.inc()
            self._telling.log.warning("reader_abandoned", seconds=READER_STOP_SECONDS)

    async def _stand_by(self) -> None:
        """While another node publishes the stream, wait."""
        if self._telling.fenced_by is None:
            return
        epoch = self._telling.fenced_by.epoch
        self._telling.log.warning("feed_stands_by", owner=self._telling.fenced_by.node, epoch=epoch)
        while (other := self._registry.streams.get(self.name)) is not None and other.node != self._hop.node:
            epoch = max(epoch, other.epoch)
            if self._telling.fenced_by is None:
                break
            self._telling.set_state(StreamState.INTERRUPTED, f"published by node {other.node}; this node stands by")
            await asyncio.sleep(STANDBY_SECONDS)
        self._telling.fenced_by = None
        durable = await self._durable_numbers()
        epoch = Epoch(max(epoch, durable.epoch))
        self._telling.go_on(Numbers(epoch, durable.next_segment, durable.end_seconds, durable.epochs))

    async def _first_numbers(self) -> Numbers:
        durable, ring = await self._durable_numbers(), ring_numbers(self._broadcast)
        # A stream whose last number nobody knows begins at the UTC second (docs/protocol.md, section 2.1).
        begin = max(durable.next_segment, ring.next_segment) or int(self._clock.utc())
        return Numbers(max(durable.epoch, ring.epoch), begin, durable.end_seconds, max(durable.epochs, ring.epochs))

    async def _durable_numbers(self) -> Numbers:
        try:
            async with asyncio.timeout(NUMBERS_WAIT_SECONDS):
                known = await self._registry.numbers(self.name)
        except TimeoutError:
            known = None
            self._telling.log.warning("numbers_unknown", reason="the registry did not answer in time")
        return go_on_from(known, self._clock.utc(), self._options.packager.segment_seconds)

    # -- events ---------------------------------------------------------------------------------------------------

    def _take(self, attempt: Attempt, events: list[Event]) -> None:
        """Take what a reader tells; called on the loop."""
        if attempt is not self._attempt:
            # An abandoned reader came back: its numbers were given to another since.
            return
        for event in events:
            match event:
                case EpochOpened(epoch, tracks):
                    attempt.is_numbering, self._tracks = True, tracks
                    self._telling.open(epoch, tracks)
                case Chunks():
                    self._publish(attempt, event)
                case Noted(text):
                    self._telling.note(text)
                case Held(numbers):
                    attempt.is_numbering = False
                    self._telling.go_on(numbers)
                    self._filling.held()
                case Ready():
                    self._filling.ready(attempt)
                case Closed():
                    self._telling.go_on(event.numbers)
                    if not attempt.closed.done():
                        attempt.closed.set_result(event)

    def _publish(self, attempt: Attempt, event: Chunks) -> None:
        """Publish what the source sent."""
        self._telling.publish(event)
        if attempt.live_at is None:
            attempt.live_at = self._clock.monotonic()
            self._go_live()
        elif self._telling.state is StreamState.INTERRUPTED and not event.is_rest:
            self._go_live()
        elif self._telling.announce_segment():
            self._measure(attempt)

    def _may_publish(self) -> bool:
        return self._hold.may_publish() and not self._is_shut

    def _fall_silent(self, attempt: Attempt, seconds: float) -> None:
        """Tell that nothing comes; whether the connection is given up is for the source to say."""
        if attempt is self._attempt and self._telling.state is StreamState.LIVE:
            self._break(f"silent for {seconds:.1f} s")

    def _go_live(self) -> None:
        self._filling.back()
        self._telling.live()

    def _break(self, reason: str) -> None:
        self._telling.broken(reason)
        has_picture = self._telling.was_live and any(track.kind == "video" for track in self._tracks)
        if has_picture and self._telling.fenced_by is None and not self._is_shut:
            self._filling.away()

    def _end(self) -> None:
        self._filling.stop()
        self._telling.ended()

    def _measure(self, attempt: Attempt) -> None:
        if self._telling.state is None:
            return  # closed, and its metrics forgotten
        self._metrics.feed_cpu_seconds.labels(self.name).inc(attempt.take_cpu_seconds())
        self._metrics.feed_waiting_bytes.labels(self.name).set(attempt.source.waiting_bytes)

    # -- the slate ------------------------------------------------------------------------------------------------

    def _begin_slate(self) -> Attempt:
        assert self._make_slate is not None
        slate = Attempt(self._make_slate(self._tracks), self._may_publish, self._take_slate, self._clock)
        slate.start(self._telling.numbers)
        return slate

    def _take_slate(self, slate: Attempt, events: list[Event]) -> None:
        """Take what the slate's reader tells: its media change no state."""
        if slate is not self._filling.slate:
            return
        for event in events:
            match event:
                case EpochOpened(epoch, tracks):
                    self._metrics.slates.inc()
                    self._telling.open(epoch, tracks)
                case Chunks():
                    self._telling.publish(event)
                    slate.live_at = slate.live_at or self._clock.monotonic()
                    self._telling.announce_segment()
                case Noted(text):
                    self._telling.note(text)
                case Closed(reason, numbers=numbers):
                    if reason:
                        self._telling.note(reason)
                    self._telling.go_on(numbers)
                    self._filling.ended()
