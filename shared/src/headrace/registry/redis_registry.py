"""The registry in Redis or Valkey; keys, types, TTLs and writers stand in docs/registry.md.

All keys and channels of one registry carry one hash tag, so that the scripts work in Redis Cluster too. Every exchange
has a deadline; whatever goes wrong in one is told as `StoreAway`, and the registry goes on from there.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from redis.exceptions import ResponseError

from headrace.clock import Clock
from headrace.identifiers import InvalidName, StreamName, node_id
from headrace.registry import redis_desired
from headrace.registry.base import LeasedRegistry
from headrace.registry.desired import DesiredKey
from headrace.registry.leases import (
    EDGES_SAMPLED,
    Changes,
    DesiredReading,
    Kind,
    Lease,
    LeaseKey,
    Reading,
)
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.records import (
    EPOCHS_MAX,
    MILLISECONDS_MAX,
    SECONDS_MAX,
    SEGMENT_MAX,
    InvalidRecord,
    StreamNumbers,
    past_record,
)
from headrace.registry.redis_changes import RedisChanges, parse_member
from headrace.registry.redis_connection import RedisConnection
from headrace.registry.redis_scripts import CLAIM, PUT, REMOVE, RENEW, UPDATE
from headrace.registry.redis_url import parse_store_url
from headrace.registry.sealing import Vault

BATCH: Final = 200
"""Most leases in one exchange: longer ones would keep the store, which does one thing at a time, from others."""

ENDS_MAX: Final = 1000
"""Most ends of leases told in one renewal; the next one tells the rest."""

DEADLINE_MIN_SECONDS: Final = 0.5
"""Shortest deadline of one exchange: a busy machine answers later than a quick lease wants."""

DEADLINE_MAX_SECONDS: Final = 5.0
"""Longest deadline of one exchange: a store that takes longer does not serve."""

_NUMBERS: Final = {
    "next_segment": SEGMENT_MAX,
    "end_seconds": SECONDS_MAX,
    "epoch": MILLISECONDS_MAX,
    "epochs": EPOCHS_MAX,
}
"""The durable numbers of a stream, and what each is believed up to half of."""

_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)


class RedisRegistry(LeasedRegistry):
    """A registry that many processes share through one Redis or Valkey.

    Args:
        url: as `headrace.registry.redis_url` describes.
        prefix: what all keys begin with, inside a hash tag; letters, digits and `_ . : -`.
        lease_seconds: how long what it keeps outlives it, if it is not closed.
        clock: where generations come from.
        metrics: what it counts.
        vault: seals the addresses of desired records.
        whole: know every edge, however many there are.

    Raises:
        ValueError: when the URL or the prefix is malformed; the sentence holds no credentials.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        lease_seconds: float,
        clock: Clock,
        metrics: RegistryMetrics | None = None,
        vault: Vault | None = None,
        *,
        whole: bool = False,
    ) -> None:
        deadline = min(max(lease_seconds / 3, DEADLINE_MIN_SECONDS), DEADLINE_MAX_SECONDS)
        store = RedisStore(url, prefix, deadline)
        super().__init__(store, lease_seconds, clock, metrics, vault, whole=whole)
        store.on_ignored = self._complain


class RedisStore:
    """Leases, durable numbers and desired records in Redis; see `LeaseStore` for what the methods do.

    Attributes:
        on_ignored: called with the stream whose durable numbers hold what nothing of ours can have written, and what.
    """

    def __init__(self, url: str, prefix: str, deadline: float) -> None:
        """Prepare, without connecting; `deadline` seconds bound every exchange."""
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(f"registry prefix {prefix!r}: use 1 to 64 letters, digits and _ . : -")
        address = parse_store_url(url)
        self.where = address.where
        self.on_ignored: Callable[[LeaseKey, str], None] = lambda key, reason: None
        self._tag = f"{{{prefix}}}"
        self._connection = RedisConnection(address, self._tag, deadline)
        self._indexes = (f"{self._tag}:leases", f"{self._tag}:edges")
        self._channels = (f"{self._tag}:changes", f"{self._tag}:changes:edges")

    def __repr__(self) -> str:
        return f"<RedisStore {self.where} {self._tag}>"

    async def put(self, leases: Sequence[Lease], seconds: float) -> list[bytes | None]:
        answers: list[bytes | None] = []
        for batch in _batches(leases):
            answers += await self._connection.run([(PUT, *self._put_arguments(lease, seconds)) for lease in batch])
        pairs = zip(leases, answers, strict=True)
        return [_past(lease, answer) if answer is not None else None for lease, answer in pairs]

    async def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        kept: list[bool] = []
        for batch in _batches(leases) or [[]]:
            keys = [*self._indexes, *(self._lease_key(lease.key) for lease in batch)]
            arguments: list[str | int] = [_milliseconds(seconds), *self._channels, ENDS_MAX]
            for lease in batch:
                arguments += [lease.rank, lease.holder, _member(lease.key), 1 + lease.crowd]
            answer = (await self._connection.run([(RENEW, keys, arguments)]))[0]
            kept += [bool(one) for one in answer]
        return kept

    async def remove(self, leases: Sequence[Lease]) -> None:
        for batch in _batches(leases):
            await self._connection.run([(REMOVE, *self._remove_arguments(lease)) for lease in batch])

    async def claim(self, lease: Lease, floor: int, seconds: float) -> Lease | bytes:
        keys = [self._lease_key(lease.key), self._indexes[0], f"{self._tag}:counter"]
        arguments = [lease.holder, lease.record, _milliseconds(seconds), _member(lease.key), self._channels[0], floor]
        rank, record = (await self._connection.run([(CLAIM, keys, arguments)]))[0]
        return replace(lease, rank=int(rank), record=record) if int(rank) else bytes(record)

    async def update(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        answers: list[Any] = []
        for batch in _batches(leases):
            answers += await self._connection.run([(UPDATE, *self._put_arguments(lease, seconds)) for lease in batch])
        return [bool(answer) for answer in answers]

    async def read(self, edges_max: int | None = None) -> Reading:
        await self.renew((), 0.0)  # whatever is over is told, and an index that is none is gone
        async with self._connection.client() as client:
            members: Any = await client.zrange(self._indexes[0], 0, -1)
            edges: int = await client.zcard(self._indexes[1])
            sampled = edges_max is not None and edges > edges_max
            first = random.randrange(edges - EDGES_SAMPLED) if sampled else 0
            members += await client.zrange(self._indexes[1], first, first + EDGES_SAMPLED - 1 if sampled else -1)
        records: dict[LeaseKey, bytes] = {}
        for batch in _batches([key for key in map(parse_member, members) if key is not None]):
            async with self._connection.client() as client, client.pipeline(transaction=False) as pipeline:
                for key in batch:
                    pipeline.hget(self._lease_key(key), "record")
                answers = await pipeline.execute(raise_on_error=False)
            found = zip(batch, answers, strict=True)
            records |= {key: data for key, data in found if isinstance(data, bytes)}
        return Reading(records, edges, sampled)

    async def numbers(self, name: StreamName) -> StreamNumbers | None:
        async with self._connection.client() as client:
            try:
                fields: Any = await client.hmget(self._numbers_key(name), list(_NUMBERS))
            except ResponseError as error:
                if str(error).startswith("WRONGTYPE"):
                    return None
                raise
        numbers, ignored = _parse_numbers(fields)
        if ignored:
            self.on_ignored(
                LeaseKey(Kind.STREAM, name), f"its durable numbers are ignored where out of range: {ignored}"
            )
        return numbers

    async def read_desired(self) -> DesiredReading:
        return await redis_desired.read(self._connection, self._tag)

    async def put_desired(self, key: DesiredKey, data: bytes, expect: int | None, floor: int) -> bytes:
        return await redis_desired.put(self._connection, self._tag, key, data, expect, floor)

    async def drop_desired(self, key: DesiredKey, expect: int | None, floor: int) -> int | None:
        return await redis_desired.drop(self._connection, self._tag, key, expect, floor)

    async def restore_desired(self, entries: Mapping[DesiredKey, bytes]) -> None:
        for batch in _batches(list(entries.items())):
            await redis_desired.restore(self._connection, self._tag, batch)

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[Changes]:
        async with self._connection.subscribed(self._channels[:1]) as subscription:
            yield RedisChanges(self._connection, subscription, self._channels[1])

    async def close(self) -> None:
        await self._connection.close()

    def _lease_key(self, key: LeaseKey) -> str:
        return f"{self._tag}:{_member(key)}"

    def _numbers_key(self, name: str) -> str:
        return f"{self._tag}:numbers:{name}"

    def _put_arguments(self, lease: Lease, seconds: float) -> tuple[list[str], list[Any]]:
        keys = [self._lease_key(lease.key), self._indexes[lease.crowd]]
        arguments: list[Any] = [lease.rank, lease.holder, lease.record, _milliseconds(seconds), _member(lease.key)]
        arguments.append(self._channels[lease.crowd] if lease.told else "")
        if lease.numbers is not None:
            keys.append(self._numbers_key(lease.key.name))
            numbers = lease.numbers
            arguments += [numbers.next_segment, repr(numbers.end_seconds), numbers.epoch, numbers.epochs]
        return keys, arguments

    def _remove_arguments(self, lease: Lease) -> tuple[list[str], list[Any]]:
        keys = [self._lease_key(lease.key), self._indexes[lease.crowd]]
        return keys, [lease.rank, lease.holder, _member(lease.key), self._channels[lease.crowd]]


def _past(lease: Lease, answer: bytes) -> bytes:
    """Return the record of the lease that is right; one is made up for an owner that was and is gone."""
    if not answer.startswith(b"past "):
        return answer
    _, epoch, owner = answer.decode(errors="replace").split(" ", 2)
    try:
        owner = node_id(owner)
    except InvalidName:
        owner = "unknown"
    try:
        return past_record(lease.key.name, owner, int(epoch))
    except (InvalidRecord, ValueError):
        return answer  # no record either: whoever reads it complains


def _member(key: LeaseKey) -> str:
    return f"{key.kind.value}:{key.name}"


def _parse_numbers(fields: Sequence[bytes | None]) -> tuple[StreamNumbers | None, str]:
    """Return durable numbers, `None` when there are none, and the names of those out of range, which count as 0."""
    if all(field is None for field in fields):
        return None, ""
    numbers = [_number(field, most) for field, most in zip(fields, _NUMBERS.values(), strict=True)]
    segment, seconds, epoch, epochs = (number or 0.0 for number in numbers)
    ignored = [name for name, number in zip(_NUMBERS, numbers, strict=True) if number is None]
    known = StreamNumbers(next_segment=int(segment), end_seconds=seconds, epoch=int(epoch), epochs=int(epochs))
    return known, ", ".join(ignored)


def _number(field: bytes | None, most: int) -> float | None:
    """Return a number, exact where it is whole, 0 when there is none; `None` for one that cannot be."""
    try:
        number = float(field or 0)
    except ValueError:
        return None
    return number if 0.0 <= number <= most // 2 else None


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
