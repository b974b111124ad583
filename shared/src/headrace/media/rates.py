"""What tracks take, measured segment by segment at their source, and when that is to be declared anew. Pure.

Sources do not know: a camera tells what its encoder is set to, a publisher what it was set to once, most tell nothing.
So an epoch begins with what its tracks took in the epoch before or, failing that, with what the source says or an
estimate; and what was declared is corrected at the end of a segment where it turned out to be wrong. Everybody hears
that at the same chunk (docs/protocol.md, section 2.3).

The peak is that of single segments: never less than the peak segment bit rate of HLS (8216bis, 4.1), which is taken
over segments that together are about as long as the target duration.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from headrace.identifiers import Epoch
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track

REMEMBERED_SEGMENTS = 64
"""Segments that rates are taken over: two minutes, longer than a scene and shorter than a programme."""

SHORT_SHARE = 0.5
"""A segment that is shorter than this share of the target says nothing: it is an epoch's rest, mostly keyframe."""

HEADROOM = 1.1
"""Declared peak over the highest measured one: what is declared may be exceeded by about as much (HLS authoring)."""

LOW = 1.5
"""How many times less than measured before a track may take: players choose by what is declared, and nobody gains by
corrections of a few per cent."""

ROUND_BITS = 1000
"""What is declared is rounded up to a multiple of this."""


@dataclass(slots=True)
class _Measured:
    """One track of an epoch.

    Attributes:
        track: as declared.
        is_known: whether what is declared of it was measured.
        segments: bits and seconds of the last ones.
        bits, ticks: of the segment that is being made.
    """

    track: Track
    is_known: bool = False
    segments: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_SEGMENTS))
    bits: int = 0
    ticks: int = 0

    def take(self, chunk: Chunk) -> bool:
        """Count a chunk; return whether what is declared was corrected with it."""
        self.bits += 8 * len(chunk.media)
        self.ticks += chunk.duration
        if not chunk.ends_segment:
            return False
        bits, seconds = self.bits, self.ticks / self.track.timescale
        self.bits = self.ticks = 0
        if seconds <= 0 or seconds < SHORT_SHARE * self.track.segment_seconds:
            return False
        self.segments.append((bits, seconds))
        return self._correct()

    def _correct(self) -> bool:
        peak = max(bits / seconds for bits, seconds in self.segments)
        average = sum(bits for bits, _ in self.segments) / sum(seconds for _, seconds in self.segments)
        declared, mean = self.track.bandwidth, self.track.average_bandwidth
        is_over = peak > declared or average > mean * HEADROOM
        low = LOW if self.is_known else HEADROOM
        is_sure = not self.is_known or len(self.segments) == REMEMBERED_SEGMENTS
        is_under = is_sure and (peak * HEADROOM * low < declared or average * low < mean)
        self.is_known = True
        if not is_over and not is_under:
            return False
        self.track = msgspec.structs.replace(
            self.track, bandwidth=_rounded(peak * HEADROOM), average_bandwidth=_rounded(average)
        )
        return True


class Rates:
    """What the tracks of one stream take, over all its epochs."""

    def __init__(self) -> None:
        self._epoch = Epoch(0)
        self._tracks: dict[int, _Measured] = {}

    def begin(self, epoch: Epoch, tracks: Iterable[Track]) -> tuple[Track, ...]:
        """Return what to declare of an epoch's tracks: what is known of those that are like the last epoch's."""
        before, self._epoch, self._tracks = self._tracks, epoch, {}
        for track in tracks:
            known = before.get(track.track)
            measured = self._tracks[track.track] = _Measured(track)
            if known is not None and known.segments and _kind(known.track) == _kind(track):
                rates = {"bandwidth": known.track.bandwidth, "average_bandwidth": known.track.average_bandwidth}
                measured.track = msgspec.structs.replace(track, **rates)
                measured.is_known, measured.segments = True, known.segments
        return self._declared()

    def take(self, chunk: Chunk) -> tuple[Track, ...] | None:
        """Count a chunk of the epoch; return all tracks anew when it ended a segment by which a rate is corrected."""
        measured = self._tracks.get(chunk.id.track)
        if measured is None or chunk.id.epoch != self._epoch or not measured.take(chunk):
            return None
        return self._declared()

    def _declared(self) -> tuple[Track, ...]:
        return tuple(measured.track for measured in self._tracks.values())


def _kind(track: Track) -> tuple[object, ...]:
    """Return what makes a track take as much as another."""
    return track.kind, track.codec, track.width, track.height, track.frame_rate, track.sample_rate, track.channels


def _rounded(bits: float) -> int:
    return math.ceil(round(bits) / ROUND_BITS) * ROUND_BITS
