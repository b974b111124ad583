"""The registry inside one process: the same leases and the same rules as in Redis, in dictionaries."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from headrace.clock import Clock, SystemClock
from headrace.identifiers import StreamName
from headrace.registry.base import LeasedRegistry
from headrace.registry.leases import Change, Changes, How, Lease, LeaseKey, StoreAway
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.records import StreamNumbers

BACKLOG_MAX: Final = 10_000
"""Most changes that wait for one subscriber; beyond it they are dropped and it must read everything again."""

LEASE_SECONDS: Final = 3.0
"""How long a lease lives without renewal: a few missed round trips to Redis do not end it."""


class MemoryStore:
    """Leases and durable numbers of one process, shared by any number of registries.

    Leases expire by `clock`; as in Redis, an expired lease is gone for every reader at once, and subscribers are told
    when somebody next renews.
    """

    where = "memory:"

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._leases: dict[LeaseKey, tuple[Lease, float]] = {}
        self._numbers: dict[StreamName, StreamNumbers] = {}
        self._subscribers: set[_MemoryChanges] = set()
        self._away = ""

    def take_away(self, reason: str = "taken away") -> None:
        """Let every use fail from now on, as when Redis died."""
        self._away = reason
        for subscriber in self._subscribers:
            subscriber.fail(reason)

    def bring_back(self, flushed: bool = False) -> None:
        """End `take_away`; `flushed` forgets everything, the durable numbers included."""
        self._away = ""
        if flushed:
            self.flush()

    def flush(self) -> None:
        """Forget everything without telling anybody, as FLUSHALL does."""
        self._leases.clear()
        self._numbers.clear()

    async def put(self, leases: Sequence[Lease], seconds: float) -> list[bytes | None]:
        self._check()
        return [self._put(lease, seconds) for lease in leases]

    async def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        self._check()
        self._sweep()
        kept = []
        for lease in leases:
            held = self._leases.get(lease.key)
            mine = held is not None and _same(held[0], lease)
            if held is not None and mine:
                self._leases[lease.key] = (held[0], self._clock.monotonic() + seconds)
            kept.append(mine)
        return kept

    async def remove(self, leases: Sequence[Lease]) -> None:
        self._check()
        for lease in leases:
            held = self._leases.get(lease.key)
            if held is not None and _same(held[0], lease):
                del self._leases[lease.key]
                self._tell(Change(lease.key, How.REMOVED))

    async def read(self) -> dict[LeaseKey, bytes]:
        self._check()
        now = self._clock.monotonic()
        return {key: lease.record for key, (lease, end) in self._leases.items() if end > now}

    async def numbers(self, name: StreamName) -> StreamNumbers | None:
        self._check()
        return self._numbers.get(name)

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[Changes]:
        self._check()
        subscriber = _MemoryChanges()
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

    async def close(self) -> None:
        """Do nothing: others may share this store."""

    def _check(self) -> None:
        if self._away:
            raise StoreAway(f"{self.where} is away: {self._away}")

    def _put(self, lease: Lease, seconds: float) -> bytes | None:
        now = self._clock.monotonic()
        held = self._leases.get(lease.key)
        if held is not None and held[1] > now and lease.yields_to(held[0].rank, held[0].holder):
            return held[0].record
        self._leases[lease.key] = (lease, now + seconds)
        if lease.numbers is not None:
            name = StreamName(lease.key.name)
            self._numbers[name] = lease.numbers.grown(self._numbers.get(name, StreamNumbers()))
        self._tell(Change(lease.key, How.PUT, lease.record))
        return None

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        for key in [key for key, (_, end) in self._leases.items() if end <= now]:
            del self._leases[key]
            self._tell(Change(key, How.EXPIRED))

    def _tell(self, change: Change) -> None:
        for subscriber in self._subscribers:
            subscriber.add(change)


def _same(held: Lease, lease: Lease) -> bool:
    return (held.rank, held.holder) == (lease.rank, lease.holder)


class _MemoryChanges:
    """One subscriber's changes, bounded."""

    def __init__(self) -> None:
        self._changes: deque[Change] = deque()
        self._arrived = asyncio.Event()
        self._broken = ""

    def add(self, change: Change) -> None:
        if len(self._changes) < BACKLOG_MAX:
            self._changes.append(change)
            self._arrived.set()
        else:
            self.fail(f"{BACKLOG_MAX} changes were not taken in time")

    def fail(self, reason: str) -> None:
        self._broken = reason
        self._arrived.set()

    async def next(self, timeout: float) -> list[Change]:
        try:
            async with asyncio.timeout(timeout):
                await self._arrived.wait()
        except TimeoutError:
            return []
        if self._broken:
            raise StoreAway(f"{MemoryStore.where} is away: {self._broken}")
        changes = list(self._changes)
        self._changes.clear()
        self._arrived.clear()
        return changes


class MemoryRegistry(LeasedRegistry):
    """A registry in one process; several may share a `MemoryStore`, as nodes share a Redis.

    Args:
        store: what is shared; `None` makes a store of its own.
        lease_seconds: how long what it keeps outlives it, if it is not closed.
        clock: where generations come from, and by which leases of its own store expire.
        metrics: what it counts.
    """

    def __init__(
        self,
        store: MemoryStore | None = None,
        lease_seconds: float = LEASE_SECONDS,
        clock: Clock | None = None,
        metrics: RegistryMetrics | None = None,
    ) -> None:
        clock = clock or SystemClock()
        super().__init__(store or MemoryStore(clock), lease_seconds, clock, metrics)
