"""What a reader tells its feed: plain values, for the reader may be in another process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headrace.identifiers import Epoch
from headrace.media.samples import EpochStart
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track
from headrace_ingress.timing import CAPTURE_AWAY_SECONDS


@dataclass(frozen=True, slots=True)
class Numbers:
    """Where a stream's numbers stand; what the next epoch must go on from.

    Attributes:
        epoch: the greatest epoch that was used, 0 for none.
        next_segment: the first segment number that was not used.
        end_seconds: where the timeline ends, in seconds of decode time.
        epochs: how many epochs the stream had, the discontinuity number of the next one.
    """

    epoch: Epoch
    next_segment: int
    end_seconds: float
    epochs: int = 0

    def begin(self, utc: float, captured: float) -> EpochStart:
        """Return where an epoch begins that is opened at `utc` (docs/protocol.md, section 2.1).

        A Period of DASH begins at its number, which is therefore no later than its media. The first of them to come is
        of `captured`; one that comes a little later may have been captured a little earlier.
        """
        earliest = max(self.end_seconds, min(utc, captured))
        began = min(utc, earliest) if utc - captured <= CAPTURE_AWAY_SECONDS else utc
        return EpochStart(Epoch(max(self.epoch + 1, int(began * 1000))), self.next_segment, earliest)


@dataclass(frozen=True, slots=True)
class EpochOpened:
    """A new epoch: its tracks, before its first chunk."""

    epoch: Epoch
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class Chunks:
    """Finished chunks, in order, and where the numbers stand after them.

    Attributes:
        is_rest: they are what an epoch still had when it was finished, and no sign that anything came.
    """

    chunks: tuple[Chunk, ...]
    numbers: Numbers
    is_rest: bool = False


@dataclass(frozen=True, slots=True)
class Noted:
    """Something about the source that an operator should know once."""

    text: str


@dataclass(frozen=True, slots=True)
class Held:
    """The reader's epoch is finished, as it was told to: others may go on from its numbers."""

    numbers: Numbers


@dataclass(frozen=True, slots=True)
class Ready:
    """The reader has media, and waits to be told where the numbers stand by now."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The attempt is over and its thread about to end.

    Attributes:
        reason: what broke, for people; empty when nothing did.
        ended: the source is over as intended.
        numbers: where the numbers stand.
        code: the reason in a word, for programs; empty when there is none for it.
    """

    reason: str
    ended: bool
    numbers: Numbers
    code: str = ""


GUILTY: Final = "crash"
"""The code of a feed that ended the process that read it, as far as can be known; its waits only grow."""

LOST: Final = "worker"
"""The code of one that was read there too, or whose process could not be started."""

MOVED: Final = "moved"
"""The code of one that goes on in a process of its own."""

Event = EpochOpened | Chunks | Noted | Held | Ready | Closed
