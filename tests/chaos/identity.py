"""What a viewer checks: every chunk once, in order, and nothing between two chunks. Pure.

It reads the first 48 bytes of a chunk record (docs/protocol.md, 2.2) by itself: a check that trusted the code it checks
would prove little.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

HEADER = struct.Struct(">BBBBIQQQIHHQ")
END_OF_SEGMENT = 4
DETAILS_MAX = 5
"""Most faults of one viewer that are told in words."""

Position = tuple[int, int, int]
"""Epoch, segment, chunk."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The part of a chunk record that the check needs."""

    track: int
    position: Position
    ends_segment: bool
    capture_us: int
    size: int


def read_identity(record: bytes) -> Identity:
    """Return the identity at the beginning of a chunk record.

    Raises:
        ValueError: when it is none.
    """
    if len(record) < HEADER.size or record[0] != 1:
        raise ValueError(f"no chunk record: {record[:8].hex()}")
    _, track, flags, _, chunk, epoch, segment, _, _, _, _, capture_us = HEADER.unpack_from(record)
    return Identity(track, (epoch, segment, chunk), bool(flags & END_OF_SEGMENT), capture_us, len(record))


def missing_between(last: Identity, next: Identity) -> int:
    """Return how many chunks of a track are missing between two of them: at least, as nobody told the size of segments.

    A new epoch begins with chunk 0 of the segment after the last one; an ingress that died could not close that one.
    """
    (epoch, segment, chunk), (next_epoch, next_segment, next_chunk) = last.position, next.position
    if next_segment == segment and next_epoch == epoch:
        return (next_chunk - chunk - 1) if not last.ends_segment else 1
    rest = 0 if last.ends_segment or next_epoch > epoch else 1
    return max(0, next_segment - segment - 1) + next_chunk + rest


@dataclass(slots=True)
class Figures:
    """What one viewer saw since `begin`.

    Attributes:
        chunks: how many came, each counted once.
        lost: how many are missing, at least.
        duplicated: how many a connection delivered twice, out of order, or though it was told that they were had.
        size: bytes of all records that came.
        extra_bytes: bytes of those that were had already: duplicates, and the overlap of two edges during a move.
        pause: longest time between two chunks of one track, in seconds.
        moves: how often another edge took over.
        interruptions: how often the edge said that the stream is interrupted.
        detected_at: UTC when an edge was first doubted or lost, 0 if none was.
        details: faults in words.
    """

    chunks: int = 0
    lost: int = 0
    duplicated: int = 0
    size: int = 0
    extra_bytes: int = 0
    pause: float = 0.0
    moves: int = 0
    interruptions: int = 0
    detected_at: float = 0.0
    details: list[str] = field(default_factory=list)

    def note(self, detail: str) -> None:
        """Keep a fault in words, if there are not too many yet."""
        if len(self.details) < DETAILS_MAX:
            self.details.append(detail)


class Check:
    """Follows all tracks of one viewer, whatever connections they come by."""

    def __init__(self) -> None:
        self.figures = Figures()
        self.last: dict[int, Identity] = {}
        self._came_at: dict[int, float] = {}

    def begin(self) -> Figures:
        """Begin to count anew and return what was counted so far; pauses go on from the last chunk."""
        before, self.figures = self.figures, Figures()
        return before

    def after(self) -> dict[str, list[int]] | None:
        """Return the member `after` of a `play` message."""
        return {str(track): list(last.position) for track, last in self.last.items()} or None

    def take(self, link: LinkCheck, identity: Identity, now: float) -> bool:
        """Take a chunk that came by `link`; return whether it is new."""
        figures, track = self.figures, identity.track
        figures.size += identity.size
        had = link.had.get(track)
        if had is not None and identity.position <= had:
            figures.duplicated += 1
            figures.note(f"twice: track {track} {identity.position} after {had}")
        link.had[track] = max(had or identity.position, identity.position)
        last = self.last.get(track)
        if last is not None and identity.position <= last.position:
            figures.extra_bytes += identity.size
            return False
        if last is not None and (missing := missing_between(last, identity)):
            figures.lost += missing
            figures.note(f"missing: track {track}, {missing} between {last.position} and {identity.position}")
        figures.chunks += 1
        figures.pause = max(figures.pause, now - self._came_at.get(track, now))
        self.last[track], self._came_at[track] = identity, now
        return True

    def silence(self, now: float) -> float:
        """Return how long the track that is silent longest has been, in seconds; infinite before the first chunk."""
        return max((now - at for at in self._came_at.values()), default=float("inf"))

    def newest_capture_us(self) -> int:
        """Return the capture time of the newest chunk of the track that is furthest behind."""
        return min((last.capture_us for last in self.last.values()), default=0)


@dataclass(slots=True)
class LinkCheck:
    """What one connection may not send again: what the viewer said it had, and what the connection sent itself."""

    had: dict[int, Position] = field(default_factory=dict)

    @classmethod
    def after(cls, check: Check) -> LinkCheck:
        """Return the check of a connection that begins after what `check` has seen."""
        return cls({track: last.position for track, last in check.last.items()})


def figures_from(values: dict[str, Any]) -> Figures:
    """Return figures that came as JSON."""
    return Figures(**values)
