"""What a registry asks of the store that it stands on, whether that is Redis or a dictionary.

A *lease* is a record that one process keeps alive; it is gone when its time is over or its holder removes it. Two
processes may want the same lease: two owners of a stream, two processes with one node id. Which of them is right does
not depend on who comes first: the lease of greater `rank`, and of equals that of the smaller `holder`. A store never
lets the other one overwrite, renew or remove it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from headrace.identifiers import StreamName
from headrace.registry.desired import DesiredKey
from headrace.registry.records import StreamNumbers

EDGES_FOLLOWED: Final = 256
"""Most edges that every process follows one by one. With more of them, whoever need not know all reads a sample now
and then: telling each change of ten thousand edges to ten thousand processes is more than any store can."""

EDGES_SAMPLED: Final = 64
"""How many edges a sample has: enough to choose players' next edge and an edge's parent among edges."""

DROPPED_SECONDS: Final = 3600.0
"""How long the store remembers that a desired record was dropped, so that nobody restores it."""

DROPPED_MAX: Final = 10_000
"""Most dropped records remembered; the oldest are forgotten first."""


class Kind(enum.Enum):
    """What a lease is about."""

    NODE = "node"
    STREAM = "stream"
    CLAIM = "claim"
    """Who carries a desired record out. Not outranked: held until it ends or is released (`LeaseStore.claim`)."""
    DESIRED = "desired"
    """No lease but a desired record; told on the same channel."""


class LeaseKey(NamedTuple):
    """The identity of a lease: the node id, stream name or desired record that it is about."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Lease:
    """A record to keep alive.

    Attributes:
        key: what it is about.
        rank: the greater one is right: a stream's epoch, or a node's generation negated, for the older start wins.
        holder: who keeps it; the smaller one is right among equals.
        record: the JSON that others read.
        numbers: durable numbers to let grow when the lease is put. They outlive it, and who has an older epoch than
            they say is not right any more, though nobody else is there.
        told: whether others hear of it at once; else they see it when they read everything.
        crowd: it is one of those of which there may be very many: an edge.
    """

    key: LeaseKey
    rank: int
    holder: str
    record: bytes
    numbers: StreamNumbers | None = field(default=None)
    told: bool = True
    crowd: bool = False

    def yields_to(self, rank: int, holder: str) -> bool:
        """Return whether a lease of that rank and holder is the right one."""
        return (rank, self.holder) > (self.rank, holder)


class How(enum.Enum):
    """How a lease changed."""

    PUT = "put"
    REMOVED = "removed"
    """Its holder took it away."""
    EXPIRED = "expired"
    """Its holder did not renew it in time."""


@dataclass(frozen=True, slots=True)
class Change:
    """A lease changed; `record` is its JSON when it was put, else empty."""

    key: LeaseKey
    how: How
    record: bytes = b""


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that is there, or with very many edges a sample of them.

    Attributes:
        records: by lease.
        edges: how many edges there are.
        sampled: whether some of them were left out.
    """

    records: Mapping[LeaseKey, bytes]
    edges: int = 0
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class DesiredReading:
    """All desired records as they are stored, and by revision those that were dropped not long ago."""

    stored: Mapping[DesiredKey, bytes]
    dropped: Mapping[DesiredKey, int]


class StoreAway(Exception):
    """The store cannot be reached or did not answer in time; the text says which and why, without credentials."""


class Changes(Protocol):
    """A subscription to all changes."""

    async def follow_edges(self, wanted: bool) -> None:
        """Hear of edges too, or no more.

        Raises:
            StoreAway: as `next`.
        """
        ...

    async def next(self, timeout: float) -> list[Change]:
        """Return what changed since the last call, oldest first, or nothing after `timeout` seconds.

        Raises:
            StoreAway: when the connection broke or changes were lost: everything must be read again.
        """
        ...


class LeaseStore(Protocol):
    """Where leases and durable numbers are kept. Every method has a deadline of its own and raises `StoreAway`."""

    @property
    def where(self) -> str:
        """Its address for people, without credentials."""
        ...

    async def put(self, leases: Sequence[Lease], seconds: float) -> list[bytes | None]:
        """Write leases that live for `seconds` and their numbers.

        Returns:
            For each `None`, or the record of the lease that outranks it and was left alone.
        """
        ...

    async def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """Let leases live for `seconds` from now; return False for those that are gone or somebody else's.

        Also lets go of whatever expired, whosever it was, and tells subscribers so.
        """
        ...

    async def remove(self, leases: Sequence[Lease]) -> None:
        """Remove leases, as far as they are still the same rank and holder's."""
        ...

    async def read(self, edges_max: int | None = None) -> Reading:
        """Return the record of every live lease; of edges, when there are more than `edges_max`, a random sample."""
        ...

    async def claim(self, lease: Lease, floor: int, seconds: float) -> Lease | bytes:
        """Take a lease that nobody holds; its rank becomes greater than `floor` and than any it had before.

        Who holds it already is given it again. The record must have `"generation":0`, which becomes the rank.

        Returns:
            The lease as it was granted, or the record of the one that holds.
        """
        ...

    async def update(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """Write claimed leases again and let them live; return False for those that are gone or somebody else's."""
        ...

    async def read_desired(self) -> DesiredReading:
        """Return all desired records, and which were dropped."""
        ...

    async def put_desired(self, key: DesiredKey, data: bytes, expect: int | None, floor: int) -> bytes:
        """Write a desired record; its revision is greater than `floor` and than any it had before.

        Args:
            key: which one.
            data: its JSON.
            expect: the revision that must be there, 0 for none; `None` writes over whatever is there.
            floor: the greatest revision of it that is known here.

        Returns:
            As it is stored, revision included.

        Raises:
            DesiredConflict: when another revision is there.
            DesiredLimit: when there are as many of its kind as there may be.
        """
        ...

    async def drop_desired(self, key: DesiredKey, expect: int | None, floor: int) -> int | None:
        """Remove a desired record and return the revision of that; `None` when it is not there.

        Raises:
            DesiredConflict: when another revision is there.
        """
        ...

    async def restore_desired(self, entries: Mapping[DesiredKey, bytes]) -> None:
        """Write what the store lost: records that are missing or older there, and that nobody dropped since."""
        ...

    async def numbers(self, name: StreamName) -> StreamNumbers | None:
        """Return a stream's durable numbers, `None` when it never had any."""
        ...

    def changes(self) -> AbstractAsyncContextManager[Changes]:
        """Subscribe: every change after entering is told, in order."""
        ...

    async def close(self) -> None:
        """Let go of all connections; never raises."""
        ...
