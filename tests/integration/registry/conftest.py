"""The stores that the registry must behave alike on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection

import pytest

from headrace.clock import SystemClock
from headrace.registry.base import LeasedRegistry
from headrace.registry.claims import Claim
from headrace.registry.desired import DesiredKey, DesiredKind
from headrace.registry.leases import Kind, Lease, LeaseKey, LeaseStore
from headrace.registry.memory import MemoryRegistry, MemoryStore
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.redis_registry import RedisRegistry, RedisStore
from headrace.registry.sealing import Vault
from headrace.testing import wait_until
from support.redis_server import RedisServer, redis_programs, redis_server  # noqa: F401

LEASE_SECONDS = 1.0
VAULT = Vault(["the cluster's secret"])


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the coroutine function `condition` returns true."""
    asked: Callable[[], bool | Awaitable[bool]] = condition
    await wait_until(asked)


class Sources:
    """All sources that are desired, as the work of a node that could run each, as far as a test can tell.

    Attributes:
        done: what it carries out, with its claims.
        ended: what it stopped doing though it is desired still, in order.
    """

    def __init__(self, registry: LeasedRegistry) -> None:
        self._registry = registry
        self.done: dict[DesiredKey, Claim] = {}
        self.ended: list[DesiredKey] = []

    @property
    def keys(self) -> set[DesiredKey]:
        return {key for key in self._registry.desired if key.kind is DesiredKind.SOURCE}

    def look(self, keys: Collection[DesiredKey]) -> None:
        """Records are looked at when they are asked for."""

    async def share(self) -> None:
        """Nothing is configured."""

    def is_own(self, key: DesiredKey) -> bool:
        return False

    def can_only_refuse(self, key: DesiredKey) -> bool:
        return False

    def begin(self, key: DesiredKey, claim: Claim | None) -> None:
        assert claim is not None
        self.done[key] = claim

    def fence(self, key: DesiredKey) -> None:
        """Nothing is seen of it anyway."""

    async def end(self, key: DesiredKey) -> None:
        del self.done[key]
        if key in self._registry.desired:
            self.ended.append(key)

    def is_current(self, key: DesiredKey) -> bool:
        return True


class World:
    """One store and the registries of several processes on it."""

    def __init__(self) -> None:
        self.opened: list[LeasedRegistry] = []
        self.stores: list[LeaseStore] = []

    async def registry(self, metrics: RegistryMetrics | None = None) -> LeasedRegistry:
        """Return the started registry of one more process."""
        registry = self.make(metrics)
        self.opened.append(registry)
        await registry.start()
        return registry

    def store(self) -> LeaseStore:
        """Return the bare store, for what no registry would do."""
        store = self.make_store()
        self.stores.append(store)
        return store

    async def foreign(self, kind: Kind, name: str, record: bytes, rank: int = 0, seconds: float = 30.0) -> None:
        """Write a lease that nobody renews, as a process that died or somebody else's program would have."""
        await self.store().put([Lease(LeaseKey(kind, name), rank, "foreign", record)], seconds)

    async def close(self) -> None:
        for registry in self.opened:
            await registry.close()
        for store in self.stores:
            await store.close()

    def make(self, metrics: RegistryMetrics | None) -> LeasedRegistry:
        raise NotImplementedError

    def make_store(self) -> LeaseStore:
        raise NotImplementedError

    def take_away(self) -> None:
        """The store dies."""
        raise NotImplementedError

    def bring_back(self) -> None:
        """The store is there again, and empty."""
        raise NotImplementedError

    def flush(self) -> None:
        """The store forgets everything without dying."""
        raise NotImplementedError


class MemoryWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.memory = MemoryStore()

    def make(self, metrics: RegistryMetrics | None) -> LeasedRegistry:
        return MemoryRegistry(self.memory, LEASE_SECONDS, metrics=metrics, vault=VAULT)

    def make_store(self) -> LeaseStore:
        return self.memory

    def take_away(self) -> None:
        self.memory.take_away()

    def bring_back(self) -> None:
        self.memory.bring_back(flushed=True)

    def flush(self) -> None:
        self.memory.flush()


class RedisWorld(World):
    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self.server = server

    def make(self, metrics: RegistryMetrics | None) -> LeasedRegistry:
        return RedisRegistry(self.server.url, "test", LEASE_SECONDS, SystemClock(), metrics, VAULT)

    def make_store(self) -> LeaseStore:
        return RedisStore(self.server.url, "test", 5.0)

    def take_away(self) -> None:
        self.server.kill()

    def bring_back(self) -> None:
        self.server.start()

    def flush(self) -> None:
        assert self.server.command("FLUSHALL").startswith(b"+OK")


STORES = [
    pytest.param("memory", id="memory"),
    *(pytest.param(name, id=name, marks=pytest.mark.redis) for name in sorted(redis_programs())),
]


@pytest.fixture(params=STORES)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A world on each kind of store."""
    if request.param == "memory":
        memory = MemoryWorld()
        yield memory
        await memory.close()
        return
    with RedisServer(redis_programs()[request.param]) as server:
        redis = RedisWorld(server)
        yield redis
        await redis.close()
