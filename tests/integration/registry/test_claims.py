"""Who carries out what is desired: one at a time, on each kind of store."""

from __future__ import annotations

import asyncio

import pytest

from headrace.identifiers import NodeId
from headrace.registry.base import LeasedRegistry
from headrace.registry.claims import Claim, ClaimState
from headrace.registry.contest import Contest
from headrace.registry.desired import (
    DesiredDrain,
    DesiredKey,
    DesiredKind,
    DesiredMove,
    DesiredSource,
    desired_key,
)
from headrace.registry.leases import Kind, Lease, LeaseKey, StoreAway
from headrace.registry.records import ClaimRecord, NodeRecord, encode_record
from headrace.registry.sealing import Uri
from headrace.testing import wait_until

from .conftest import LEASE_SECONDS, Sources, World

KEY = DesiredKey(DesiredKind.SOURCE, "cam1")
CAM = DesiredSource(stream="cam1", uris=(Uri("test:"),))


class Changes(list[tuple[ClaimState, int]]):
    """What `on_change` was called with."""

    def __call__(self, claim: Claim) -> None:
        self.append((claim.state, claim.generation))


async def test_one_of_many_wins(world: World) -> None:
    """Of many that claim at once one has it, and all see who."""
    registries = [await world.registry() for _ in range(4)]
    claims = await asyncio.gather(
        *(one.claim(KEY, NodeId(f"in-{number}"), Changes()) for number, one in enumerate(registries))
    )
    won = [claim for claim in claims if claim is not None]
    assert len(won) == 1
    assert won[0].is_sure
    for one in registries:
        await wait_until(lambda one=one: one.claims.get(KEY) == won[0].record)  # type: ignore[misc]


async def test_released_is_free_and_generations_grow(world: World) -> None:
    """A released claim may be taken at once, under a greater generation."""
    a, b = await world.registry(), await world.registry()
    first = await a.claim(KEY, NodeId("a"), Changes())
    assert first is not None
    assert await b.claim(KEY, NodeId("b"), Changes()) is None
    await a.release(first)
    await a.release(first)
    second = await b.claim(KEY, NodeId("b"), Changes())
    assert second is not None
    assert second.generation > first.generation
    assert first.state is ClaimState.RELEASED
    assert not first.is_sure


async def test_held_outlives_many_leases_and_is_reported_on(world: World) -> None:
    """A claim is renewed, and what its holder says of it is seen by all."""
    a, b = await world.registry(), await world.registry()
    await a.put_desired(CAM)
    changes = Changes()
    claim = await a.claim(KEY, NodeId("a"), changes)
    assert claim is not None
    await asyncio.sleep(2.5 * LEASE_SECONDS)
    a.report(claim, "live", "from the first address", {"session": "s-1"})
    await wait_until(lambda: KEY in b.claims and b.claims[KEY].status == "live")
    assert b.claims[KEY].facts == {"session": "s-1"}
    assert b.claims[KEY].generation == claim.generation
    assert changes == []
    assert claim.is_sure


async def test_claim_of_the_dead_is_free_after_its_lease(world: World) -> None:
    """A holder that died keeps nobody out for longer than its lease."""
    a = await world.registry()
    record = encode_record(ClaimRecord(claim=str(KEY), node="dead"))
    granted = await world.store().claim(Lease(LeaseKey(Kind.CLAIM, str(KEY)), 0, "dead", record), 0, LEASE_SECONDS)
    assert isinstance(granted, Lease)
    assert await a.claim(KEY, NodeId("a"), Changes()) is None
    await wait_until(lambda: KEY in a.claims)
    await wait_until(lambda: KEY not in a.claims, timeout=5 * LEASE_SECONDS)
    claim = await a.claim(KEY, NodeId("a"), Changes())
    assert claim is not None
    assert claim.generation > granted.rank


async def test_who_stood_still_can_neither_steal_nor_resurrect(world: World) -> None:
    """An older generation is not renewed, written or removed, whether somebody holds the claim by now or did."""
    store = world.store()
    record = encode_record(ClaimRecord(claim=str(KEY), node="old"))
    old = await store.claim(Lease(LeaseKey(Kind.CLAIM, str(KEY)), 0, "old", record), 0, 0.05)
    assert isinstance(old, Lease)
    await asyncio.sleep(0.1)
    new = await store.claim(Lease(LeaseKey(Kind.CLAIM, str(KEY)), 0, "new", record), 0, 30.0)
    assert isinstance(new, Lease)
    for _ in range(2):
        assert await store.renew([old], 30.0) == [False]
        assert await store.update([old], 30.0) == [False]
        await store.remove([old])
        await store.remove([new])
    assert (await store.read()).records == {}


async def test_doubted_while_the_store_is_away_and_held_again(world: World) -> None:
    """A holder that cannot renew is told by its own clock, and has it again under a new generation after a flush."""
    a, b = await world.registry(), await world.registry()
    await a.put_desired(CAM)
    changes = Changes()
    claim = await a.claim(KEY, NodeId("a"), changes)
    assert claim is not None
    first = claim.generation
    world.take_away()
    await wait_until(lambda: changes == [(ClaimState.DOUBTED, first)])
    assert not claim.is_sure
    assert KEY in a.claims
    with pytest.raises(StoreAway):
        await a.claim(DesiredKey(DesiredKind.SOURCE, "cam2"), NodeId("a"), changes)
    world.bring_back()
    await wait_until(lambda: len(changes) == 2, timeout=20)
    assert changes[1][0] is ClaimState.HELD
    assert changes[1][1] > first
    await wait_until(lambda: b.claims.get(KEY) == claim.record)


async def test_what_a_configuration_asks_for_outlives_the_store(world: World) -> None:
    """A claim on what was never a desired record is held again after an outage: nothing says that it is not wanted."""
    a = await world.registry()
    changes = Changes()
    claim = await a.claim(KEY, NodeId("a"), changes)
    assert claim is not None
    world.take_away()
    await wait_until(lambda: [state for state, _ in changes] == [ClaimState.DOUBTED])
    world.bring_back()
    await wait_until(lambda: len(changes) == 2, timeout=20)
    assert changes[1][0] is ClaimState.HELD


async def test_lost_to_another_is_told(world: World) -> None:
    """A holder whose claim somebody else has after a flush must stop, and is told whose it is."""
    a = await world.registry()
    await a.put_desired(CAM)
    changes = Changes()
    claim = await a.claim(KEY, NodeId("a"), changes)
    assert claim is not None
    world.flush()
    record = encode_record(ClaimRecord(claim=str(KEY), node="thief"))
    await world.store().claim(Lease(LeaseKey(Kind.CLAIM, str(KEY)), 0, "thief", record), claim.generation, 30.0)
    await wait_until(lambda: changes)
    assert changes[0][0] is ClaimState.LOST
    assert "thief" in claim.reason


class Ingress:
    """A node that carries sources out, as far as a test can tell."""

    def __init__(self, registry: LeasedRegistry, name: str) -> None:
        self.registry = registry
        self.name = NodeId(name)
        self.sources = Sources(registry)
        registry.keep_node(NodeRecord(node=name, role="ingress"))
        self.contest = Contest(self.name, registry, LEASE_SECONDS, {"ingress"}, self.sources)
        self.task: asyncio.Task[None] | None = None

    @property
    def runs(self) -> dict[str, Claim]:
        """What it carries out, by stream."""
        return {key.name: claim for key, claim in self.sources.done.items()}

    def start(self) -> None:
        """Take part."""
        self.task = asyncio.create_task(self.contest.run())

    async def stop(self) -> None:
        """Take part no more."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.contest.close()


async def knows(one: Ingress, count: int) -> None:
    """Wait until a node knows of so many."""
    await wait_until(lambda: len(one.registry.nodes) == count)


async def test_sources_are_shared_out(world: World) -> None:
    """Each source is run by one node; what another leaves is taken up; what comes back takes nothing away."""
    nodes = [Ingress(await world.registry(), f"in-{number}") for number in range(3)]
    for one in nodes:
        await knows(one, 3)
        one.start()
    names = {f"cam{number}" for number in range(12)}
    for name in names:
        await nodes[0].registry.put_desired(DesiredSource(stream=name, uris=(Uri("test:"),)))
    await wait_until(lambda: sorted(name for one in nodes for name in one.runs) == sorted(names))
    assert all(one.runs for one in nodes)

    kept = [dict(one.runs) for one in nodes[:2]]
    await nodes[2].stop()
    nodes[2].registry.drop_node(nodes[2].name)
    await wait_until(lambda: len(nodes[0].runs) + len(nodes[1].runs) == 12, timeout=20)
    for one, before in zip(nodes, kept, strict=False):
        assert before.items() <= one.runs.items()

    back = Ingress(await world.registry(), "in-2")
    back.start()
    await asyncio.sleep(2 * LEASE_SECONDS)
    assert back.runs == {}
    assert nodes[0].sources.ended == nodes[1].sources.ended == []

    for name in names:
        await nodes[1].registry.drop_desired(DesiredKey(DesiredKind.SOURCE, name))
    await wait_until(lambda: not nodes[0].runs and not nodes[1].runs)
    for one in (*nodes[:2], back):
        await one.stop()


async def test_moved_and_drained_sources_go(world: World) -> None:
    """A source goes where it is moved, and away from a node that is to drain."""
    nodes = {name: Ingress(await world.registry(), name) for name in ("in-a", "in-b")}
    for one in nodes.values():
        await knows(one, 2)
        one.start()
    orders = nodes["in-a"].registry
    await orders.put_desired(CAM)
    await wait_until(lambda: sum(len(one.runs) for one in nodes.values()) == 1)
    at = next(name for name, one in nodes.items() if one.runs)
    other = next(name for name in nodes if name != at)

    move = DesiredMove(stream="cam1", parent=other)
    await orders.put_desired(move)
    await wait_until(lambda: bool(nodes[other].runs) and not nodes[at].runs)
    await orders.drop_desired(desired_key(move))
    await orders.put_desired(DesiredDrain(node=other))
    await wait_until(lambda: bool(nodes[at].runs) and not nodes[other].runs)
    assert nodes[other].sources.ended == [KEY]
    for one in nodes.values():
        await one.stop()
