"""The registry in Redis or Valkey; keys, types, TTLs and writers stand in docs/registry.md.

All keys and the channel of one registry carry one hash tag, so that the scripts work in Redis Cluster too. Every
exchange has a deadline; whatever goes wrong in one is told as `StoreAway`, and the registry goes on from there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline, PubSub
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from headrace.clock import Clock
from headrace.identifiers import StreamName
from headrace.registry.base import LeasedRegistry
from headrace.registry.leases import Change, Changes, How, Kind, Lease, LeaseKey, StoreAway
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.records import RECORD_MAX_BYTES, WHOLE_MAX, StreamNumbers
from headrace.registry.redis_scripts import ALL, PUT, REMOVE, RENEW, Script

BATCH: Final = 200
"""Most leases in one exchange: longer ones would keep the store, which does one thing at a time, from others."""

ENDS_MAX: Final = 1000
"""Most ends of leases told in one renewal; the next one tells the rest."""

CHANGES_MAX: Final = 1000
"""Most changes taken from the socket before the view is brought up to date."""

CONNECTIONS_MAX: Final = 8
"""Most connections of one registry: one each to follow and to keep, the rest for `numbers`; more wait their turn."""

DEADLINE_MIN_SECONDS: Final = 0.5
"""Shortest deadline of one exchange: a busy machine answers later than a quick lease wants."""

DEADLINE_MAX_SECONDS: Final = 5.0
"""Longest deadline of one exchange: a store that takes longer does not serve."""

DEFAULT_PORT: Final = 6379

_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
_SCHEMES: Final = ("redis", "rediss", "unix")
_MEMBER = re.compile(rb"(node|stream):([\x21-\x7e]{1,128})")
_EVENT_MAX_BYTES: Final = RECORD_MAX_BYTES + 256


class RedisRegistry(LeasedRegistry):
    """A registry that many processes share through one Redis or Valkey.

    Args:
        url: `redis://[user:password@]host[:port][/db]`, `rediss://…` for TLS, `unix://…`; its query is redis-py's.
        prefix: what all keys begin with, inside a hash tag; letters, digits and `_ . : -`.
        lease_seconds: how long what it keeps outlives it, if it is not closed.
        clock: where generations come from.
        metrics: what it counts.

    Raises:
        ValueError: when the URL or the prefix is malformed; the sentence holds no credentials.
    """

    def __init__(
        self, url: str, prefix: str, lease_seconds: float, clock: Clock, metrics: RegistryMetrics | None = None
    ) -> None:
        deadline = min(max(lease_seconds / 3, DEADLINE_MIN_SECONDS), DEADLINE_MAX_SECONDS)
        super().__init__(RedisStore(url, prefix, deadline), lease_seconds, clock, metrics)


class RedisStore:
    """Leases and durable numbers in Redis; see `LeaseStore` for what the methods do."""

    def __init__(self, url: str, prefix: str, deadline: float) -> None:
        """Prepare, without connecting; `deadline` seconds bound every exchange."""
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(f"registry prefix {prefix!r}: use 1 to 64 letters, digits and _ . : -")
        options = _connection_options(url)
        self.where = _without_credentials(url)
        self._tag = f"{{{prefix}}}"
        self._deadline = deadline
        options |= {
            "protocol": 2,  # replies of one shape, whatever the client's default becomes
            "decode_responses": False,
            # Each exchange has our own deadline around it. A socket timeout would make redis-py use asyncio.wait_for,
            # which before Python 3.12 loses a cancellation that comes together with the answer.
            "socket_timeout": None,
            "socket_connect_timeout": deadline,
            "health_check_interval": 0,
            "retry": Retry(NoBackoff(), 0),  # the registry itself decides when to try again
        }
        pool = BlockingConnectionPool(max_connections=CONNECTIONS_MAX, timeout=deadline, **options)
        try:
            pool.make_connection()  # type: ignore[no-untyped-call]
        except (TypeError, ValueError, RedisError):
            raise ValueError(f"registry URL {self.where}: its query has an option that cannot be used") from None
        self._client: Redis = Redis.from_pool(pool)

    def __repr__(self) -> str:
        return f"<RedisStore {self.where} {self._tag}>"

    async def put(self, leases: Sequence[Lease], seconds: float) -> list[bytes | None]:
        answers: list[bytes | None] = []
        for batch in _batches(leases):
            answers += await self._run([(PUT, *self._put_arguments(lease, seconds)) for lease in batch])
        return answers

    async def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        kept: list[bool] = []
        for batch in _batches(leases) or [[]]:
            keys = [self._index, *(self._lease_key(lease.key) for lease in batch)]
            arguments: list[str | int] = [_milliseconds(seconds), self._channel, ENDS_MAX]
            for lease in batch:
                arguments += [lease.rank, lease.holder, _member(lease.key)]
            answer = (await self._run([(RENEW, keys, arguments)]))[0]
            kept += [bool(one) for one in answer]
        return kept

    async def remove(self, leases: Sequence[Lease]) -> None:
        for batch in _batches(leases):
            await self._run(
                [
                    (
                        REMOVE,
                        [self._lease_key(lease.key), self._index],
                        [lease.rank, lease.holder, _member(lease.key), self._channel],
                    )
                    for lease in batch
                ]
            )

    async def read(self) -> dict[LeaseKey, bytes]:
        await self.renew((), 0.0)  # whatever is over is told, and an index that is none is gone
        with self.errors():
            async with asyncio.timeout(self._deadline):
                members: Any = await self._client.zrange(self._index, 0, -1)
        records: dict[LeaseKey, bytes] = {}
        keys = [key for key in map(_key, members) if key is not None]
        for batch in _batches(keys):
            with self.errors():
                async with asyncio.timeout(self._deadline), self._client.pipeline(transaction=False) as pipeline:
                    for key in batch:
                        pipeline.hget(self._lease_key(key), "record")
                    answers = await pipeline.execute(raise_on_error=False)
            found = zip(batch, answers, strict=True)
            records |= {key: data for key, data in found if isinstance(data, bytes)}
        return records

    async def numbers(self, name: StreamName) -> StreamNumbers | None:
        with self.errors():
            async with asyncio.timeout(self._deadline):
                try:
                    fields: Any = await self._client.hmget(
                        self._numbers_key(name), "next_segment", "end_seconds", "epoch"
                    )
                except ResponseError as error:
                    if str(error).startswith("WRONGTYPE"):
                        return None
                    raise
        return _parse_numbers(fields)

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[Changes]:
        subscription = self._client.pubsub()
        try:
            with self.errors():
                async with asyncio.timeout(self._deadline):
                    # Idle connections from before an outage are dead, or their answers belong to questions of then.
                    await self._client.connection_pool.disconnect(inuse_connections=False)
                    await subscription.subscribe(self._channel)
                    while await subscription.get_message(timeout=self._deadline) is None:
                        pass
            yield _RedisChanges(self, subscription)
        finally:
            with suppress(RedisError, OSError):
                await subscription.aclose()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(self._deadline):
                await self._client.aclose()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Tell whatever fails in the store as `StoreAway`, in words without credentials."""
        try:
            yield
        except TimeoutError:
            raise StoreAway(f"no answer within {self._deadline:.1f} s") from None
        except (RedisError, OSError) as error:
            raise StoreAway(str(error) or type(error).__name__) from None

    @property
    def deadline(self) -> float:
        """Longest time for one exchange, in seconds."""
        return self._deadline

    @property
    def _index(self) -> str:
        return f"{self._tag}:leases"

    @property
    def _channel(self) -> str:
        return f"{self._tag}:changes"

    def _lease_key(self, key: LeaseKey) -> str:
        return f"{self._tag}:{_member(key)}"

    def _numbers_key(self, name: str) -> str:
        return f"{self._tag}:numbers:{name}"

    def _put_arguments(self, lease: Lease, seconds: float) -> tuple[list[str], list[Any]]:
        keys = [self._lease_key(lease.key), self._index]
        arguments: list[Any] = [lease.rank, lease.holder, lease.record, _milliseconds(seconds), _member(lease.key)]
        arguments.append(self._channel)
        if lease.numbers is not None:
            keys.append(self._numbers_key(lease.key.name))
            arguments += [lease.numbers.next_segment, repr(lease.numbers.end_seconds), lease.numbers.epoch]
        return keys, arguments

    async def _run(self, calls: Sequence[tuple[Script, list[str], list[Any]]]) -> list[Any]:
        """Run scripts in one exchange and return their answers; they may be run again, so they must bear it."""
        with self.errors():
            async with asyncio.timeout(self._deadline):
                answers = await self._call(calls)
                if any(isinstance(answer, NoScriptError) for answer in answers):
                    for script in ALL:
                        await self._client.script_load(script.text)
                    answers = await self._call(calls)
                for answer in answers:
                    if isinstance(answer, Exception):
                        raise answer
                return answers

    async def _call(self, calls: Sequence[tuple[Script, list[str], list[Any]]]) -> list[Any]:
        pipeline: Pipeline
        async with self._client.pipeline(transaction=False) as pipeline:
            for script, keys, arguments in calls:
                pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
            return await pipeline.execute(raise_on_error=False)


class _RedisChanges:
    """A subscription that notices when it is dead, or was silently made anew."""

    def __init__(self, store: RedisStore, subscription: PubSub) -> None:
        self._store = store
        self._subscription = subscription
        self._asked = self._heard = _now()

    async def next(self, timeout: float) -> list[Change]:
        with self._store.errors():
            await self._prove()
            async with asyncio.timeout(timeout + self._store.deadline):  # it may connect anew by itself
                message = await self._subscription.get_message(timeout=timeout)
            changes: list[Change] = []
            while message is not None:
                self._heard = _now()
                changes += self._read(message)
                if len(changes) >= CHANGES_MAX:
                    break
                message = await self._subscription.get_message(timeout=0)
            return changes

    async def _prove(self) -> None:
        """Ask for a sign of life when there was none for a while; give up when it does not come."""
        now = _now()
        if self._heard < self._asked and now - self._asked >= self._store.deadline:
            raise TimeoutError
        if self._heard >= self._asked and now - self._heard >= self._store.deadline / 2:
            self._asked = now
            async with asyncio.timeout(self._store.deadline):
                await self._subscription.ping()

    def _read(self, message: dict[str, Any]) -> list[Change]:
        match message["type"]:
            case "message":
                change = _parse_change(message["data"])
                return [change] if change is not None else []
            case "pong":
                return []
            case _:  # the client connected anew by itself: what happened meanwhile is lost
                raise StoreAway("the subscription was interrupted")


def _connection_options(url: str) -> dict[str, Any]:
    """Return redis-py's options for `url`. Messages never quote it: anything in it may be part of a password."""
    scheme = url.partition("://")[0]
    if "://" not in url or scheme not in _SCHEMES:
        raise ValueError("registry URL: it must begin with redis://, rediss:// or unix://, or be memory:")
    advice = "special characters in user and password must be percent-encoded"
    try:
        parts = urlsplit(url)
        valid = bool(parts.path.strip("/")) if scheme == "unix" else bool(parts.hostname) and parts.port != 0
        database = scheme == "unix" or re.fullmatch(r"(/\d*)?", parts.path, re.ASCII) is not None
        options = dict(parse_url(url))
    except ValueError:
        valid = database = False
    if not valid:
        form = "unix:///path" if scheme == "unix" else f"{scheme}://[user:password@]host[:port][/db]"
        raise ValueError(f"registry URL: it cannot be read as {form}; {advice}")
    if not database or "#" in url:
        raise ValueError(f"registry URL: what follows the host must be a database number; {advice}")
    return options


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}:{parts.port or DEFAULT_PORT}{parts.path.rstrip('/')}"


def _member(key: LeaseKey) -> str:
    return f"{key.kind.value}:{key.name}"


def _key(member: bytes) -> LeaseKey | None:
    """Return the lease that a member of the index stands for, `None` for one that is not ours."""
    match = _MEMBER.fullmatch(member)
    return LeaseKey(Kind(match[1].decode()), match[2].decode()) if match else None


def _parse_change(data: bytes) -> Change | None:
    """Return the change that was told; `None` for what is not ours."""
    if len(data) > _EVENT_MAX_BYTES:
        return None
    how, _, rest = data.partition(b" ")
    member, _, record = rest.partition(b" ")
    key = _key(member)
    if key is None or how not in _HOWS:
        return None
    return Change(key, _HOWS[how], record)


_HOWS: Final = {how.value.encode(): how for how in How}


def _parse_numbers(fields: Sequence[bytes | None]) -> StreamNumbers | None:
    """Return durable numbers, `None` when there are none; a field that is missing or out of range counts as 0."""
    if all(field is None for field in fields):
        return None
    segment, seconds, epoch = fields
    return StreamNumbers(next_segment=_whole(segment), end_seconds=_seconds(seconds), epoch=_whole(epoch))


def _whole(field: bytes | None) -> int:
    try:
        number = int(field or 0)
    except ValueError:
        return 0
    return number if 0 <= number <= WHOLE_MAX else 0


def _seconds(field: bytes | None) -> float:
    try:
        number = float(field or 0)
    except ValueError:
        return 0.0
    return number if 0.0 <= number <= WHOLE_MAX else 0.0


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


def _now() -> float:
    return asyncio.get_running_loop().time()
