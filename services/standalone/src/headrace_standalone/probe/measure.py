"""What a probe finds out about a stream: pure arithmetic over chunks and messages.

A chunk's identity says whether one is missing and which; its capture time, read on the edge's clock, how old it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.identifiers import ChunkId
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track

LATENCIES_MAX = 100_000
"""Latencies kept, the newest: more than an hour of video and audio in chunks of 100 ms."""

CLOCK_SAMPLES = 8
"""Newest exchanges of time of which the one with the shortest round trip is believed."""

RATE_SECONDS = 5.0
"""Time over which bitrates are taken: two segments and a half of the default length."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Chunks of one track that did not come.

    Attributes:
        after: the last chunk had before them, `None` when there was none.
        before: the next chunk that came or was announced.
        chunks: how many at least; whole segments among them have a number of chunks that nobody told.
        told: whether the edge said so, rather than it being seen.
    """

    after: ChunkId | None
    before: ChunkId
    chunks: int
    told: bool

    def __str__(self) -> str:
        return f"{self.after or 'the beginning'} .. {self.before} ({self.chunks} or more)"


class Continuity:
    """Follows the chunk identities of one track.

    Attributes:
        chunks: how many came.
        duplicates: how many came again, or too late.
        missing: how many did not come, at least.
        last: the newest one.
    """

    def __init__(self) -> None:
        self.chunks = 0
        self.duplicates = 0
        self.missing = 0
        self.last: Chunk | None = None
        self._next: ChunkId | None = None

    def add(self, chunk: Chunk) -> Missing | None:
        """Take a chunk; return what is missing before it, if anything is."""
        last, told = self.last, self._next
        if last is not None and chunk.id.position <= last.id.position:
            self.duplicates += 1
            return None
        self.last, self._next = chunk, None
        self.chunks += 1
        if last is None or follows(last, chunk.id) or told == chunk.id:
            return None
        return self._miss(last, chunk.id, told=False)

    def announce(self, next: ChunkId) -> Missing | None:
        """Take the edge's word that nothing before `next` will come."""
        last = self.last
        if last is not None and (next.position <= last.id.position or follows(last, next)):
            return None
        self._next = next
        return self._miss(last, next, told=True)

    def _miss(self, last: Chunk | None, next: ChunkId, told: bool) -> Missing:
        missing = Missing(last.id if last else None, next, _count(last, next), told)
        self.missing += missing.chunks
        return missing


def follows(last: Chunk, next: ChunkId) -> bool:
    """Return whether nothing is missing between two chunks of a track, which may be of different epochs.

    A new epoch begins with the segment after the last one; an ingress that died could not close that one.
    """
    if next.epoch == last.id.epoch:
        return last.is_followed_by(next)
    return next.chunk == 0 and next.segment == last.id.segment + 1


def _count(last: Chunk | None, next: ChunkId) -> int:
    if last is None or last.id.segment == next.segment:
        return max(1, next.chunk - (last.id.chunk + 1 if last else 0))
    whole = next.segment - last.id.segment - 1
    closed = last.ends_segment or next.epoch > last.id.epoch  # an ingress that died could not close its last one
    return max(1, whole + next.chunk + (0 if closed else 1))


class EdgeClock:
    """The difference between the edge's clock and ours, from exchanges of time (RFC 5905, section 8)."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=CLOCK_SAMPLES)

    def add(self, sent_us: int, edge_us: int, received_us: int) -> None:
        """Take one exchange: our clock before and after, the edge's between."""
        self._samples.append((received_us - sent_us, edge_us - (sent_us + received_us) // 2))

    @property
    def offset_us(self) -> int:
        """What to add to our clock to get the edge's; 0 before the first exchange."""
        return min(self._samples)[1] if self._samples else 0

    @property
    def round_trip_us(self) -> int | None:
        """The shortest recent round trip."""
        return min(self._samples)[0] if self._samples else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that is not below `share` (0 to 1) of all; `None` when there is none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(slots=True)
class TrackFigures:
    """What is known of one track.

    Attributes:
        continuity: its chunks by identity.
        track: what the edge told about it.
        bytes: of all its chunk records.
        recent: moment and size of each chunk of the last `RATE_SECONDS`.
    """

    continuity: Continuity = field(default_factory=Continuity)
    track: Track | None = None
    bytes: int = 0
    recent: deque[tuple[float, int]] = field(default_factory=deque)

    def count(self, size: int, now: float) -> None:
        """Add a chunk record of `size` bytes."""
        self.bytes += size
        self.recent.append((now, size))
        while self.recent[0][0] < now - RATE_SECONDS:
            self.recent.popleft()

    def bits_per_second(self, now: float, since: float) -> float:
        """Return the recent bitrate; `since` is when measuring began."""
        newest = [size for moment, size in self.recent if moment >= now - RATE_SECONDS]
        return 8 * sum(newest) / max(0.1, min(RATE_SECONDS, now - since))


class Measurement:
    """Everything a probe knows about its stream.

    Args:
        began: monotonic time, in seconds, as all times here.
    """

    def __init__(self, began: float) -> None:
        self.began = began
        self.clock = EdgeClock()
        self.tracks: dict[int, TrackFigures] = {}
        self.latencies_ms: deque[float] = deque(maxlen=LATENCIES_MAX)
        self.state = "connecting"
        self.reason = ""
        self.edge = ""
        self.route: tuple[str, ...] = ()
        self.epochs = 0
        self.connections = 0
        self.skipped = 0
        self.longest_pause = 0.0
        self._last_chunk: float | None = None
        self._live_from_us = 0

    def join(self, utc_us: int) -> None:
        """Joining begins, at our UTC: what was captured before is older than the network could make it."""
        self._live_from_us = utc_us

    def open(self, tracks: Iterable[Track]) -> None:
        """An epoch begins with these tracks."""
        self.epochs += 1
        for track in tracks:
            self.tracks.setdefault(track.track, TrackFigures()).track = track

    def add(self, chunk: Chunk, now: float, utc_us: int) -> Missing | None:
        """Take a chunk that came at `now`, when our UTC was `utc_us`; return what is missing before it."""
        figures = self.tracks.setdefault(chunk.id.track, TrackFigures())
        figures.count(len(chunk.record), now)
        offset_us = self.clock.offset_us
        if chunk.media and chunk.capture_us >= self._live_from_us + offset_us:
            self.latencies_ms.append((utc_us + offset_us - chunk.capture_us) / 1000)
        if self._last_chunk is not None:
            self.longest_pause = max(self.longest_pause, now - self._last_chunk)
        self._last_chunk = now
        return figures.continuity.add(chunk)

    def announce(self, next: ChunkId) -> Missing | None:
        """Take the edge's word that chunks of a track before `next` will not come."""
        return self.tracks.setdefault(next.track, TrackFigures()).continuity.announce(next)

    def after(self) -> dict[int, tuple[int, int, int]] | None:
        """Return the last chunk had of each track, `None` when there is none: where to go on."""
        last = {number: figures.continuity.last for number, figures in self.tracks.items()}
        return {number: chunk.id.position for number, chunk in last.items() if chunk is not None} or None

    @property
    def chunks(self) -> int:
        """How many chunks came, of all tracks."""
        return sum(figures.continuity.chunks for figures in self.tracks.values())

    @property
    def missing(self) -> int:
        """How many chunks did not come, at least."""
        return sum(figures.continuity.missing for figures in self.tracks.values())

    @property
    def duplicates(self) -> int:
        """How many chunks came again."""
        return sum(figures.continuity.duplicates for figures in self.tracks.values())

    def summary(self, now: float) -> dict[str, Any]:
        """Return all figures, as they are printed with --json."""
        return {
            "state": self.state,
            "reason": self.reason,
            "edge": self.edge,
            "route": list(self.route),
            "seconds": round(now - self.began, 3),
            "connections": self.connections,
            "epochs": self.epochs,
            "chunks": self.chunks,
            "missing": self.missing,
            "duplicates": self.duplicates,
            "skipped": self.skipped,
            "longest_pause_ms": round(self.longest_pause * 1000, 1),
            "latency_ms": self.latency(),
            "clock_offset_ms": round(self.clock.offset_us / 1000, 3),
            "tracks": {str(number): self._track(figures, now) for number, figures in sorted(self.tracks.items())},
        }

    def latency(self) -> dict[str, float | None]:
        """Return percentiles of the time from capture to here, in milliseconds."""
        values = list(self.latencies_ms)
        shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        found = {name: percentile(values, share) for name, share in shares.items()}
        return {name: None if value is None else round(value, 1) for name, value in found.items()}

    def _track(self, figures: TrackFigures, now: float) -> dict[str, Any]:
        return {
            "kind": figures.track.kind if figures.track else None,
            "codec": figures.track.codec if figures.track else None,
            "chunks": figures.continuity.chunks,
            "missing": figures.continuity.missing,
            "duplicates": figures.continuity.duplicates,
            "bytes": figures.bytes,
            "bits_per_second": round(figures.bits_per_second(now, self.began)),
            "last": str(figures.continuity.last.id) if figures.continuity.last else None,
        }
