"""The way to the server that holds the keys: which one it is, connections to it, scripts, deadlines.

All keys of one registry lie in one slot, so one server holds them all, in a cluster as behind Sentinels. It is looked
for anew whenever the registry begins anew, which it does after every failure; so a server that was demoted, that lost
its slot or that died is left at the first word of it, and nothing here follows redirections.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline, PubSub
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import NoScriptError, RedisError

from headrace.registry.leases import StoreAway
from headrace.registry.redis_scripts import ALL, Script
from headrace.registry.redis_url import StoreAddress, StoreForm

CONNECTIONS_MAX: Final = 8
"""Most connections of one registry: one each to follow and to keep, the rest for questions; more wait their turn."""

Call = tuple[Script, list[str], list[Any]]
"""A script, its keys and its arguments."""


class RedisConnection:
    """Exchanges with the server that holds the keys below `tag`.

    Args:
        address: where to look for it.
        tag: the hash tag of all keys, braces included.
        deadline: bounds every exchange, in seconds.

    Raises:
        ValueError: when redis-py does not take the options of the address.
    """

    def __init__(self, address: StoreAddress, tag: str, deadline: float) -> None:
        self._address = address
        self._tag = tag
        self.deadline = deadline
        self._place: tuple[str, int] | None = None
        self._options = address.options | {
            "protocol": 2,  # replies of one shape, whatever the client's default becomes
            "decode_responses": False,
            # Each exchange has our own deadline around it. A socket timeout would make redis-py use asyncio.wait_for,
            # which before Python 3.12 loses a cancellation that comes together with the answer.
            "socket_timeout": None,
            "socket_connect_timeout": deadline,
            "health_check_interval": 0,
            "retry": Retry(NoBackoff(), 0),  # the registry itself decides when to try again
        }
        self._client: Redis | None = None
        self._locating = asyncio.Lock()
        try:
            self._pool(address.hosts[0] if address.hosts else None).make_connection()  # type: ignore[no-untyped-call]
        except (TypeError, ValueError, RedisError):
            raise ValueError(f"registry URL {address.where}: its query has an option that cannot be used") from None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Tell whatever fails in the store as `StoreAway`, in words without credentials."""
        try:
            yield
        except TimeoutError:
            raise StoreAway(f"no answer within {self.deadline:.1f} s") from None
        except (RedisError, OSError) as error:
            raise StoreAway(str(error) or type(error).__name__) from None

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        """Give the client for one exchange that ends within the deadline; what fails in it is `StoreAway`."""
        with self.errors():
            async with asyncio.timeout(self.deadline):
                yield await self._ready()

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """Run scripts in one exchange and return their answers; they may be run again, so they must bear it."""
        async with self.client() as client:
            answers = await _call(client, calls)
            if any(isinstance(answer, NoScriptError) for answer in answers):
                for script in ALL:
                    await client.script_load(script.text)
                answers = await _call(client, calls)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers

    @asynccontextmanager
    async def subscribed(self, channels: Sequence[str]) -> AsyncIterator[PubSub]:
        """Look for the server anew and subscribe there."""
        with self.errors():
            async with asyncio.timeout(self.deadline):
                await self._locate()
                client = await self._ready()
                # Idle connections from before an outage are dead, or their answers belong to questions of then.
                await client.connection_pool.disconnect(inuse_connections=False)
                subscription = client.pubsub()
        try:
            with self.errors():
                async with asyncio.timeout(self.deadline):
                    await subscription.subscribe(*channels)
                    while await subscription.get_message(timeout=self.deadline) is None:
                        pass
            yield subscription
        finally:
            with suppress(RedisError, OSError):
                await subscription.aclose()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Let go of all connections; never raises."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(self.deadline):
                    await client.aclose()

    # -- which server ------------------------------------------------------------------------------

    async def _ready(self) -> Redis:
        if self._client is None:
            await self._locate()
        assert self._client is not None, "locating makes a client or raises"
        return self._client

    async def _locate(self) -> None:
        async with self._locating:
            place = await self._find()
            if self._client is not None and place == self._place:
                return
            old, self._place = self._client, place
            self._client = Redis.from_pool(self._pool(place))
            if old is not None:
                with suppress(RedisError, OSError):
                    await old.aclose()

    async def _find(self) -> tuple[str, int] | None:
        """Return the host and port to connect to; `None` for the Unix socket of the options."""
        hosts = list(self._address.hosts)
        if self._address.form is StoreForm.SINGLE:
            return hosts[0] if hosts else None
        random.shuffle(hosts)  # so that not all processes lean on one of them
        if self._place in hosts:
            hosts.insert(0, hosts.pop(hosts.index(self._place)))
        ask = self._ask_sentinel if self._address.form is StoreForm.SENTINEL else self._ask_cluster
        failures = []
        for host in hosts:
            try:
                async with asyncio.timeout(self.deadline / (len(hosts) + 1)):
                    return await ask(*host)
            except (RedisError, OSError, TimeoutError) as error:
                failures.append(f"{host[0]}:{host[1]}: {str(error) or 'no answer'}")
        raise RedisError(f"no {self._address.form.value} server tells where the keys are; {'; '.join(failures)}"[:500])

    async def _ask_sentinel(self, host: str, port: int) -> tuple[str, int]:
        kwargs = {"socket_timeout": None, "socket_connect_timeout": self.deadline, "retry": Retry(NoBackoff(), 0)}
        sentinel = Sentinel([(host, port)], sentinel_kwargs=self._address.sentinel_options | kwargs)  # type: ignore[no-untyped-call]
        try:
            found: Any = await sentinel.discover_master(self._address.service)
            return str(found[0]), int(found[1])
        finally:
            for client in sentinel.sentinels:
                await client.aclose()

    async def _ask_cluster(self, host: str, port: int) -> tuple[str, int]:
        client = Redis.from_pool(self._pool((host, port)))
        try:
            slots: Any = await client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
        finally:
            await client.aclose()
        slot = key_slot(self._tag[1:-1].encode())
        for first, last, master, *_ in slots:
            if first <= slot <= last:
                name = master[0].decode() if master[0] else host  # it tells no name when it was given none
                return name, int(master[1])
        raise RedisError(f"no server of the cluster has slot {slot}")

    def _pool(self, place: tuple[str, int] | None) -> BlockingConnectionPool:
        options = dict(self._options)
        if place is not None:
            options["host"], options["port"] = place
        return BlockingConnectionPool(max_connections=CONNECTIONS_MAX, timeout=self.deadline, **options)


async def _call(client: Redis, calls: Sequence[Call]) -> list[Any]:
    pipeline: Pipeline
    async with client.pipeline(transaction=False) as pipeline:
        for script, keys, arguments in calls:
            pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
        return await pipeline.execute(raise_on_error=False)
