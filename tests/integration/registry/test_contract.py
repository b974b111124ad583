"""What every registry promises, on each kind of store."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from headrace.identifiers import NodeId, StreamName
from headrace.registry.leases import Kind, LeaseStore
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.pacing import START_WAIT_SECONDS
from headrace.registry.records import NodeRecord, StreamNumbers, StreamRecord, encode_record
from headrace.registry.registry import Registry
from headrace.testing import wait_until

from .conftest import LEASE_SECONDS, World, until

CAM = StreamName("cam1")


def node(name: str, **more: object) -> NodeRecord:
    return NodeRecord(node=name, role="edge", **more)  # type: ignore[arg-type]


def stream(owner: str, epoch: int, name: str = CAM, **more: object) -> StreamRecord:
    return StreamRecord(stream=name, node=owner, epoch=epoch, state="live", **more)  # type: ignore[arg-type]


class Fences(list[tuple[StreamName, StreamRecord]]):
    """What `on_fenced` was called with."""

    def __call__(self, name: StreamName, record: StreamRecord) -> None:
        self.append((name, record))


async def test_what_one_keeps_all_see(world: World) -> None:
    """A record kept by one process is in its own view at once and soon in that of every other."""
    a, b = await world.registry(), await world.registry()
    a.keep_node(node("a", region="eu"))
    a.keep_stream(stream("a", 5))

    assert a.nodes[NodeId("a")].region == "eu"
    assert a.streams[CAM].epoch == 5
    await wait_until(lambda: NodeId("a") in b.nodes and CAM in b.streams)
    assert b.nodes[NodeId("a")] == a.nodes[NodeId("a")]
    assert b.streams[CAM] == a.streams[CAM]


async def test_late_process_reads_what_is_there(world: World) -> None:
    """`start` returns with the view read."""
    a = await world.registry()
    a.keep_node(node("a"))
    await until(lambda: _stored(world, 1))

    late = await world.registry()

    assert late.connected
    assert late.problem is None
    assert NodeId("a") in late.nodes


async def test_watchers_are_called_for_changes(world: World) -> None:
    """Watchers hear of what others announce, update and withdraw, and of nothing else."""
    a, b = await world.registry(), await world.registry()
    seen: list[tuple[float, ...]] = []
    b.watchers.add(lambda: seen.append(tuple(record.load for record in b.nodes.values())))

    a.keep_node(node("a", load=0.1))
    await wait_until(lambda: seen == [(0.1,)])
    a.keep_node(node("a", load=0.2))
    await wait_until(lambda: seen[-1] == (0.2,))
    a.keep_node(node("a", load=0.2))
    a.drop_node(NodeId("a"))
    await wait_until(lambda: seen[-1] == ())
    assert seen == [(0.1,), (0.2,), ()]


async def test_failing_watcher_harms_nobody(world: World) -> None:
    """An exception in a watcher is logged; the others are called and the registry goes on."""
    a, b = await world.registry(), await world.registry()
    called = []

    def fail() -> None:
        raise RuntimeError("watcher")

    b.watchers |= {fail, lambda: called.append(1)}
    with capture_logs() as lines:
        a.keep_node(node("a"))
        await wait_until(lambda: called)
    assert any(line["event"] == "registry_callback_failed" for line in lines)
    assert b.connected


async def test_fast_updates_are_told_together(world: World) -> None:
    """Of updates that come fast only the last need be told."""
    a, b = await world.registry(), await world.registry()
    seen = []
    b.watchers.add(lambda: seen.append(b.nodes[NodeId("a")].load))
    for number in range(100):
        a.keep_node(node("a", load=float(number)))
    await wait_until(lambda: seen and seen[-1] == 99.0)
    assert len(seen) <= 10


async def test_dropped_stream_goes_its_numbers_stay(world: World) -> None:
    """A withdrawn stream leaves every view; its numbers outlive it."""
    a, b = await world.registry(), await world.registry()
    a.keep_stream(stream("a", 5, next_segment=40, end_seconds=81.5))
    await wait_until(lambda: CAM in b.streams)

    a.drop_stream(CAM)

    assert CAM not in a.streams
    await wait_until(lambda: CAM not in b.streams)
    assert await b.numbers(CAM) == StreamNumbers(next_segment=40, end_seconds=81.5, epoch=5)


async def test_close_withdraws_everything(world: World) -> None:
    """A process that ends tidily is gone for the others at once, not after a lease."""
    a, b = await world.registry(), await world.registry()
    a.keep_node(node("a"))
    a.keep_stream(stream("a", 5))
    await wait_until(lambda: b.nodes and b.streams)
    began = time.monotonic()
    await a.close()
    await wait_until(lambda: not b.nodes and not b.streams)
    assert time.monotonic() - began < LEASE_SECONDS
    assert not a.connected


async def test_records_of_the_dead_expire(world: World) -> None:
    """What nobody renews is gone for everybody after its lease; watchers hear of it."""
    watching = await world.registry()
    watching.keep_node(node("alive"))
    await asyncio.sleep(2.5 * LEASE_SECONDS)  # beyond the grace that follows a connection
    called = []
    watching.watchers.add(lambda: called.append(1))
    await world.foreign(Kind.NODE, "dead", encode_record(node("dead")), seconds=LEASE_SECONDS)
    await wait_until(lambda: NodeId("dead") in watching.nodes)

    await wait_until(lambda: NodeId("dead") not in watching.nodes)

    assert len(called) == 2
    assert NodeId("alive") in watching.nodes


async def test_kept_records_outlive_many_leases(world: World) -> None:
    """What is kept is renewed and never flickers for others."""
    a, b = await world.registry(), await world.registry()
    a.keep_node(node("a"))
    a.keep_stream(stream("a", 5))
    await wait_until(lambda: b.nodes and b.streams)
    changes = []
    b.watchers.add(lambda: changes.append(dict(b.nodes)))
    await asyncio.sleep(3.5 * LEASE_SECONDS)
    assert changes == []
    assert NodeId("a") in b.nodes
    assert CAM in (await world.registry()).streams


async def test_newer_epoch_takes_a_stream_over(world: World) -> None:
    """The owner of a newer epoch wins at once; the older owner is told once and keeps the stream no more."""
    old, new = await world.registry(), await world.registry()
    old.on_fenced = fences = Fences()
    old.keep_stream(stream("old", 5))
    await wait_until(lambda: CAM in new.streams)

    new.keep_stream(stream("new", 6))

    await wait_until(lambda: fences)
    assert [(name, record.node, record.epoch) for name, record in fences] == [(CAM, "new", 6)]
    assert old.streams[CAM].node == "new"
    old.drop_stream(CAM)
    await asyncio.sleep(1.5 * LEASE_SECONDS)
    assert len(fences) == 1
    assert (await world.registry()).streams[CAM].node == "new"


async def test_older_epoch_cannot_overwrite_a_newer(world: World) -> None:
    """Who comes with an older epoch is told, and the record in the store stays as it was."""
    new, old = await world.registry(), await world.registry()
    new.keep_stream(stream("new", 6, next_segment=9))
    await wait_until(lambda: CAM in old.streams)
    old.on_fenced = fences = Fences()
    new.on_fenced = never = Fences()

    old.keep_stream(stream("old", 5, next_segment=100))

    await wait_until(lambda: fences)
    assert (await world.registry()).streams[CAM].node == "new"
    assert old.streams[CAM].node == "new"
    assert never == []
    assert await new.numbers(CAM) == StreamNumbers(next_segment=9, epoch=6)


@pytest.mark.parametrize("first", ["aa", "bb"])
async def test_equal_epochs_are_decided_by_node_id(world: World, first: str) -> None:
    """Of two owners with one epoch the smaller node id is right, whoever came first."""
    registries = {"aa": await world.registry(), "bb": await world.registry()}
    registries["bb"].on_fenced = fences = Fences()
    registries["aa"].on_fenced = never = Fences()
    second = "bb" if first == "aa" else "aa"
    registries[first].keep_stream(stream(first, 7))
    await wait_until(lambda: CAM in registries[second].streams)
    registries[second].keep_stream(stream(second, 7))
    await wait_until(lambda: fences)
    await wait_until(lambda: all(one.streams[CAM].node == "aa" for one in registries.values()))
    assert never == []


async def test_own_newer_epoch_replaces_the_older(world: World) -> None:
    """A source that comes back publishes its stream again under a new epoch, with nobody fenced."""
    a, b = await world.registry(), await world.registry()
    a.on_fenced = fences = Fences()
    a.keep_stream(stream("a", 5))
    await wait_until(lambda: CAM in b.streams)
    a.drop_stream(CAM)
    a.keep_stream(stream("a", 6))
    await wait_until(lambda: CAM in b.streams and b.streams[CAM].epoch == 6)
    await asyncio.sleep(1.5 * LEASE_SECONDS)
    assert b.streams[CAM].epoch == 6
    assert fences == []


async def test_numbers_only_grow(world: World) -> None:
    """Each durable number is the greatest ever told, whoever tells a smaller one later."""
    a = await world.registry()
    assert await a.numbers(CAM) is None
    a.keep_stream(stream("a", 1_795_000_000_000, next_segment=900, end_seconds=1_795_000_000.123456))
    await until(lambda: _numbers(a, epoch=1_795_000_000_000))
    a.keep_stream(stream("a", 1_795_000_000_001, next_segment=3, end_seconds=7.0))
    await until(lambda: _numbers(a, epoch=1_795_000_000_001))
    assert await a.numbers(CAM) == StreamNumbers(
        next_segment=900, end_seconds=1_795_000_000.123456, epoch=1_795_000_000_001
    )


async def test_second_process_with_one_node_id_is_told(world: World) -> None:
    """The newer start stays out, hears who is there, and is announced when the older one goes: a line and a count."""
    counted = CollectorRegistry()
    older = await world.registry()
    older.keep_node(node("twin", relay_url="ws://older/relay"))
    await until(lambda: _stored(world, 1))
    newer, third = await world.registry(RegistryMetrics.make(counted)), await world.registry()
    told: list[NodeRecord] = []
    newer.on_node_taken = told.append
    older.on_node_taken = lambda record: pytest.fail("the older start must not be told")

    with capture_logs() as lines:
        newer.keep_node(node("twin", relay_url="ws://newer/relay"))
        await wait_until(lambda: told)
    assert [line["node"] for line in lines if line["event"] == "node_id_taken"] == ["twin"]
    assert counted.get_sample_value("headrace_registry_taken_nodes_total") == 1
    assert [record.relay_url for record in told] == ["ws://older/relay"]
    assert "twin" in (newer.problem or "")
    assert third.nodes[NodeId("twin")].relay_url == "ws://older/relay"
    await older.close()
    await wait_until(
        lambda: NodeId("twin") in third.nodes and third.nodes[NodeId("twin")].relay_url == "ws://newer/relay"
    )
    await wait_until(lambda: newer.problem is None)
    assert len(told) == 1


async def test_restart_after_a_crash_takes_its_node_id_back(world: World) -> None:
    """A predecessor that died without withdrawing is waited out; nobody is told of a twin."""
    crashed = node("phoenix", generation=1)
    await world.foreign(Kind.NODE, "phoenix", encode_record(crashed), rank=-1, seconds=LEASE_SECONDS)
    again = await world.registry()
    again.on_node_taken = lambda record: pytest.fail("there is no other process")
    again.keep_node(node("phoenix"))
    await until(lambda: _stored_generation(world, "phoenix"))
    assert again.problem is None


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"\xff", b'{"node":"evil"}', b'{"node":"x y","role":"edge"}'])
async def test_garbage_is_ignored(world: World, garbage: bytes) -> None:
    """A record that is not ours or not valid is not shown; one log line and the counter say so."""
    counted = CollectorRegistry()
    await world.foreign(Kind.NODE, "x", garbage)
    with capture_logs() as lines:
        a = await world.registry(RegistryMetrics.make(counted))
        a.keep_node(node("a"))
        await world.foreign(Kind.NODE, "x", garbage)
        await world.foreign(Kind.NODE, "good", encode_record(node("good")))
        await wait_until(lambda: NodeId("good") in a.nodes)
    assert NodeId("x") not in a.nodes
    ignored = [line for line in lines if line["event"] == "registry_record_ignored"]
    assert [line["name"] for line in ignored] == ["x"]
    assert counted.get_sample_value("headrace_registry_refused_records_total") == 1


async def test_store_dies_and_comes_back_empty(world: World) -> None:
    """Views stay as they were while the store is away; all is announced again within a lease of its return."""
    a, b = await world.registry(), await world.registry()
    a.keep_node(node("a"))
    a.keep_stream(stream("a", 5, next_segment=40))
    b.keep_node(node("b"))
    await wait_until(lambda: len(b.nodes) == 2 and len(a.nodes) == 2 and b.streams)
    b.watchers.add(lambda: _assert_complete(b))
    vanished: list[str] = []

    def _assert_complete(registry: object) -> None:
        if len(b.nodes) < 2 or not b.streams:
            vanished.append(f"{list(b.nodes)} {list(b.streams)}")

    with capture_logs() as lines:
        world.take_away()
        await wait_until(lambda: not a.connected and not b.connected)
        assert await a.numbers(CAM) is None
        assert "last known" in a.status
        await asyncio.sleep(1.5 * LEASE_SECONDS)
        world.bring_back()
        back = time.monotonic()
        await until(lambda: _stored(world, 3))
        took = time.monotonic() - back
        await wait_until(lambda: a.connected and b.connected)
        await asyncio.sleep(2 * LEASE_SECONDS)
    assert vanished == []
    assert took < 10 * LEASE_SECONDS
    assert await b.numbers(CAM) == StreamNumbers(next_segment=40, epoch=5)
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["registry_is_away"] * 2
    assert len([line for line in lines if line["event"] == "registry_answers"]) == 2


async def test_what_is_done_while_the_store_is_away_counts(world: World) -> None:
    """Records kept, changed and dropped during an outage are so in the store afterwards."""
    a = await world.registry()
    a.keep_stream(stream("a", 5))
    a.keep_stream(stream("a", 5, "gone"))
    await until(lambda: _stored(world, 2))
    world.take_away()
    await wait_until(lambda: not a.connected)
    a.keep_stream(stream("a", 6))
    a.keep_stream(stream("a", 6, "new"))
    a.drop_stream(StreamName("gone"))
    assert set(a.streams) == {"cam1", "new"}
    world.bring_back()
    await until(lambda: _stored(world, 2))
    late = await world.registry()
    assert {name: record.epoch for name, record in late.streams.items()} == {"cam1": 6, "new": 6}


async def test_records_of_those_that_died_with_the_store_go(world: World) -> None:
    """Who does not announce itself again after an outage is forgotten, some time later."""
    a = await world.registry()
    await world.foreign(Kind.NODE, "dead", encode_record(node("dead")))
    await wait_until(lambda: NodeId("dead") in a.nodes)
    world.take_away()
    await wait_until(lambda: not a.connected)
    world.bring_back()
    await wait_until(lambda: a.connected)
    assert NodeId("dead") in a.nodes
    await wait_until(lambda: NodeId("dead") not in a.nodes)


async def test_flushed_store_is_filled_again(world: World) -> None:
    """A store that forgets everything while it runs is told everything again, numbers included."""
    a, b = await world.registry(), await world.registry()
    a.keep_node(node("a"))
    a.keep_stream(stream("a", 5, next_segment=40))
    await wait_until(lambda: b.nodes and b.streams)
    changes = []
    b.watchers.add(lambda: changes.append(1))
    world.flush()
    await until(lambda: _stored(world, 2))
    assert await b.numbers(CAM) == StreamNumbers(next_segment=40, epoch=5)
    assert changes == []


async def test_start_without_a_store(world: World) -> None:
    """`start` neither hangs nor fails; when the store comes, so does the registry."""
    world.take_away()
    began = time.monotonic()
    a = await world.registry()
    assert time.monotonic() - began < 10 * START_WAIT_SECONDS
    a.keep_node(node("a"))
    assert not a.connected
    assert a.problem is not None
    assert NodeId("a") in a.nodes
    world.bring_back()
    await wait_until(lambda: a.connected)
    await until(lambda: _stored(world, 1))


async def test_close_without_a_store(world: World) -> None:
    """`close` returns in time though nothing can be withdrawn."""
    a = await world.registry()
    a.keep_node(node("a"))
    world.take_away()
    async with asyncio.timeout(10):
        await a.close()
    world.bring_back()


async def test_close_twice_and_before_start(world: World) -> None:
    """`close` may be called at any time, and again."""
    a = world.make(None)
    await a.close()
    b = await world.registry()
    await b.close()


async def _stored(world: World, count: int) -> bool:
    return len((await _store(world).read()).records) == count


async def _stored_generation(world: World, name: str) -> bool:
    return any(b'"generation":1}' not in record for record in (await _store(world).read()).records.values())


def _store(world: World) -> LeaseStore:
    if not world.stores:
        world.store()
    return world.stores[0]


async def _numbers(registry: Registry, epoch: int) -> bool:
    numbers = await registry.numbers(CAM)
    return numbers is not None and numbers.epoch == epoch
