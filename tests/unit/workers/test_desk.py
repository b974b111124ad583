"""What a node answers its workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from headrace.access.records import AudienceChange, Counts, ViewerRecord
from headrace.access.viewing import Answer as Seated
from headrace.access.viewing import Ends, MemoryViewing, Seat, TooManyRevoked
from headrace.registry.leases import StoreAway
from headrace.testing import FakeClock
from headrace_edge.workers.desk import Desk
from headrace_edge.workers.messages import Answer, Ask

LEASE = 3.0


class Probes:
    """What the whole is asked."""

    async def metrics(self) -> bytes:
        return b"all 1"

    async def problems(self) -> Mapping[str, str]:
        return {"registry": "away"}


class Store(MemoryViewing):
    """Where viewers are known, which may be away or full."""

    is_away = False
    is_closed = False
    is_senseless = False

    async def ends(self) -> Ends:
        if self.is_away:
            raise StoreAway("nobody answers")
        return await super().ends()

    async def tell(self, node: str, change: AudienceChange) -> int:
        if self.is_away:
            raise StoreAway("nobody answers")
        if self.is_senseless:
            raise ValueError("an answer that is none")
        return await super().tell(node, change)

    async def restore(self, revoked: Mapping[str, float]) -> None:
        raise TooManyRevoked

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Store:
    return Store(clock, LEASE)


@pytest.fixture
def desk(store: Store, clock: FakeClock) -> Desk:
    return Desk("edge-1", store, Probes(), LEASE, clock)


async def ask(desk: Desk, what: str, about: object = None, worker: str = "w1") -> Answer:
    return await desk.answer(worker, Ask(5, what, msgspec.msgpack.encode(about)))


def result(answer: Answer, kind: Any) -> Any:
    assert (answer.id, answer.error) == (5, "")
    return msgspec.msgpack.decode(answer.result, type=kind)


def come(*ids: str, whole: bool = True) -> AudienceChange:
    came = [ViewerRecord(id=id, stream="cam1", door="play", since_us=1) for id in ids]
    counts = Counts(viewers=len(ids), streams={"cam1": len(ids)}, doors={"play": len(ids)})
    return AudienceChange(came, (), counts, whole, len(ids))


async def test_sessions_are_counted_over_all_workers(desk: Desk) -> None:
    """The second worker cannot have the place that the first one's viewer has."""
    first, second = Seat("t1", "s1", "w1/1", 1), Seat("t1", "s2", "w2/1", 1)
    assert result(await ask(desk, "enter", first), Seated) is Seated.HELD
    assert result(await ask(desk, "enter", second, "w2"), Seated) is Seated.FULL
    assert result(await ask(desk, "renew", [first]), list[Seated]) == [Seated.HELD]
    result(await ask(desk, "leave", [first]), None)
    assert result(await ask(desk, "enter", second, "w2"), Seated) is Seated.HELD


async def test_the_store_is_asked_once_for_all_workers(desk: Desk, store: Store, clock: FakeClock) -> None:
    """What must not go on is the same for all, and a moment later it is asked for again."""
    assert result(await ask(desk, "ends"), Ends).revoked == {}
    await store.revoke("t1", clock.utc() + 60)
    assert result(await ask(desk, "ends", worker="w2"), Ends).revoked == {}
    clock.advance(0.25)
    assert set(result(await ask(desk, "ends"), Ends).revoked) == {"t1"}
    clock.advance(0.25)
    store.is_away = True
    assert (await ask(desk, "ends")).error == "away"


async def test_the_probes_are_answered_for_the_whole(desk: Desk) -> None:
    """Metrics and what is wrong."""
    assert result(await ask(desk, "metrics"), bytes) == b"all 1"
    assert result(await ask(desk, "problems"), dict[str, str]) == {"registry": "away"}


async def test_failures_are_told_and_not_raised(desk: Desk, store: Store) -> None:
    """A store that is away or full, a question that nobody knows, one that makes no sense."""
    store.is_away = True
    answer = await ask(desk, "ends")
    assert (answer.error, answer.reason) == ("away", "nobody answers")
    assert (await ask(desk, "restore", {"t1": 1.0})).error == "full"
    assert (await ask(desk, "what?")).error == "failed"
    assert (await ask(desk, "enter", "no seat")).error == "failed"


async def test_the_store_hears_of_one_node(desk: Desk, store: Store, clock: FakeClock) -> None:
    """Of the viewers of all workers; again before its lease is over; and that they went."""
    await desk.tell()
    assert await store.counts() == {}
    assert result(await ask(desk, "tell", come("a", "b")), int) == 2
    result(await ask(desk, "tell", come("c"), "w2"), int)
    await desk.tell()
    assert {node: counts.viewers for node, counts in (await store.counts()).items()} == {"edge-1": 3}
    clock.advance(LEASE / 2)
    await desk.tell()
    clock.advance(LEASE * 0.9)
    assert len(await store.viewers("edge-1")) == 3
    desk.forget("w1")
    await desk.tell()
    assert [viewer.id for viewer in await store.viewers("edge-1")] == ["c"]
    desk.forget("w2")
    await desk.close()
    assert (await store.counts())["edge-1"].viewers == 0
    assert store.is_closed


async def test_a_store_that_was_away_is_told_the_whole(desk: Desk, store: Store) -> None:
    """Workers need not know that it was."""
    store.is_away = True
    result(await ask(desk, "tell", come("a")), int)
    await desk.tell()
    store.is_away = False
    await desk.tell()
    assert [viewer.id for viewer in await store.viewers("edge-1")] == ["a"]
    store.is_away = True
    desk.forget("w1")
    await desk.close()
    assert store.is_closed


async def test_an_answer_of_no_use_ends_nothing(desk: Desk, store: Store) -> None:
    """It is logged the first time, and the whole is told when the store makes sense again."""
    store.is_senseless = True
    result(await ask(desk, "tell", come("a")), int)
    with capture_logs() as lines:
        await desk.tell()
        await desk.tell()
    assert [line["log_level"] for line in lines] == ["error", "debug"]
    store.is_senseless = False
    await desk.tell()
    assert [viewer.id for viewer in await store.viewers("edge-1")] == ["a"]
