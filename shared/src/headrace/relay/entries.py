"""What a broadcast's log is made of, and what its readers are told. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.identifiers import ChunkId, Epoch
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, StreamState, Track

ENTRY_BYTES = 512
"""What an entry costs beside its record, in bytes, roughly: so that states and gaps are bounded as chunks are."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An epoch begins (or is told to a cursor that joined inside it): these are its tracks.

    Attributes:
        epoch: which.
        tracks: of it.
        revision: how often their rates were told anew in it, as far as this process heard.
    """

    epoch: Epoch
    tracks: tuple[Track, ...]
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """Chunks of `next.track` before `next` that were not had will not come: they are lost."""

    next: ChunkId


@dataclass(frozen=True, slots=True)
class StateChange:
    """The stream's state, why it is so, and the nodes it came through, ingress first."""

    state: StreamState
    reason: str = ""
    route: tuple[RouteHop, ...] = ()


Entry = Opened | Chunk | Gap | StateChange


def cost(entry: Entry) -> int:
    """Return what `entry` weighs in the ring, in bytes."""
    return ENTRY_BYTES + (len(entry.record) if isinstance(entry, Chunk) else 0)
