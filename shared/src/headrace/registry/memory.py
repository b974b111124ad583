"""The registry inside one process: the same leases and the same rules as in Redis, in dictionaries."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from headrace.clock import Clock, SystemClock
from headrace.identifiers import StreamName
from headrace.registry.base import LeasedRegistry
from headrace.registry.desired import DESIRED_MAX, DesiredConflict, DesiredKey, DesiredLimit, split_stored
from headrace.registry.leases import (
    DROPPED_MAX,
    DROPPED_SECONDS,
    EDGES_SAMPLED,
    Change,
    Changes,
    DesiredReading,
    How,
    Kind,
    Lease,
    LeaseKey,
    Reading,
    StoreAway,
)
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.records import StreamNumbers, past_record
from headrace.registry.sealing import Vault

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
        self._owners: dict[StreamName, str] = {}
        self._generation = 0
        self._desired: dict[DesiredKey, bytes] = {}
        self._dropped: dict[DesiredKey, int] = {}
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
        for memory in (self._leases, self._numbers, self._owners, self._desired, self._dropped):
            memory.clear()
        self._generation = 0

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
                self._tell(Change(lease.key, How.REMOVED), lease.crowd)

    async def claim(self, lease: Lease, floor: int, seconds: float) -> Lease | bytes:
        self._check()
        held, end = self._leases.get(lease.key, (None, 0.0))
        if held is not None and end > self._clock.monotonic() and held.holder != lease.holder:
            return held.record
        rank = self._generation = self._grant(floor, max(self._generation, held.rank if held is not None else 0))
        record = lease.record.replace(b'"generation":0', b'"generation":%d' % rank, 1)
        granted = replace(lease, rank=rank, record=record)
        self._write(granted, seconds)
        return granted

    async def update(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        self._check()
        return [self._update(lease, seconds) for lease in leases]

    async def read(self, edges_max: int | None = None) -> Reading:
        self._check()
        now = self._clock.monotonic()
        live = {key: lease for key, (lease, end) in self._leases.items() if end > now}
        edges = [key for key, lease in live.items() if lease.crowd]
        sampled = edges_max is not None and len(edges) > edges_max
        kept = set(random.sample(edges, EDGES_SAMPLED)) if sampled else set(edges)
        records = {key: lease.record for key, lease in live.items() if not lease.crowd or key in kept}
        return Reading(records, len(edges), sampled)

    async def read_desired(self) -> DesiredReading:
        self._check()
        return DesiredReading(dict(self._desired), dict(self._dropped))

    async def put_desired(self, key: DesiredKey, data: bytes, expect: int | None, floor: int) -> bytes:
        self._check()
        current = self._revision(key)
        if expect is not None and expect != current:
            raise DesiredConflict(key, current)
        if not current and sum(one.kind is key.kind for one in self._desired) >= DESIRED_MAX:
            raise DesiredLimit(key.kind)
        stored = b"%d %s" % (self._grant(floor, max(current, self._dropped.pop(key, 0))), data)
        self._desired[key] = stored
        self._tell(Change(LeaseKey(Kind.DESIRED, str(key)), How.PUT, stored))
        return stored

    async def drop_desired(self, key: DesiredKey, expect: int | None, floor: int) -> int | None:
        self._check()
        current = self._revision(key)
        if expect is not None and expect != current:
            raise DesiredConflict(key, current)
        if self._desired.pop(key, None) is None:
            return None
        revision = self._grant(floor, current)
        past = self._clock.utc() * 1000 - DROPPED_SECONDS * 1000
        kept = {one: at for one, at in self._dropped.items() if at > past}
        self._dropped = dict(list(kept.items())[-DROPPED_MAX + 1 :]) | {key: revision}
        self._tell(Change(LeaseKey(Kind.DESIRED, str(key)), How.REMOVED, b"%d " % revision))
        return revision

    async def restore_desired(self, entries: Mapping[DesiredKey, bytes]) -> None:
        self._check()
        for key, stored in entries.items():
            known = split_stored(stored)[0]
            if max(self._revision(key), self._dropped.get(key, 0)) < known:
                self._desired[key] = stored
                self._tell(Change(LeaseKey(Kind.DESIRED, str(key)), How.PUT, stored))

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
        held = self._leases.get(lease.key)
        if held is not None and held[1] > self._clock.monotonic() and lease.yields_to(held[0].rank, held[0].holder):
            return held[0].record
        name = StreamName(lease.key.name)
        known = self._numbers.get(name, StreamNumbers())
        if lease.numbers is not None:
            if known.epoch > lease.rank and name in self._owners:
                return past_record(name, self._owners[name], known.epoch)
            self._numbers[name], self._owners[name] = lease.numbers.grown(known), lease.holder
        self._write(lease, seconds)
        return None

    def _update(self, lease: Lease, seconds: float) -> bool:
        held = self._leases.get(lease.key)
        if held is None or held[1] <= self._clock.monotonic() or not _same(held[0], lease):
            return False
        self._write(lease, seconds)
        return True

    def _write(self, lease: Lease, seconds: float) -> None:
        self._leases[lease.key] = (lease, self._clock.monotonic() + seconds)
        if lease.told:
            self._tell(Change(lease.key, How.PUT, lease.record), lease.crowd)

    def _grant(self, floor: int, known: int) -> int:
        """Return a generation or revision that was never given out."""
        return max(int(self._clock.utc() * 1000), floor + 1, known + 1)

    def _revision(self, key: DesiredKey) -> int:
        return split_stored(self._desired.get(key, b""))[0]

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        for key in [key for key, (_, end) in self._leases.items() if end <= now]:
            lease, _ = self._leases.pop(key)
            self._tell(Change(key, How.EXPIRED), lease.crowd)

    def _tell(self, change: Change, crowd: bool = False) -> None:
        for subscriber in self._subscribers:
            if not crowd or subscriber.follows_edges:
                subscriber.add(change)


def _same(held: Lease, lease: Lease) -> bool:
    return (held.rank, held.holder) == (lease.rank, lease.holder)


class _MemoryChanges:
    """One subscriber's changes, bounded."""

    def __init__(self) -> None:
        self._changes: deque[Change] = deque()
        self._arrived = asyncio.Event()
        self._broken = ""
        self.follows_edges = False

    async def follow_edges(self, wanted: bool) -> None:
        self.follows_edges = wanted

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
        vault: seals the addresses of desired records.
        whole: know every edge, however many there are.
    """

    def __init__(
        self,
        store: MemoryStore | None = None,
        lease_seconds: float = LEASE_SECONDS,
        clock: Clock | None = None,
        metrics: RegistryMetrics | None = None,
        vault: Vault | None = None,
        *,
        whole: bool = False,
    ) -> None:
        clock = clock or SystemClock()
        super().__init__(store or MemoryStore(clock), lease_seconds, clock, metrics, vault, whole=whole)
