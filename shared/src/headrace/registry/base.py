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
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import structlog
from prometheus_client import CollectorRegistry

from headrace.clock import Clock, microseconds
from headrace.identifiers import NodeId, StreamName
from headrace.registry.claims import Claim, Claims
from headrace.registry.desired import Desired, DesiredEntry, DesiredKey
from headrace.registry.kept import Kept, OwnRecord, Taken
from headrace.registry.leases import EDGES_FOLLOWED, Change, Changes, How, Kind, Lease, LeaseKey, LeaseStore, StoreAway
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.orders import Orders
from headrace.registry.pacing import (
    CLOSE_WAIT_SECONDS,
    GRACE_LEASES,
    HERD_PER_SECOND,
    PATIENCE_MAX_SECONDS,
    READ_PER_SECOND,
    READING_LEASES,
    RENEWALS_PER_LEASE,
    RETRIES_PER_LEASE,
    RETRY_MAX_SECONDS,
    START_WAIT_SECONDS,
    TAKEN_LEASES,
    UPDATE_GAP_SECONDS,
)
from headrace.registry.records import (
    LAYER_MAX,
    NODE_STREAMS_MAX,
    ClaimRecord,
    InvalidRecord,
    NodeRecord,
    StreamNumbers,
    StreamRecord,
    encode_record,
)
from headrace.registry.sealing import Vault
from headrace.registry.telling import wait_seconds
from headrace.registry.view import View, parse_record

T = TypeVar("T")

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
        self.watchers: set[Callable[[], None]] = set()
        self.desired_watchers: set[Callable[[frozenset[DesiredKey]], None]] = set()
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
        self._orders = Orders(store, vault or Vault(), lease_seconds, self._complain, self._desired_changed)
        self._claims = Claims(store, holder, lease_seconds, self._orders.entries.__contains__, self._call)
        self._told_keys: set[DesiredKey] = set()
        self._taken: dict[LeaseKey, Taken] = {}
        self._connected = False
        self._away = "not started"
        self._away_since: float | None = None
        self._grace_until = 0.0
        self._renew_at = 0.0
        self._read_at = 0.0
        self._wake = asyncio.Event()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = (
            False  # beside cancelling: before Python 3.12 asyncio.wait_for, in whatever library, may eat that
        )
        self._notice: asyncio.Handle | None = None

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
        return self._connected

    @property
    def status(self) -> str:
        return self.problem or f"registry {self._store.where} answers"

    @property
    def problem(self) -> str | None:
        if not self._connected:
            return f"registry {self._store.where} is away, last known records are used: {self._away}"
        return next((taken.sentence for taken in self._taken.values() if taken.told), None)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="registry")
        with suppress(TimeoutError):
            async with asyncio.timeout(START_WAIT_SECONDS):
                await self._tried.wait()

    async def close(self) -> None:
        task, self._task = self._task, None
        self._closing = True
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if self._notice is not None:
            self._notice.cancel()
            self._notice = None
        leases = [*self._kept.withdrawn, *self._kept.leases(), *self._claims.leases()]
        self._claims.close()
        if self._connected and leases:
            with suppress(StoreAway, TimeoutError):
                async with asyncio.timeout(CLOSE_WAIT_SECONDS):
                    await self._store.remove(leases)
        self._connected = False
        self._away = "closed"
        self._metrics.connected.set(0)
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

    async def numbers(self, name: StreamName) -> StreamNumbers | None:
        known = await self._ask(self._store.numbers(name)) if self._connected else None
        # A store that was failed over may know less than was told. One that knows nothing may know much less: then
        # whoever asks begins at UTC, which is ahead of anything given out.
        told = self._view.numbers.get(name)
        return known.grown(told) if known is not None and told is not None else known

    async def put_desired(self, record: Desired, expect: int | None = None) -> int:
        return await self._order(self._orders.put(record, expect))

    async def drop_desired(self, key: DesiredKey, expect: int | None = None) -> bool:
        return await self._order(self._orders.drop(key, expect))

    async def claim(self, key: DesiredKey, node: NodeId, on_change: Callable[[Claim], None]) -> Claim | None:
        other = self._view.claims.get(key)
        record = ClaimRecord(claim=str(key), node=node, since_ms=int(self._clock.utc() * 1000))
        claim = await self._order(self._claims.take(record, key, other.generation if other else 0, on_change))
        if claim is not None:
            shown = Change(LeaseKey(Kind.CLAIM, str(key)), How.PUT, encode_record(claim.record))
            self._changed(self._view.apply(shown, None))
        return claim

    def report(self, claim: Claim, status: str = "", detail: str = "", facts: Mapping[str, str] | None = None) -> None:
        if self._claims.report(claim, status=status, detail=detail, facts=dict(facts or {})):
            self._wake.set()

    async def release(self, claim: Claim) -> None:
        lease = self._claims.give_up(claim)
        if lease is not None and self._connected:
            with suppress(StoreAway):
                await self._order(self._store.remove([lease]))

    async def _order(self, asking: Coroutine[Any, Any, T]) -> T:
        """Await an exchange that somebody waits for; refuse at once while the store is away."""
        if not self._connected:
            asking.close()
            raise StoreAway(self._away)
        try:
            return await asking
        except StoreAway as error:
            self._went_away(str(error))
            raise

    async def _ask(self, asking: Coroutine[Any, Any, T]) -> T | None:
        """Await an exchange; `None` when the store is away."""
        try:
            return await self._order(asking)
        except StoreAway:
            return None

    # What is kept

    def _keep(self, record: OwnRecord) -> None:
        key = self._kept.keep(record)
        if key is not None:
            self._wake.set()
            self._changed(self._view.keep(key, record))

    def _drop(self, key: LeaseKey) -> None:
        if self._kept.drop(key):
            self._taken.pop(key, None)
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
                log.exception("registry failed, begins anew", store=self._store.where)
                self._went_away("an error of its own, see the log")
                self._tried.set()
                await asyncio.sleep(self._retry_seconds())

    async def _follow(self) -> None:
        while not self._closing:
            try:
                await self._follow_once()
            except StoreAway as error:
                self._went_away(str(error))
            self._tried.set()
            await asyncio.sleep(self._retry_seconds())

    def _retry_seconds(self) -> float:
        """Return how long to wait before the store is tried again: longer where many would come at once."""
        retry = min(self._lease_seconds / RETRIES_PER_LEASE, RETRY_MAX_SECONDS)
        return random.uniform(retry / 2, retry) + random.uniform(0.0, self._crowd / HERD_PER_SECOND)

    @property
    def _crowd(self) -> int:
        """How many nodes there are beyond what every process follows one by one."""
        return max(0, self._edges - EDGES_FOLLOWED)

    async def _follow_once(self) -> None:
        """Subscribe, read and follow until the store goes away, or the keeper finds that it did."""
        async with self._store.changes() as changes:
            await self._read(changes)
            self._came_back()
            while self._connected and not self._closing:
                self._apply(await changes.next(self._patience()))
                self._changed(self._view.settle(_now()))
                await self._restore()
                if _now() >= self._read_at:
                    await self._read(changes)

    def _patience(self) -> float:
        """Return how long to wait for changes before something else is due."""
        dues = (self._read_at, self._view.next_settling, self._orders.restore_at)
        due = min(one for one in dues if one is not None)
        return min(max(due - _now(), 0.0), self._lease_seconds / RENEWALS_PER_LEASE, PATIENCE_MAX_SECONDS)

    async def _read(self, changes: Changes) -> None:
        reading = await self._store.read(None if self._whole else EDGES_FOLLOWED)
        self._edges = reading.edges
        await changes.follow_edges(not reading.sampled)
        seconds = max(self._lease_seconds * READING_LEASES, len(reading.records) / READ_PER_SECOND)
        self._read_at = _now() + seconds * random.uniform(0.75, 1.25)
        for key, data in reading.records.items():
            self._check_fence(key, data)
        grace_until = _now() + self._lease_seconds * GRACE_LEASES
        self._changed(self._view.replace(reading.records, grace_until, reading.sampled))
        await self._orders.read(_now())

    async def _restore(self) -> None:
        """Write back desired records that the store lost, when it is our turn."""
        if self._orders.restore_at is not None and _now() >= self._orders.restore_at:
            restored = await self._orders.restore()
            if restored:
                log.warning("desired records restored", store=self._store.where, records=restored)

    def _apply(self, changes: Iterable[Change]) -> None:
        grace_until = self._grace_until if _now() < self._grace_until else None
        changed = False
        for change in changes:
            if change.key.kind is Kind.DESIRED:
                self._orders.apply(change)
                continue
            if change.how is How.PUT:
                self._check_fence(change.key, change.record)
            changed |= self._view.apply(change, grace_until)
        self._changed(changed)

    async def _keep_alive(self) -> None:
        while not self._closing:
            await self._work()
            if not self._connected:
                continue
            try:
                await self._write()
            except StoreAway as error:
                self._went_away(str(error))
            await asyncio.sleep(UPDATE_GAP_SECONDS)

    async def _work(self) -> None:
        """Wait until there is something to write: an update, a renewal, or everything because the store is back."""
        due = min(self._renew_at, self._kept.due_at or self._renew_at)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(due - _now(), 0.0) if self._connected else None):
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
                self._outranked(lease, other)
            elif self._taken.pop(lease.key, None) is not None:
                log.info("node id is ours", node=lease.key.name)

    def _wait(self, record: OwnRecord, data_bytes: int) -> float:
        """Return how long a change of `record` may have to wait, since so many would hear of it."""
        others = len(self._view.nodes)
        if isinstance(record, NodeRecord) and record.layer == LAYER_MAX:
            return wait_seconds(data_bytes, min(self._edges, EDGES_FOLLOWED), max(self._edges, 1))
        return wait_seconds(data_bytes, max(self._edges, others), max(others - self._edges, 1))

    async def _renew(self) -> None:
        began = _now()
        self._renew_at = began + self._lease_seconds / RENEWALS_PER_LEASE * random.uniform(0.8, 1.0)
        own, claimed = self._kept.leases(), self._claims.leases()
        kept = await self._store.renew([*own, *claimed], self._lease_seconds)
        self._metrics.round_trip.observe(_now() - began)
        self._kept.send_again(lease.key for lease, held in zip(own, kept[: len(own)], strict=True) if not held)
        self._claims.renewed(claimed, kept[len(own) :], began)

    # What the store says of what is kept here

    def _outranked(self, lease: Lease, data: bytes) -> None:
        """Somebody else holds what we keep, and is right."""
        try:
            other = parse_record(lease.key, data)
        except InvalidRecord as error:
            self._complain(lease.key, str(error))
            return
        if isinstance(other, StreamRecord):
            self._check_fence(lease.key, data)
        elif isinstance(other, NodeRecord) and lease.key in self._kept:
            self._node_taken(lease.key, other)

    def _check_fence(self, key: LeaseKey, data: bytes) -> None:
        """Give up the stream `key` if the record `data` is of an owner that is right."""
        if key.kind is not Kind.STREAM or key not in self._kept:
            return
        with suppress(InvalidRecord):
            other = parse_record(key, data)
            if isinstance(other, StreamRecord) and self._kept.lease(key).yields_to(other.epoch, other.node):
                self._fence(key, other)

    def _fence(self, key: LeaseKey, other: StreamRecord) -> None:
        ours = self._kept.lease(key)
        self._kept.forget(key)
        if other.state == "ended" and not other.generation:  # made up: its owner is gone
            self._changed(self._view.drop(key))
        else:
            self._view.release(key)
            self._changed(self._view.apply(Change(key, How.PUT, encode_record(other)), None))
        self._metrics.fenced.inc()
        log.warning("stream fenced", stream=key.name, epoch=ours.rank, owner=other.node, owner_epoch=other.epoch)
        self._call(self.on_fenced, StreamName(key.name), other)

    def _node_taken(self, key: LeaseKey, other: NodeRecord) -> None:
        """Wait out a predecessor that crashed; tell when it is alive."""
        taken = self._taken.setdefault(key, Taken(key.name, other, _now()))
        if taken.told or _now() - taken.since < self._lease_seconds * TAKEN_LEASES:
            return
        taken.told = True
        self._metrics.taken.inc()
        log.error("node id taken", node=key.name, other_started_us=other.started_us, other_url=other.relay_url)
        self._call(self.on_node_taken, other)

    # How it is

    def _came_back(self) -> None:
        away = 0.0 if self._away_since is None else _now() - self._away_since
        log.info("registry answers", store=self._store.where, away_seconds=round(away, 1), nodes=len(self.nodes))
        self._connected = True
        self._away_since = None
        self._grace_until = _now() + self._lease_seconds * GRACE_LEASES
        self._renew_at = _now()
        self._kept.send_again(self._kept.streams)  # a store that was failed over may have forgotten their last numbers
        self._metrics.connected.set(1)
        self._tried.set()
        self._wake.set()

    def _went_away(self, reason: str) -> None:
        self._connected = False
        self._away = reason
        if self._away_since is None:
            self._away_since = _now()
            self._metrics.connected.set(0)
            self._metrics.outages.inc()
            log.warning("registry is away", store=self._store.where, reason=reason)

    def _complain(self, key: LeaseKey, reason: str) -> None:
        self._metrics.refused.inc()
        log.warning("registry record ignored", kind=key.kind.value, name=key.name[:128], reason=reason)

    def _changed(self, changed: bool) -> None:
        if not changed:
            return
        self._metrics.nodes.set(len(self.nodes))
        self._metrics.streams.set(len(self.streams))
        if self._task is not None and self._notice is None:
            self._notice = asyncio.get_running_loop().call_soon(self._notify)

    def _desired_changed(self, keys: frozenset[DesiredKey]) -> None:
        self._told_keys |= keys
        self._changed(True)

    def _notify(self) -> None:
        self._notice = None
        keys, self._told_keys = frozenset(self._told_keys), set()
        for told in tuple(self.desired_watchers) if keys else ():
            self._call(told, keys)
        for watcher in tuple(self.watchers):
            self._call(watcher)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call what somebody else gave us; its failure is logged and is not ours."""
        try:
            callback(*arguments)
        except Exception:
            log.exception("registry callback failed", callback=getattr(callback, "__qualname__", repr(callback)))


def _now() -> float:
    """Return the event loop's time; lease expiry is the store's business, this only paces our own work."""
    return asyncio.get_running_loop().time()
