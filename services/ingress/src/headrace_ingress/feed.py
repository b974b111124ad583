"""A feed: one stream's life in this node, from the first attempt at its source to its removal.

Theory of operation
-------------------
A feed runs on the event loop and owns no media. Each attempt at the source is a `Reader` in a thread of its own, mostly
of a worker process (`headrace_ingress.workers`); what it tells arrives as events, is written to the stream's broadcast,
and once in a segment to the registry. When a source falls silent (`headrace_ingress.rhythm`) the stream is
`interrupted`, and `live` again when media come before the source is given up. When an attempt ends, the stream is
`interrupted`, viewers stay, and after a wait that grows the next attempt begins a new epoch whose numbers and timeline
go on after the last. Only a file that is played once is `ended`.

Who runs a source is decided by claims (`headrace.registry.contest`); a feed is told by its hold whether it may publish.
If another node publishes the stream with a newer epoch all the same, this feed stands by until that one is gone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from headrace.clock import Clock
from headrace.identifiers import Epoch, StreamName
from headrace.media.samples import PackagerOptions
from headrace.registry.records import StreamRecord
from headrace.registry.registry import Registry
from headrace.relay.broadcast import Broadcast
from headrace.transport.backoff import Backoff
from headrace.wire.stream import RouteHop, StreamState, Track
from headrace_ingress.announced import Announced, summary
from headrace_ingress.attempt import Attempt
from headrace_ingress.events import GUILTY, Chunks, Closed, EpochOpened, Event, Noted, Numbers
from headrace_ingress.hold import Hold
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.numbering import go_on_from, ring_numbers
from headrace_ingress.source import ChunkSource

NUMBERS_WAIT_SECONDS = 2.0
"""Longest wait for a stream's durable numbers at its first start; after it, numbers begin from UTC."""

READER_STOP_SECONDS = 1.0
"""Longest wait for a reader to end. A source that sends anything ends within a packet; one that hangs in a library does
not, and stopping must take less than two seconds in all."""

STEADY_SECONDS = 5.0
"""How long a source must have been live for its next break to be treated as the first."""

STANDBY_SECONDS = 0.5
"""How often a feed that stands by looks whether the other publisher is gone."""

REASON_MAX_CHARACTERS = 500
"""Longest reason (docs/protocol.md, section 1.2)."""

NOTES_MAX = 32
"""Most different notes of a feed that are logged: each is told once."""

log = structlog.get_logger(__name__)

MakeSource = Callable[[int], ChunkSource]
"""Makes a fresh source; told how many attempts in a row came to nothing."""


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """How feeds are cut, watched and retried; the settings groups `ingress` and `packager`."""

    packager: PackagerOptions = field(default_factory=PackagerOptions)
    retry_min_seconds: float = 0.5
    retry_max_seconds: float = 10.0
    silence_seconds: float = 0.9


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
        self._log = log.bind(stream=name, source=shown)
        self._numbers = Numbers(Epoch(0), 0, 0.0)
        self._attempt: Attempt | None = None
        self._failures = 0
        self._is_shut = False
        self._fenced_by: StreamRecord | None = None
        self._state: StreamState | None = None
        self._was_live = False
        self._told_broken = False
        self._broken_at = 0.0
        self._notes: set[str] = set()
        self._is_opening = False
        self._announced_segment = -1
        self._announced = Announced(registry)

    @property
    def problem(self) -> str | None:
        """What is wrong, for `/health/ready`; `None` when all is well."""
        return self._announced.problem

    async def run(self) -> None:
        """Feed the stream; returns only when a source that is played once has ended. Cancel it to stop."""
        self._set_state(StreamState.INTERRUPTED, "the source is being opened")
        self._numbers = await self._first_numbers()
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
        self._fenced_by = other
        if self._attempt is not None:
            self._attempt.stop()

    def reclaim(self) -> None:
        """Stand by no more: this node's publisher took over."""
        self._fenced_by = None

    def shut(self) -> None:
        """Publish nothing more, from this moment on: another node has the source; to be cancelled soon."""
        self._is_shut = True
        if self._attempt is not None:
            self._attempt.stop()

    def finish(self) -> None:
        """Tell viewers that the stream is over, as somebody said; to be called before `close`."""
        if self._state is not None and self._state is not StreamState.ENDED:
            self._end()

    def close(self) -> None:
        """Tell viewers and registry that this node feeds the stream no more; `run` has returned or was cancelled."""
        if self._state is None:
            return
        if self._state is not StreamState.ENDED:
            self._set_state(StreamState.INTERRUPTED, "the ingress node stops this feed")
        self._registry.drop_stream(self.name)
        self._metrics.feeds.labels(self._state.value).dec()
        self._metrics.forget(self.name)
        self._state = None
        self._log.info("feed_closed", next_segment=self._numbers.next_segment)

    # -- attempts -------------------------------------------------------------------------------------------------

    async def _try(self) -> tuple[Closed, bool]:
        """Run one attempt to its end; return its last word, and whether it had been live for long."""
        source = self._make_source(self._failures)
        attempt = self._attempt = Attempt(
            source,
            self._may_publish,
            self._take,
            self._fall_silent,
            self._options.silence_seconds,
            self._clock,
        )
        attempt.start(self._numbers)
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
            self._log.warning("reader_abandoned", seconds=READER_STOP_SECONDS)

    async def _stand_by(self) -> None:
        """While another node publishes the stream, wait."""
        if self._fenced_by is None:
            return
        epoch = self._fenced_by.epoch
        self._log.warning("feed_stands_by", owner=self._fenced_by.node, epoch=epoch)
        while (other := self._registry.streams.get(self.name)) is not None and other.node != self._hop.node:
            epoch = max(epoch, other.epoch)
            if self._fenced_by is None:
                break
            self._set_state(StreamState.INTERRUPTED, f"published by node {other.node}; this node stands by")
            await asyncio.sleep(STANDBY_SECONDS)
        self._fenced_by = None
        durable = await self._durable_numbers()
        epoch = Epoch(max(epoch, durable.epoch))
        self._go_on(Numbers(epoch, durable.next_segment, durable.end_seconds, durable.epochs))

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
            self._log.warning("numbers_unknown", reason="the registry did not answer in time")
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
                    self._open(epoch, tracks)
                case Chunks():
                    self._publish(attempt, event)
                case Noted(text):
                    self._note(text)
                case Closed():
                    self._go_on(event.numbers)
                    if not attempt.closed.done():
                        attempt.closed.set_result(event)

    def _open(self, epoch: Epoch, tracks: tuple[Track, ...]) -> None:
        self._metrics.epochs.inc()
        self._broadcast.open(epoch, tracks)
        self._is_opening = True
        self.announce()

    def _publish(self, attempt: Attempt, event: Chunks) -> None:
        now = self._clock.utc()
        for chunk in event.chunks:
            self._broadcast.append(chunk)
            self._metrics.chunk_bytes.inc(len(chunk.record))
            if chunk.samples:
                self._metrics.capture_to_publish.observe(max(0.0, now - chunk.capture_us / 1_000_000))
        self._metrics.chunks.inc(len(event.chunks))
        self._is_opening = False
        self._go_on(event.numbers)
        if attempt.live_at is None:
            attempt.live_at = self._clock.monotonic()
            self._go_live()
        elif self._state is StreamState.INTERRUPTED and not event.is_rest:
            self._go_live()
        elif event.numbers.next_segment != self._announced_segment:
            self.announce()
            self._measure(attempt)

    def _may_publish(self) -> bool:
        return self._hold.may_publish() and not self._is_shut

    def _fall_silent(self, attempt: Attempt, seconds: float) -> None:
        """Tell that nothing comes; whether the connection is given up is for the source to say."""
        if attempt is self._attempt and self._state is StreamState.LIVE:
            self._break(f"silent for {seconds:.1f} s")

    def _measure(self, attempt: Attempt) -> None:
        if self._state is None:
            return  # closed, and its metrics forgotten
        self._metrics.feed_cpu_seconds.labels(self.name).inc(attempt.take_cpu_seconds())
        self._metrics.feed_waiting_bytes.labels(self.name).set(attempt.source.waiting_bytes)

    def _note(self, text: str) -> None:
        if text not in self._notes and len(self._notes) < NOTES_MAX:
            self._notes.add(text)
            self._log.warning("feed_note", note=text)

    def _go_on(self, numbers: Numbers) -> None:
        """Take over numbers; none of them ever runs backwards."""
        self._numbers = Numbers(
            max(self._numbers.epoch, numbers.epoch),
            max(self._numbers.next_segment, numbers.next_segment),
            max(self._numbers.end_seconds, numbers.end_seconds),
            max(self._numbers.epochs, numbers.epochs),
        )

    # -- states ---------------------------------------------------------------------------------------------------

    def _go_live(self) -> None:
        self._hold.facts.pop("code", None)
        self._set_state(StreamState.LIVE)
        codecs = [track.codec for track in self._broadcast.tracks.values()]
        if self._told_broken:
            away = round(self._clock.monotonic() - self._broken_at, 3)
            self._log.info("feed_back", epoch=self._broadcast.epoch, tracks=codecs, away_seconds=away)
        elif not self._was_live:
            self._log.info("feed_live", epoch=self._broadcast.epoch, tracks=codecs)
        self._was_live, self._told_broken = True, False

    def _break(self, reason: str) -> None:
        if self._state is StreamState.LIVE:
            self._metrics.breaks.inc()
        if not self._told_broken and self._fenced_by is None:
            # One line for each break: attempts that fail after it change the reason that is shown, not the log.
            self._told_broken = True
            self._broken_at = self._clock.monotonic()
            self._log.warning("feed_broken", reason=reason)
        self._set_state(StreamState.INTERRUPTED, reason)

    def _end(self) -> None:
        self._log.info("feed_ended", segments_until=self._numbers.next_segment)
        self._set_state(StreamState.ENDED, "the source is over")

    def _set_state(self, state: StreamState, reason: str = "") -> None:
        if state is not self._state:
            if self._state is not None:
                self._metrics.feeds.labels(self._state.value).dec()
            self._metrics.feeds.labels(state.value).inc()
        self._state = state
        self._broadcast.set_state(state, reason[:REASON_MAX_CHARACTERS], (self._hop,))
        self._hold.tell(state.value, reason[:REASON_MAX_CHARACTERS])
        self.announce()

    def announce(self) -> None:
        """Tell the registry where the stream stands, if it is this node's to tell.

        Before the first epoch it is told with epoch 0, so that a feed which cannot be opened is seen; such a record
        yields to every other, and is not written where there is one. An epoch is told with its first segment when it
        opens: a publisher that dies as it begins has told what it used.
        """
        epoch = self._broadcast.epoch
        if not self._hold.is_claimed or self._fenced_by is not None or (epoch == 0 and self._is_published_elsewhere()):
            return
        next_segment = self._announced_segment = self._numbers.next_segment + self._is_opening
        state = StreamState.INTERRUPTED if self._state is None else self._state
        self._announced.keep(
            StreamRecord(
                stream=self.name,
                node=self._hop.node,
                epoch=epoch,
                state=state.value,
                next_segment=next_segment,
                end_seconds=self._numbers.end_seconds,
                epochs=self._numbers.epochs + self._is_opening,
                tracks=tuple(summary(track) for track in self._broadcast.tracks.values()),
            )
        )

    def _is_published_elsewhere(self) -> bool:
        known = self._registry.streams.get(self.name)
        return known is not None and known.epoch > 0
