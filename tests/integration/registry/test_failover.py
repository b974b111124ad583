"""Stores of several servers, for real: Sentinels that fail over, and a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from headrace.clock import SystemClock
from headrace.identifiers import NodeId, StreamName
from headrace.registry.claims import Claim
from headrace.registry.desired import DesiredKey, DesiredKind, DesiredSource
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.registry.redis_registry import RedisRegistry
from headrace.registry.sealing import Uri
from headrace.testing import wait_until
from support.redis_cluster import DOWN_MILLISECONDS, Cluster, Sentinels, has_redis

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(not has_redis(), reason="needs redis-server and redis-cli"),
]

LEASE_SECONDS = 1.0
CAM = StreamName("cam1")
KEY = DesiredKey(DesiredKind.SOURCE, "cam1")

Open = Callable[[str], RedisRegistry]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Makes registries that are closed when the test ends."""
    registries: list[RedisRegistry] = []

    def open_registry(url: str) -> RedisRegistry:
        registries.append(RedisRegistry(url, "test", LEASE_SECONDS, SystemClock()))
        return registries[-1]

    yield open_registry
    for registry in registries:
        await registry.close()


def stream(owner: str, epoch: int, segment: int) -> StreamRecord:
    return StreamRecord(stream=CAM, node=owner, epoch=epoch, state="live", next_segment=segment)


async def test_sentinels_fail_over(opened: Open, tmp_path: Path) -> None:
    """When the master is killed everything is registered again soon after its replica took over; numbers only grow."""
    with Sentinels(tmp_path) as sentinels:
        await wait_until(sentinels.ready, timeout=30)
        a, b = opened(sentinels.url), opened(sentinels.url)
        await a.start()
        await b.start()
        a.keep_node(NodeRecord(node="a", role="ingress"))
        b.keep_node(NodeRecord(node="b", role="edge"))
        a.keep_stream(stream("a", 5, 100))
        await a.put_desired(DesiredSource(stream=CAM, uris=(Uri("test:"),)))
        generations: list[int] = []
        changed: Callable[[Claim], None] = lambda claim: generations.append(claim.generation)  # noqa: E731
        claim = await a.claim(KEY, NodeId("a"), changed)
        assert claim is not None
        first = claim.generation
        await wait_until(lambda: len(a.nodes) == len(b.nodes) == 2 and CAM in b.streams and KEY in b.claims)
        sizes: list[int] = []
        b.watchers.add(lambda: sizes.append(min(len(b.nodes), len(b.streams), len(b.desired))))

        sentinels.replica.pause()  # what is written now the replica never hears of
        a.keep_stream(stream("a", 5, 107))
        await _written(b, 107)
        sentinels.master.kill()
        sentinels.replica.resume()
        killed = time.monotonic()

        await wait_until(lambda: not a.connected and not b.connected, timeout=20)
        await wait_until(lambda: a.connected and b.connected, timeout=60)
        back = time.monotonic() - killed
        await wait_until(lambda: b.claims.get(KEY) == claim.record and claim.is_sure)
        await asyncio.sleep(2 * LEASE_SECONDS)
        late = opened(sentinels.url)
        await late.start()
        print(f"failover: answers again {back:.1f} s after the kill, down-after is {DOWN_MILLISECONDS} ms")
        assert set(late.nodes) == {"a", "b"}
        assert set(late.desired) == {KEY}
        assert late.claims[KEY].node == "a"
        assert claim.generation >= first
        known = await late.numbers(CAM)
        assert known is not None
        assert known.next_segment == 107
        assert all(size == 1 for size in sizes)


async def test_cluster_of_three(opened: Open) -> None:
    """In a cluster the server that has the slot is found, wherever one asks first, and everything works."""
    with Cluster() as cluster:
        await wait_until(cluster.ready, timeout=30)
        a = opened(cluster.url)
        others = [opened(f"redis+cluster://127.0.0.1:{server.port}") for server in cluster.servers]
        for one in (a, *others):
            await one.start()
            assert one.problem is None
        a.keep_node(NodeRecord(node="a", role="ingress"))
        a.keep_stream(stream("a", 5, 3))
        await a.put_desired(DesiredSource(stream=CAM, uris=(Uri("test:"),)))
        claim = await a.claim(KEY, NodeId("a"), lambda claim: None)
        for one in others:
            await _knows_all(one)
            assert await one.claim(KEY, NodeId("x"), lambda claim: None) is None
        assert claim is not None
        await a.release(claim)
        await a.drop_desired(KEY)
        a.drop_stream(CAM)
        for one in others:
            await _knows_none(one)


async def test_no_sentinel_answers(opened: Open) -> None:
    """What the Sentinels said, or that they said nothing, is told; the process runs and goes on trying."""
    a = opened("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main")
    await a.start()
    assert not a.connected
    assert "no sentinel server tells where the keys are" in a.status


async def _knows_all(one: RedisRegistry) -> None:
    await wait_until(lambda: CAM in one.streams and KEY in one.desired and KEY in one.claims and len(one.nodes) == 1)


async def _knows_none(one: RedisRegistry) -> None:
    await wait_until(lambda: not one.streams and not one.desired and not one.claims)


async def _written(one: RedisRegistry, segment: int) -> None:
    async def is_written() -> bool:
        known = await one.numbers(CAM)
        return known is not None and known.next_segment == segment

    await wait_until(is_written)
