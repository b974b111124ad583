"""The registry over a store that misbehaves in ways that no real one shows on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from headrace.clock import SystemClock
from headrace.identifiers import NodeId
from headrace.registry.base import LeasedRegistry
from headrace.registry.leases import Lease, Reading
from headrace.registry.memory import MemoryRegistry, MemoryStore
from headrace.registry.records import NODE_STREAMS_MAX, InvalidRecord, NodeRecord
from headrace.testing import FakeClock, wait_until

LEASE_SECONDS = 0.3


def node(name: str) -> NodeRecord:
    return NodeRecord(node=name, role="edge")


class FaultyStore(MemoryStore):
    """Raises what no store should, as many times as told."""

    faults = 0

    async def read(self, edges_max: int | None = None) -> Reading:
        if self.faults:
            self.faults -= 1
            raise ZeroDivisionError
        return await super().read(edges_max)


class DeafStore(MemoryStore):
    """Loses a cancellation now and then, as `asyncio.wait_for` does before Python 3.12."""

    async def renew(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.2)
        return await super().renew(leases, seconds)


async def test_fault_of_ours_does_not_end_the_registry() -> None:
    """An unexpected exception is logged and not ready, and the registry begins anew."""
    store = FaultyStore()
    store.faults = 2
    registry = LeasedRegistry(store, LEASE_SECONDS, SystemClock())
    with capture_logs() as lines:
        await registry.start()
        assert "an error of its own" in (registry.problem or "")
        registry.keep_node(node("a"))
        await wait_until(lambda: registry.connected)
    assert [line["event"] for line in lines].count("registry_failed") == 2
    other = MemoryRegistry(store)
    await other.start()
    await wait_until(lambda: NodeId("a") in other.nodes)
    await other.close()
    await registry.close()


async def test_close_though_a_cancellation_is_lost() -> None:
    """`close` ends the tasks even when a library under them eats their cancellation."""
    registry = LeasedRegistry(DeafStore(), LEASE_SECONDS, SystemClock())
    await registry.start()
    registry.keep_node(node("a"))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(10):
        await registry.close()


async def test_generation_is_the_start() -> None:
    """Records without a generation get the process's, so that the older start is known."""
    clock = FakeClock(utc=1_700_000_000.0)
    registry = MemoryRegistry(clock=clock)
    clock.advance(5.0)
    registry.keep_node(node("a"))
    assert registry.nodes[NodeId("a")].generation == 1_700_000_000_000_000
    await registry.close()


async def test_too_many_streams_go_untold() -> None:
    """A node that carries more streams than a record holds tells the first of them."""
    registry = MemoryRegistry()
    names = tuple(f"cam{number}" for number in range(NODE_STREAMS_MAX + 5))
    registry.keep_node(NodeRecord(node="a", role="edge", streams=names))
    assert registry.nodes[NodeId("a")].streams == names[:NODE_STREAMS_MAX]
    await registry.close()


async def test_bad_record_is_refused_to_its_maker() -> None:
    """A record that others would ignore is an error at once, and what was kept before stays."""
    registry = MemoryRegistry()
    registry.keep_node(node("a"))
    with pytest.raises(InvalidRecord):
        registry.keep_node(NodeRecord(node="a", role="edge", layer=5000))
    assert registry.nodes[NodeId("a")].layer == 0
    await registry.close()
