"""What a registry asks of the store that it stands on, whether that is Redis or a dictionary.

A *lease* is a record that one process keeps alive; it is gone when its time is over or its holder removes it. Two
processes may want the same lease: two owners of a stream, two processes with one node id. Which of them is right does
not depend on who comes first: the lease of greater `rank`, and of equals that of the smaller `holder`. A store never
lets the other one overwrite, renew or remove it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from headrace.identifiers import StreamName
from headrace.registry.records import StreamNumbers


class Kind(enum.Enum):
    """What a lease is about."""

    NODE = "node"
    STREAM = "stream"


class LeaseKey(NamedTuple):
    """The identity of a lease: the node id or stream name that it is about."""

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
        numbers: durable numbers to let grow when the lease is put.
    """

    key: LeaseKey
    rank: int
    holder: str
    record: bytes
    numbers: StreamNumbers | None = None

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


class StoreAway(Exception):
    """The store cannot be reached or did not answer in time; the text says which and why, without credentials."""


class Changes(Protocol):
    """A subscription to all changes."""

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

    async def read(self) -> dict[LeaseKey, bytes]:
        """Return the record of every live lease."""
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
