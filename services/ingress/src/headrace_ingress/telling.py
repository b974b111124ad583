"""What is told of a feed: to viewers by its broadcast, to the cluster by the registry, to operators by its log."""

from __future__ import annotations

import structlog

from headrace.clock import Clock
from headrace.identifiers import Epoch, StreamName
from headrace.registry.records import StreamRecord
from headrace.registry.registry import Registry
from headrace.relay.broadcast import Broadcast
from headrace.wire.stream import RouteHop, StreamState, Track
from headrace_ingress.announced import Announced, summary
from headrace_ingress.declaring import Declaring
from headrace_ingress.events import Chunks, Numbers
from headrace_ingress.hold import Hold
from headrace_ingress.metrics import IngressMetrics

REASON_MAX_CHARACTERS = 500
"""Longest reason (docs/protocol.md, section 1.2)."""

NOTES_MAX = 32
"""Most different notes of a feed that are logged: each is told once."""

log = structlog.get_logger(__name__)


class Telling:
    """Where one stream stands, and who is told.

    Args:
        name: of the stream.
        shown: where it comes from, without credentials.
        broadcast: what is written to.
        registry: where the stream is announced.
        hold: whether it may be announced.
        hop: this process: the first hop of the stream's route.
        clock, metrics: of this process.

    Attributes:
        numbers: where they stand.
        state: as told; `None` before the first and after the last word.
        fenced_by: another node's record of the stream, whose epoch is newer.
        was_live: whether it ever was.
    """

    def __init__(
        self,
        name: StreamName,
        shown: str,
        broadcast: Broadcast,
        registry: Registry,
        hold: Hold,
        hop: RouteHop,
        clock: Clock,
        metrics: IngressMetrics,
    ) -> None:
        self.numbers = Numbers(Epoch(0), 0, 0.0)
        self.state: StreamState | None = None
        self.fenced_by: StreamRecord | None = None
        self.was_live = False
        self.log = log.bind(stream=name, source=shown)
        self._name = name
        self._broadcast = broadcast
        self._declaring = Declaring(broadcast)
        self._registry = registry
        self._hold = hold
        self._hop = hop
        self._clock = clock
        self._metrics = metrics
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

    # -- media ----------------------------------------------------------------------------------------------------

    def open(self, epoch: Epoch, tracks: tuple[Track, ...]) -> None:
        """An epoch begins."""
        self._metrics.epochs.inc()
        self._declaring.open(epoch, tracks)
        self._is_opening = True
        self.announce()

    def publish(self, event: Chunks) -> None:
        """Publish chunks."""
        now = self._clock.utc()
        for chunk in event.chunks:
            self._declaring.append(chunk)
            self._metrics.chunk_bytes.inc(len(chunk.record))
            if chunk.samples:
                self._metrics.capture_to_publish.observe(max(0.0, now - chunk.capture_us / 1_000_000))
        self._metrics.chunks.inc(len(event.chunks))
        self._is_opening = False
        self.go_on(event.numbers)

    def announce_segment(self) -> bool:
        """Announce a segment that has begun; return whether one has."""
        has_begun = self.numbers.next_segment != self._announced_segment
        if has_begun:
            self.announce()
        return has_begun

    def go_on(self, numbers: Numbers) -> None:
        """Take over numbers; none of them ever runs backwards."""
        self.numbers = Numbers(
            max(self.numbers.epoch, numbers.epoch),
            max(self.numbers.next_segment, numbers.next_segment),
            max(self.numbers.end_seconds, numbers.end_seconds),
            max(self.numbers.epochs, numbers.epochs),
        )

    def note(self, text: str) -> None:
        """Log a note, once."""
        if text not in self._notes and len(self._notes) < NOTES_MAX:
            self._notes.add(text)
            self.log.warning("feed_note", note=text)

    # -- states ---------------------------------------------------------------------------------------------------

    def live(self) -> None:
        """Media of the source are carried."""
        self._hold.facts.pop("code", None)
        self.set_state(StreamState.LIVE)
        codecs = [track.codec for track in self._broadcast.tracks.values()]
        if self._told_broken:
            away = round(self._clock.monotonic() - self._broken_at, 3)
            self.log.info("feed_back", epoch=self._broadcast.epoch, tracks=codecs, away_seconds=away)
        elif not self.was_live:
            self.log.info("feed_live", epoch=self._broadcast.epoch, tracks=codecs)
        self.was_live, self._told_broken = True, False

    def broken(self, reason: str) -> None:
        """The source is away."""
        if self.state is StreamState.LIVE:
            self._metrics.breaks.inc()
        if not self._told_broken and self.fenced_by is None:
            # One line for each break: attempts that fail after it change the reason that is shown, not the log.
            self._told_broken = True
            self._broken_at = self._clock.monotonic()
            self.log.warning("feed_broken", reason=reason)
        self.set_state(StreamState.INTERRUPTED, reason)

    def ended(self) -> None:
        """The stream is over."""
        self.log.info("feed_ended", segments_until=self.numbers.next_segment)
        self.set_state(StreamState.ENDED, "the source is over")

    def close(self) -> None:
        """This node feeds the stream no more."""
        if self.state is None:
            return
        if self.state is not StreamState.ENDED:
            self.set_state(StreamState.INTERRUPTED, "the ingress node stops this feed")
        self._registry.drop_stream(self._name)
        self._metrics.feeds.labels(self.state.value).dec()
        self._metrics.forget(self._name)
        self.state = None
        self.log.info("feed_closed", next_segment=self.numbers.next_segment)

    def set_state(self, state: StreamState, reason: str = "") -> None:
        """Tell a state."""
        if state is not self.state:
            if self.state is not None:
                self._metrics.feeds.labels(self.state.value).dec()
            self._metrics.feeds.labels(state.value).inc()
        self.state = state
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
        if not self._hold.is_claimed or self.fenced_by is not None or (epoch == 0 and self._is_published_elsewhere()):
            return
        next_segment = self._announced_segment = self.numbers.next_segment + self._is_opening
        state = StreamState.INTERRUPTED if self.state is None else self.state
        self._announced.keep(
            StreamRecord(
                stream=self._name,
                node=self._hop.node,
                epoch=epoch,
                state=state.value,
                next_segment=next_segment,
                end_seconds=self.numbers.end_seconds,
                epochs=self.numbers.epochs + self._is_opening,
                tracks=tuple(summary(track) for track in self._broadcast.tracks.values()),
            )
        )

    def _is_published_elsewhere(self) -> bool:
        known = self._registry.streams.get(self._name)
        return known is not None and known.epoch > 0
