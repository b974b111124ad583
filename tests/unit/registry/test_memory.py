"""The store in memory: leases that end by a clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace.identifiers import StreamName
from headrace.registry.leases import Change, How, Kind, Lease, LeaseKey, StoreAway
from headrace.registry.memory import BACKLOG_MAX, MemoryStore
from headrace.registry.records import StreamNumbers, past_record
from headrace.testing import FakeClock

KEY = LeaseKey(Kind.STREAM, "cam1")


def lease(rank: int, holder: str = "a") -> Lease:
    return Lease(KEY, rank, holder, f"{holder}{rank}".encode(), StreamNumbers(epoch=rank))


async def test_lease_ends_by_the_clock() -> None:
    """A lease that is over is gone for readers at once and told at the next renewal."""
    clock = FakeClock()
    store = MemoryStore(clock)
    async with store.changes() as changes:
        await store.put([lease(5)], 3.0)
        clock.advance(2.9)
        assert (await store.read()).records == {KEY: b"a5"}
        assert await store.renew([lease(5)], 3.0) == [True]
        clock.advance(2.9)
        assert (await store.read()).records == {KEY: b"a5"}
        clock.advance(0.1)
        assert (await store.read()).records == {}
        assert await store.renew([lease(5)], 3.0) == [False]
        assert await changes.next(1.0) == [Change(KEY, How.PUT, b"a5"), Change(KEY, How.EXPIRED)]
    assert await store.numbers(StreamName("cam1")) == StreamNumbers(epoch=5)


@pytest.mark.parametrize(
    ("held", "comes", "written"),
    [
        (lease(5), lease(6, "b"), True),
        (lease(6), lease(5, "b"), False),
        (lease(5), lease(5), True),
        (lease(5, "b"), lease(5, "a"), True),
        (lease(5, "a"), lease(5, "b"), False),
        (lease(-2), lease(-1, "b"), True),
    ],
)
async def test_who_is_right_overwrites(held: Lease, comes: Lease, written: bool) -> None:
    """The greater rank is right, and of equals the smaller holder; the other hears whose lease stands."""
    store = MemoryStore(FakeClock())
    held, comes = replace(held, numbers=None), replace(comes, numbers=None)
    await store.put([held], 3.0)
    assert await store.put([comes], 3.0) == [None if written else held.record]
    assert (await store.read()).records == {KEY: comes.record if written else held.record}


async def test_rank_counts_only_while_the_lease_lives() -> None:
    """After its end a lease keeps nobody out."""
    clock = FakeClock()
    store = MemoryStore(clock)
    older, newer = (Lease(LeaseKey(Kind.NODE, "n"), rank, holder, b"") for rank, holder in ((6, "a"), (5, "b")))
    await store.put([older], 3.0)
    clock.advance(3.0)
    assert await store.put([newer], 3.0) == [None]


async def test_epoch_counts_beyond_the_lease() -> None:
    """Who has an older epoch than a stream ever had is told so, though the newer owner is gone."""
    clock = FakeClock()
    store = MemoryStore(clock)
    await store.put([lease(6)], 3.0)
    clock.advance(3.0)
    assert await store.put([lease(5, "b")], 3.0) == [past_record("cam1", "a", 6)]
    assert (await store.read()).records == {}
    assert await store.put([lease(7, "b")], 3.0) == [None]


async def test_only_the_holder_removes() -> None:
    """A removal by anybody else, or by an older self, does nothing."""
    store = MemoryStore(FakeClock())
    await store.put([lease(6)], 3.0)
    await store.remove([lease(6, "b"), lease(5)])
    assert (await store.read()).records == {KEY: b"a6"}
    await store.remove([lease(6)])
    assert (await store.read()).records == {}


async def test_subscriber_that_does_not_read_is_cut_off() -> None:
    """What waits for a subscriber is bounded; it is told to read everything again."""
    store = MemoryStore(FakeClock())
    async with store.changes() as changes:
        for _ in range(BACKLOG_MAX + 1):
            await store.put([lease(5)], 3.0)
        with pytest.raises(StoreAway, match="not taken in time"):
            await changes.next(1.0)
