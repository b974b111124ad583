"""What was asked for outlives everybody, on each kind of store."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from headrace.registry import memory, redis_desired
from headrace.registry.desired import (
    DesiredConflict,
    DesiredDrain,
    DesiredEntry,
    DesiredKey,
    DesiredKind,
    DesiredLimit,
    DesiredMove,
    DesiredSource,
    DesiredTransfer,
    desired_key,
)
from headrace.registry.leases import StoreAway
from headrace.registry.sealing import Uri
from headrace.testing import wait_until

from .conftest import LEASE_SECONDS, World

CAM = DesiredSource(stream="cam1", uris=(Uri("rtsp://admin:s3cret@10.0.0.5/1"), Uri("rtsp://10.0.0.6/2")), by="ops")
CAM_KEY = DesiredKey(DesiredKind.SOURCE, "cam1")
DRAIN = DesiredDrain(node="edge-1", by="ops", since_us=5)


async def test_what_one_asks_for_all_see(world: World) -> None:
    """A desired record of each kind is in every view, and its watchers hear which changed."""
    a, b = await world.registry(), await world.registry()
    told: list[DesiredKey] = []
    b.desired_watchers.add(told.extend)
    move = DesiredMove(stream="cam1", parent="mid-2", child="edge-1")
    push = DesiredTransfer(id="t-1", kind="push", uri=Uri("rtmp://cdn.example/app/key"), local_name="cam1")

    for record in (CAM, DRAIN, move, push):
        revision = await a.put_desired(record)
        assert a.desired[desired_key(record)].revision == revision

    await wait_until(lambda: len(b.desired) == 4)
    assert dict(a.desired) == dict(b.desired)
    assert [entry.record for entry in b.desired.values() if isinstance(entry.record, DesiredSource)] == [CAM]
    await wait_until(lambda: set(told) == set(b.desired))
    late = await world.registry()
    assert dict(late.desired) == dict(b.desired)


async def test_dropped_is_gone_for_all(world: World) -> None:
    """A dropped record leaves every view; dropping it again says that it was not there."""
    a, b = await world.registry(), await world.registry()
    await a.put_desired(DRAIN)
    key = desired_key(DRAIN)
    await wait_until(lambda: key in b.desired)

    assert await b.drop_desired(key)

    assert key not in b.desired
    await wait_until(lambda: key not in a.desired)
    assert not await a.drop_desired(key)
    assert (await world.registry()).desired == {}


async def test_of_two_writers_one_wins(world: World) -> None:
    """Who changes what somebody else changed meanwhile hears the revision that is there; so does who creates it."""
    a, b = await world.registry(), await world.registry()
    results = await asyncio.gather(a.put_desired(CAM, expect=0), b.put_desired(CAM, expect=0), return_exceptions=True)
    won = [result for result in results if isinstance(result, int)]
    lost = [result for result in results if isinstance(result, DesiredConflict)]
    assert len(won) == len(lost) == 1
    assert lost[0].revision == won[0]

    second = await a.put_desired(CAM, expect=won[0])
    assert second > won[0]
    with pytest.raises(DesiredConflict, match="by now"):
        await b.put_desired(CAM, expect=won[0])
    with pytest.raises(DesiredConflict):
        await b.drop_desired(CAM_KEY, expect=won[0])
    assert await b.drop_desired(CAM_KEY, expect=second)
    with pytest.raises(DesiredConflict, match="not there"):
        await b.put_desired(CAM, expect=second)


async def test_revisions_never_come_twice(world: World) -> None:
    """A record that is asked for again after it was dropped, or after a flush, has a greater revision than before."""
    a = await world.registry()
    revisions = [await a.put_desired(DRAIN)]
    await a.drop_desired(desired_key(DRAIN))
    revisions.append(await a.put_desired(DRAIN))
    world.flush()
    revisions.append(await a.put_desired(DRAIN))
    assert revisions == sorted(set(revisions))


async def test_credentials_are_not_in_clear(world: World) -> None:
    """Neither the store nor any repr nor log line holds a credential; who has the secret can read it."""
    with capture_logs() as lines:
        a, b = await world.registry(), await world.registry()
        await a.put_desired(CAM)
        await wait_until(lambda: CAM_KEY in b.desired)
    source = b.desired[CAM_KEY].record
    assert isinstance(source, DesiredSource)
    assert source.uris[0].reveal() == "rtsp://admin:s3cret@10.0.0.5/1"
    stored = (await world.store().read_desired()).stored[CAM_KEY]
    assert b"s3cret" not in stored
    assert b"admin" not in stored
    assert "s3cret" not in repr(source) + repr(b.desired) + str(lines)
    assert "rtsp://***@10.0.0.5/1" in repr(source)


async def test_flush_loses_no_order(world: World) -> None:
    """What a flushed store lost is written back by those who know it, and nobody sees it go."""
    a, b = await world.registry(), await world.registry()
    await a.put_desired(CAM)
    await wait_until(lambda: CAM_KEY in b.desired)
    before = b.desired[CAM_KEY]
    gone: list[bool] = []
    b.desired_watchers.add(lambda keys: gone.append(CAM_KEY not in b.desired))

    world.take_away()
    await wait_until(lambda: not a.connected and not b.connected)
    world.bring_back()

    store = world.store()
    await wait_until(lambda: _stored(store, before), timeout=20)
    assert not any(gone)
    assert (await world.registry()).desired == {CAM_KEY: before}


async def test_dropped_is_not_restored(world: World) -> None:
    """Who was away while a record was dropped learns of it, and does not bring it back."""
    a, b = await world.registry(), await world.registry()
    await a.put_desired(DRAIN)
    key = desired_key(DRAIN)
    await wait_until(lambda: key in b.desired)
    stored = a.desired[key].stored
    await a.drop_desired(key)
    await wait_until(lambda: key not in b.desired)
    await world.store().restore_desired({key: stored})
    assert (await world.store().read_desired()).stored == {}


async def test_orders_wait_for_no_store(world: World) -> None:
    """While the store is away orders are refused at once, and what is known stays known."""
    a = await world.registry()
    await a.put_desired(CAM)
    world.take_away()
    await wait_until(lambda: not a.connected)
    with pytest.raises(StoreAway):
        await a.put_desired(DRAIN)
    with pytest.raises(StoreAway):
        await a.drop_desired(CAM_KEY)
    assert CAM_KEY in a.desired


async def test_there_is_a_most_of_each_kind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than there may be is refused; changing one of them is not, nor is another kind."""
    for module in (memory, redis_desired):
        monkeypatch.setattr(module, "DESIRED_MAX", 2)
    a = await world.registry()
    for name in ("n1", "n2", "n1"):
        await a.put_desired(DesiredDrain(node=name))
    with pytest.raises(DesiredLimit):
        await a.put_desired(DesiredDrain(node="n3"))
    await a.put_desired(CAM)


async def test_foreign_orders_are_ignored(world: World) -> None:
    """A desired record that is not ours or not valid is told once and not shown."""
    store = world.store()
    for number, data in enumerate((b"{", b"[]", b'{"node":"other"}', b'{"node":"bad name"}', b"\xff")):
        await store.put_desired(DesiredKey(DesiredKind.DRAIN, f"n{number}"), data, None, 0)
    with capture_logs() as lines:
        a = await world.registry()
        await a.put_desired(DRAIN)
    assert set(a.desired) == {desired_key(DRAIN)}
    assert [line["event"] for line in lines].count("registry_record_ignored") == 5


async def _stored(store: object, entry: DesiredEntry) -> bool:
    try:
        reading = await store.read_desired()  # type: ignore[attr-defined]
    except StoreAway:
        return False
    await asyncio.sleep(LEASE_SECONDS / 10)
    return bool(reading.stored.get(CAM_KEY) == entry.stored)
