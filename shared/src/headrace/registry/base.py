"""The registry over any store of leases: keeps the view, and keeps alive what this process announces.

Theory of operation
-------------------
Two tasks. The *follower* subscribes to changes, reads everything once, then applies what is told; it reads everything
again after a gap and now and then. The *keeper* writes what is new, renews the rest three times a lease and puts again
what a flushed store forgot. When either finds the store away, both wait for the follower to get through again, which it
tries four times a lease at random moments, so that many processes do not come back as one. What this process keeps is
therefore announced again within one lease of the store's return.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from headrace.clock import Clock, microseconds
from headrace.identifiers import NodeId, StreamName
from headrace.registry import pacing
from headrace.registry.claims import Claim, Claims
from headrace.registry.desired import Desired, DesiredEntry, DesiredKey
from headrace.registry.kept import Kept, OwnRecord
from headrace.registry.leases import EDGES_FOLLOWED, Change, Changes, How, Kind, LeaseKey, LeaseStore, StoreAway
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.notices import Notices, call
from headrace.registry.orders import Orders
from headrace.registry.reach import Reach
from headrace.registry.records import (
    LAYER_MAX,
    NODE_STREAMS_MAX,
    ClaimRecord,
    NodeRecord,
    StreamNumbers,
    StreamRecord,
    encode_record,
)
from headrace.registry.rivals import Rivals
from headrace.registry.sealing import Vault
from headrace.registry.telling import wait_seconds
from headrace.registry.view import View

log = structlog.get_logger(__name__)


class LeasedRegistry:
    """A `Registry` on a `LeaseStore`; see there for what the public methods do."""

    def __init__(
        self,
        store: LeaseStore,
        lease_seconds: float,
        clock: Clock,
        metrics: RegistryMetrics | None = None,
        vault: Vault | None = None,
        *,
        whole: bool = False,
    ) -> None:
        self._notices = Notices()
        self.watchers = self._notices.watchers
        self.desired_watchers = self._notices.desired_watchers
        self.on_fenced: Callable[[StreamName, StreamRecord], None] = lambda name, record: None
        self.on_node_taken: Callable[[NodeRecord], None] = lambda record: None
        self._store = store
        self._lease_seconds = lease_seconds
        self._metrics = metrics or RegistryMetrics.make(CollectorRegistry())
        self._clock = clock
        self._generation = microseconds(clock.utc())
        self._whole = whole
        self._edges = 0
        self._view = View(self._complain)
        holder = secrets.token_hex(8)
        self._kept = Kept(holder)
        self._orders = Orders(store, vault or Vault(), lease_seconds, self._complain, self._notices.changed)
        self._claims = Claims(store, holder, lease_seconds, self._orders.entries.__contains__, call)
        self._rivals = Rivals(
            self._view,
            self._kept,
            self._metrics,
            lease_seconds * pacing.TAKEN_LEASES,
            self._complain,
            self._changed,
            lambda other: call(self.on_fenced, StreamName(other.stream), other),
            lambda other: call(self.on_node_taken, other),
        )
        self._reach = Reach(store.where, clock, self._metrics)
        self._grace_until = 0.0
        self._renew_at = 0.0
        self._read_at = 0.0
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Beside cancelling: before Python 3.12 asyncio.wait_for, in whatever library, may eat that.
        self._closing = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._store.where}: {self.status}>"

    @property
    def nodes(self) -> Mapping[NodeId, NodeRecord]:
        return self._view.nodes

    @property
    def streams(self) -> Mapping[StreamName, StreamRecord]:
        return self._view.streams

    @property
    def claims(self) -> Mapping[DesiredKey, ClaimRecord]:
        return self._view.claims

    @property
    def desired(self) -> Mapping[DesiredKey, DesiredEntry]:
        return self._orders.entries

    @property
    def connected(self) -> bool:
        return self._reach.connected

    @property
    def status(self) -> str:
        return self.problem or f"registry {self._store.where} answers"

    @property
    def problem(self) -> str | None:
        if not self._reach.connected:
            return f"registry {self._store.where} is away, last known records are used: {self._reach.reason}"
        return self._rivals.problem

    async def start(self) -> None:
        self._notices.open()
        self._task = asyncio.create_task(self._run(), name="registry")
        with suppress(TimeoutError):
            async with asyncio.timeout(pacing.START_WAIT_SECONDS):
                await self._tried.wait()

    async def close(self) -> None:
        task, self._task = self._task, None
        self._closing = True
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._notices.close()
        leases = [*self._kept.withdrawn, *self._kept.leases(), *self._claims.leases()]
        self._claims.close()
        if self._reach.connected and leases:
            with suppress(StoreAway, TimeoutError):
                async with asyncio.timeout(pacing.CLOSE_WAIT_SECONDS):
                    await self._store.remove(leases)
        self._reach.close()
        await self._store.close()

    def keep_node(self, record: NodeRecord) -> None:
        record = msgspec.structs.replace(
            record, generation=record.generation or self._generation, streams=record.streams[:NODE_STREAMS_MAX]
        )
        self._keep(record)

    def drop_node(self, name: NodeId) -> None:
        self._drop(LeaseKey(Kind.NODE, name))

    def keep_stream(self, record: StreamRecord) -> None:
        record = msgspec.structs.replace(record, generation=record.generation or self._generation)
        self._keep(record)

    def drop_stream(self, name: StreamName) -> None:
        self._drop(LeaseKey(Kind.STREAM, name))

    def refresh(self) -> None:
        self._read_at = min(self._read_at, _now() + random.uniform(0.0, pacing.PATIENCE_MAX_SECONDS))

    async def numbers(self, name: StreamName) -> StreamNumbers | None:
        known = await self._reach.ask(self._store.numbers(name)) if self._reach.connected else None
        # A store that was failed over may know less than was told. One that knows nothing may know much less: then
        # whoever asks begins at UTC, which is ahead of anything given out.
        told = self._view.numbers.get(name)
        if known is None:
            return None
        known = known.grown(told) if told is not None else known
        return msgspec.structs.replace(known, overtaken=self._reach.was_away_after(known.end_seconds))

    def tag(self, text: str) -> str:
        return self._orders.tag(text)

    async def put_desired(self, record: Desired, expect: int | None = None) -> int:
        return await self._reach.order(self._orders.put(record, expect))

    async def drop_desired(self, key: DesiredKey, expect: int | None = None) -> bool:
        return await self._reach.order(self._orders.drop(key, expect))

    async def claim(self, key: DesiredKey, node: NodeId, on_change: Callable[[Claim], None]) -> Claim | None:
        other = self._view.claims.get(key)
        record = ClaimRecord(claim=str(key), node=node, since_ms=int(self._clock.utc() * 1000))
        claim = await self._reach.order(self._claims.take(record, key, other.generation if other else 0, on_change))
        if claim is not None:
            shown = Change(LeaseKey(Kind.CLAIM, str(key)), How.PUT, encode_record(claim.record))
            self._changed(self._view.apply(shown, None))
        return claim

    def report(self, claim: Claim, status: str = "", detail: str = "", facts: Mapping[str, str] | None = None) -> None:
        if self._claims.report(claim, status=status, detail=detail, facts=dict(facts or {})):
            self._wake.set()

    async def release(self, claim: Claim) -> None:
        lease = self._claims.give_up(claim)
        if lease is not None and self._reach.connected:
            with suppress(StoreAway):
                await self._reach.order(self._store.remove([lease]))

    # What is kept

    def _keep(self, record: OwnRecord) -> None:
        key = self._kept.keep(record)
        if key is not None:
            self._wake.set()
            self._changed(self._view.keep(key, record))

    def _drop(self, key: LeaseKey) -> None:
        if self._kept.drop(key):
            self._rivals.dropped(key)
            self._wake.set()
            self._changed(self._view.drop(key))

    # The tasks

    async def _run(self) -> None:
        while not self._closing:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._follow())
                    group.create_task(self._keep_alive())
            except Exception:
                # A fault of ours must not cut this process off from its cluster until somebody restarts it.
                log.exception("registry_failed", store=self._store.where)
                self._reach.went_away("an error of its own, see the log")
                self._tried.set()
                await asyncio.sleep(self._retry_seconds())

    async def _follow(self) -> None:
        while not self._closing:
            try:
                await self._follow_once()
            except StoreAway as error:
                self._reach.went_away(str(error))
            self._tried.set()
            await asyncio.sleep(self._retry_seconds())

    def _retry_seconds(self) -> float:
        return pacing.retry_seconds(self._lease_seconds, self._edges - EDGES_FOLLOWED, random.random())

    async def _follow_once(self) -> None:
        """Subscribe, read and follow until the store goes away, or the keeper finds that it did."""
        async with self._store.changes() as changes:
            await self._read(changes)
            self._came_back()
            while self._reach.connected and not self._closing:
                self._apply(await changes.next(self._patience()))
                self._changed(self._view.settle(_now()))
                await self._restore()
                if _now() >= self._read_at:
                    await self._read(changes)

    def _patience(self) -> float:
        """Return how long to wait for changes before something else is due."""
        dues = (self._read_at, self._view.next_settling, self._orders.restore_at)
        due = min(one for one in dues if one is not None)
        return min(max(due - _now(), 0.0), self._lease_seconds / pacing.RENEWALS_PER_LEASE, pacing.PATIENCE_MAX_SECONDS)

    async def _read(self, changes: Changes) -> None:
        reading = await self._store.read(None if self._whole else EDGES_FOLLOWED)
        self._edges = reading.edges
        await changes.follow_edges(not reading.sampled)
        seconds = max(self._lease_seconds * pacing.READING_LEASES, len(reading.records) / pacing.READ_PER_SECOND)
        self._read_at = _now() + seconds * random.uniform(0.75, 1.25)
        for key, data in reading.records.items():
            self._rivals.check(key, data)
        grace_until = _now() + self._lease_seconds * pacing.GRACE_LEASES
        self._changed(self._view.replace(reading.records, grace_until, reading.sampled))
        await self._orders.read(_now())

    async def _restore(self) -> None:
        """Write back desired records that the store lost, when it is our turn."""
        if self._orders.restore_at is not None and _now() >= self._orders.restore_at:
            restored = await self._orders.restore()
            if restored:
                log.warning("desired_records_restored", store=self._store.where, records=restored)

    def _apply(self, changes: Iterable[Change]) -> None:
        grace_until = self._grace_until if _now() < self._grace_until else None
        changed = False
        for change in changes:
            if change.key.kind is Kind.DESIRED:
                self._orders.apply(change)
                continue
            if change.how is How.PUT:
                self._rivals.check(change.key, change.record)
            changed |= self._view.apply(change, grace_until)
        self._changed(changed)

    async def _keep_alive(self) -> None:
        while not self._closing:
            await self._work()
            if not self._reach.connected:
                continue
            try:
                await self._write()
            except StoreAway as error:
                self._reach.went_away(str(error))
            await asyncio.sleep(pacing.UPDATE_GAP_SECONDS)

    async def _work(self) -> None:
        """Wait until there is something to write: an update, a renewal, or everything because the store is back."""
        due = min(self._renew_at, self._kept.due_at or self._renew_at)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(due - _now(), 0.0) if self._reach.connected else None):
                await self._wake.wait()
        self._wake.clear()

    async def _write(self) -> None:
        if withdrawn := self._kept.withdrawn:
            await self._store.remove(withdrawn)
            self._kept.removed(withdrawn)
        await self._put_unsent()
        await self._claims.write()
        if _now() >= self._renew_at:
            await self._renew()
            await self._put_unsent()
            await self._claims.write()

    async def _put_unsent(self) -> None:
        leases = self._kept.take_unsent(_now(), self._wait)
        if not leases:
            return
        try:
            answers = await self._store.put(leases, self._lease_seconds)
        except StoreAway:
            self._kept.send_again(lease.key for lease in leases)
            raise
        for lease, other in zip(leases, answers, strict=True):
            if other is not None:
                self._rivals.outranked(lease, other)
            else:
                self._rivals.granted(lease)

    def _wait(self, record: OwnRecord, data_bytes: int) -> float:
        """Return how long a change of `record` may have to wait, since so many would hear of it."""
        core = sum(node.layer != LAYER_MAX for node in self._view.nodes.values())
        return wait_seconds(record, data_bytes, core, self._edges)

    async def _renew(self) -> None:
        began = _now()
        self._renew_at = began + self._lease_seconds / pacing.RENEWALS_PER_LEASE * random.uniform(0.8, 1.0)
        own, claimed = self._kept.leases(), self._claims.leases()
        kept = await self._store.renew([*own, *claimed], self._lease_seconds)
        self._metrics.round_trip.observe(_now() - began)
        self._kept.send_again(lease.key for lease, held in zip(own, kept[: len(own)], strict=True) if not held)
        self._claims.renewed(claimed, kept[len(own) :], began)

    # How it is

    def _came_back(self) -> None:
        self._reach.came_back(len(self.nodes))
        self._grace_until = _now() + self._lease_seconds * pacing.GRACE_LEASES
        self._renew_at = _now()
        self._kept.send_again(self._kept.streams)  # a store that was failed over may have forgotten their last numbers
        self._tried.set()
        self._wake.set()

    def _complain(self, key: LeaseKey, reason: str) -> None:
        self._metrics.refused.inc()
        log.warning("registry_record_ignored", kind=key.kind.value, name=key.name[:128], reason=reason)

    def _changed(self, changed: bool) -> None:
        if changed:
            self._metrics.nodes.set(len(self.nodes))
            self._metrics.streams.set(len(self.streams))
            self._notices.changed()


def _now() -> float:
    """Return the event loop's time; lease expiry is the store's business, this only paces our own work."""
    return asyncio.get_running_loop().time()
