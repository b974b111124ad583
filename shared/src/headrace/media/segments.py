"""Segments and parts of one track as playlists and manifests name them; chunks stay what they are.

A segment's media is the media of its chunks, one after the other, and so is a part's: nothing is copied here, and what
one node makes of a chunk another makes of it too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from headrace.identifiers import Epoch
from headrace.wire.chunk import Chunk, Flag
from headrace.wire.stream import Track

PART_SLACK = 1.1
"""PART-TARGET over the nominal length of a part where frames have no fixed length: a part ends with the frame that is
nearest to its target, and none but a segment's last may be under 85 % of PART-TARGET."""

DEFAULT_TARGET_SECONDS = 7
"""EXT-X-TARGETDURATION where ingress declares nothing: the longest segment of the default settings."""


PARTS_SEGMENTS = 2
"""How many whole segments at the end are listed with their parts, beside the one that is being made. 8216bis, 4.4.4.9
has them leave after three target durations; most segments are far shorter than that, and strict readers count them."""


@dataclass(slots=True)
class Part:
    """An LL-HLS partial segment: whole chunks.

    Attributes:
        number: its place in the segment, from 0.
        start: decode time of its first sample, in ticks.
        duration: in ticks, so far.
        independent: whether decoding can begin with it.
        complete: whether nothing will be added to it.
        chunks: what it is made of.
    """

    number: int
    start: int
    independent: bool
    duration: int = 0
    complete: bool = False
    chunks: list[Chunk] = field(default_factory=list)


@dataclass(slots=True)
class Segment:
    """One segment of one track.

    Attributes:
        epoch: its publication.
        track: what it is of.
        number: its number in the stream, its media sequence number.
        start: decode time of its first sample, in ticks.
        duration: in ticks, so far.
        capture_us: UTC of its first sample in microseconds, 0 when that is lost.
        independent: whether decoding can begin with it.
        closed: whether nothing will be added to it.
        lost: whether something of it is missing, or it never had any media: then it is a gap.
        parts: in order, the last one perhaps not complete.
        next_chunk: the number of the chunk that must follow.
        bytes: of its media.
    """

    epoch: Epoch
    track: Track
    number: int
    start: int
    duration: int = 0
    capture_us: int = 0
    independent: bool = False
    closed: bool = False
    lost: bool = False
    parts: list[Part] = field(default_factory=list)
    next_chunk: int = 0
    bytes: int = 0
    _too_long: int | None = None
    """The first part that is longer than PART-TARGET: the source left out pictures. From there on, none is listed."""

    @property
    def end(self) -> int:
        """Decode time at which it ends so far, in ticks."""
        return self.start + self.duration

    @property
    def start_seconds(self) -> float:
        """Decode time of its first sample, in seconds."""
        return self.start / self.track.timescale

    @property
    def seconds(self) -> float:
        """How long it is so far."""
        return self.duration / self.track.timescale

    @property
    def end_seconds(self) -> float:
        """Decode time at which it ends so far, in seconds."""
        return self.end / self.track.timescale

    @property
    def parts_complete(self) -> int:
        """How many of its parts nothing will be added to."""
        if self.parts and not self.parts[-1].complete:
            return len(self.parts) - 1
        return len(self.parts)

    @property
    def parts_told(self) -> int:
        """How many of its parts were listed while it was made: those that are complete, up to one that is too long."""
        return self.parts_complete if self._too_long is None else min(self._too_long, self.parts_complete)

    @property
    def parts_listed(self) -> int:
        """How many of its parts playlists list: all that are complete; none when it is whole and one is too long."""
        return 0 if self.closed and self._too_long is not None else self.parts_told

    @property
    def listed_end(self) -> int:
        """Where its last listed part ends, in ticks."""
        complete = self.parts_listed
        if not complete:
            return self.start
        last = self.parts[complete - 1]
        return last.start + last.duration

    @property
    def listed_end_seconds(self) -> float:
        """Where what playlists list of it ends, in seconds."""
        return self.end_seconds if self.closed else self.listed_end / self.track.timescale

    def until(self, part: int) -> Segment:
        """Return it as it was when that part was complete: whole, if that was complete by the end of the segment."""
        last = self.parts[part].chunks[-1]
        completes_itself = bool(last.flags & Flag.END_OF_PART) and not last.ends_segment
        if self.closed and part == len(self.parts) - 1 and not completes_itself:
            return self
        return replace(self, parts=self.parts[: part + 1], closed=False)

    def leads_to(self, newer: Segment) -> bool:
        """Return whether nothing unknown lies between it and a newer one."""
        if self.number + 1 != newer.number or self.track.kind != newer.track.kind:
            return False
        return self.epoch == newer.epoch or self.track.discontinuity + 1 == newer.track.discontinuity

    def chunks(self) -> list[Chunk]:
        """Return its chunks with media, in order."""
        return [chunk for part in self.parts for chunk in part.chunks]

    def add(self, chunk: Chunk) -> None:
        """Add its next chunk; whoever calls has seen that none is missing."""
        self.next_chunk = chunk.id.chunk + 1
        if chunk.samples:
            self._add_media(chunk)
        if chunk.ends_segment:
            self.close()

    def close(self) -> None:
        """Nothing will be added any more."""
        self.closed = True
        if self.parts:
            self.parts[-1].complete = True
        else:
            self.lost = True

    def lose(self, end: int) -> None:
        """Something of it is missing: it is a gap that ends at `end` ticks."""
        self.closed = self.lost = True
        self.capture_us = 0
        self.duration = max(0, end - self.start)
        self.parts.clear()
        self.bytes = 0

    def _add_media(self, chunk: Chunk) -> None:
        if not self.parts:
            self.start = chunk.decode_time
            self.capture_us = chunk.capture_us
            self.independent = chunk.random_access
        if not self.parts or self.parts[-1].number != chunk.part:
            if self.parts:
                self.parts[-1].complete = True
            self.parts.append(Part(chunk.part, chunk.decode_time, chunk.random_access))
        part = self.parts[-1]
        part.chunks.append(chunk)
        part.duration = chunk.decode_time + chunk.duration - part.start
        part.complete = bool(chunk.flags & Flag.END_OF_PART)
        if self._too_long is None and part.duration > part_target(self.track) * self.track.timescale + 1:
            self._too_long = len(self.parts) - 1
        self.duration = chunk.decode_time + chunk.duration - self.start
        self.bytes += len(chunk.media)


def whole_segment(lost: Segment, chunks: Iterable[Chunk]) -> Segment | None:
    """Return what `lost` would be with `chunks`, `None` where that is not all of it."""
    made: Segment | None = None
    for chunk in chunks:
        made = made or Segment(lost.epoch, lost.track, lost.number, chunk.decode_time)
        if chunk.id.chunk > made.next_chunk:
            return None
        if chunk.id.chunk == made.next_chunk:
            made.add(chunk)
    return made if made is not None and made.closed and not made.lost else None


def target_seconds(track: Track) -> int:
    """Return EXT-X-TARGETDURATION: the longest that ingress makes a segment, in whole seconds."""
    return math.ceil(round(track.segment_max_seconds, 3)) or DEFAULT_TARGET_SECONDS


def part_target(track: Track) -> float:
    """Return PART-TARGET in seconds: no part of the track is longer."""
    nominal = track.part_seconds or 1.0
    fixed = track.kind == "audio" or track.frame_rate > 0
    return math.ceil((nominal if fixed else nominal * PART_SLACK) * 100_000 - 1e-6) / 100_000


def media_bytes(chunks: list[Chunk]) -> bytes:
    """Return the media of `chunks`, one after the other."""
    return b"".join([chunk.media for chunk in chunks])
