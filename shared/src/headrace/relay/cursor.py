"""Where one consumer is in a broadcast, and what each of its tracks may go on with. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from headrace.identifiers import ChunkId, Epoch
from headrace.relay.entries import Gap, StateChange
from headrace.wire.chunk import Chunk


class Place(NamedTuple):
    """How far a track got: the last chunk, or the first that may follow what was lost.

    Attributes:
        position: of that chunk.
        ends: whether it ends its segment; `None` when that is not known.
        lost: it is the first that may come: what lies before it was told as lost.
        passed: the reader was moved on since, so that the rest of the epoch may be missing.
    """

    position: tuple[int, int, int]
    ends: bool | None
    lost: bool = False
    passed: bool = False

    def is_followed_by(self, id: ChunkId) -> bool:
        """Return whether nothing is missing between this place and `id`, as far as is known."""
        epoch, segment, chunk = self.position
        if self.lost:
            return id.position == self.position
        if id.epoch > epoch:
            # An epoch ends wherever its source did. The next one begins a segment later, unless numbers were left out
            # because nobody knows what the one before had begun.
            return id.chunk == 0 and id.segment <= segment + 1 and not self.passed
        return (self.ends is not True and id.position == (epoch, segment, chunk + 1)) or (
            self.ends is True and id.position == (epoch, segment + 1, 0)
        )

    def knows(self, gap: Gap) -> bool:
        """Return whether `gap` says nothing new: what it says is lost was had, told before, or never existed."""
        within = gap.next.epoch == self.position[0]
        return self.has(gap.next) or (within and self.is_followed_by(gap.next))

    def has(self, id: ChunkId) -> bool:
        """Return whether `id` lies behind: it was had, or told as lost."""
        return id.position < self.position if self.lost else id.position <= self.position


def place_of(chunk: Chunk) -> Place:
    """Return where a track is after `chunk`."""
    return Place(chunk.id.position, chunk.ends_segment)


@dataclass(slots=True)
class Cursor:
    """One consumer's place in a broadcast; made by `join` or `resume`, moved by `read` and `skip` only.

    Attributes:
        position: the next entry to read, `None` while it waits for the first random access point.
        epoch: the epoch whose tracks were told to it, 0 for none yet.
        revision: of those tracks.
        state: the state that was told to it, `None` for none yet.
        skipped: entries it never saw because it was too slow.
    """

    position: int | None
    epoch: Epoch = Epoch(0)
    revision: int = 0
    state: StateChange | None = None
    skipped: int = 0
    _had: dict[int, Place] = field(default_factory=dict)
    """How far each track got; its next chunk must follow, or a gap is told."""
    _floor: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """For each track that has not passed it yet: chunks up to here are of before the point it was placed at."""
    _back_seconds: float = 0.0
    """How far behind the newest chunk it wants to be placed, the first time."""

    def fork(self) -> Cursor:
        """Return another cursor at the same place, which was told the same."""
        return replace(self, _had=dict(self._had), _floor=dict(self._floor))
