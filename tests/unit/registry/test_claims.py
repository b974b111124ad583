"""What a process reports of its claims, over a store that takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from headrace.registry.claims import Claim, Claims, ClaimState
from headrace.registry.desired import DesiredKey, DesiredKind
from headrace.registry.leases import Kind, Lease, LeaseKey, StoreAway
from headrace.registry.memory import MemoryStore
from headrace.registry.records import ClaimRecord, decode_claim

KEY = DesiredKey(DesiredKind.TRANSFER, "push-1")


class SlowStore(MemoryStore):
    """Writes at once, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = asyncio.Event()
        self.answer.set()
        self.written = asyncio.Event()
        self.is_away = False

    async def update(self, leases: Sequence[Lease], seconds: float) -> list[bool]:
        """See `LeaseStore`."""
        self.written.set()
        if self.is_away:
            raise StoreAway("away")
        kept = await super().update(leases, seconds)
        await self.answer.wait()
        return kept

    async def claim(self, lease: Lease, floor: int, seconds: float) -> Lease | bytes:
        """See `LeaseStore`."""
        granted = await super().claim(lease, floor, seconds)
        self.written.set()
        await self.answer.wait()
        return granted


@pytest.fixture
async def claims() -> AsyncIterator[tuple[SlowStore, Claims, Claim]]:
    store = SlowStore()
    claims = Claims(store, "me", 60.0, lambda key: True, lambda call, *arguments: call(*arguments))
    record = ClaimRecord(claim=str(KEY), node="n1", since_ms=1)
    claim = await claims.take(record, KEY, 0, lambda claim: None)
    assert claim is not None
    yield store, claims, claim
    claims.close()


async def _status(store: SlowStore) -> str:
    reading = await store.read()
    return decode_claim(reading.records[LeaseKey(Kind.CLAIM, str(KEY))], str(KEY)).status


async def test_what_is_reported_while_another_report_is_written(claims: tuple[SlowStore, Claims, Claim]) -> None:
    """A report that comes while an earlier one is on its way is written by the next write."""
    store, held, claim = claims
    store.answer.clear()
    held.report(claim, status="waiting")
    writing = asyncio.create_task(held.write())
    await store.written.wait()
    held.report(claim, status="live")
    store.answer.set()
    await writing
    await held.write()
    assert await _status(store) == "live"


async def test_report_that_was_not_written(claims: tuple[SlowStore, Claims, Claim]) -> None:
    """A report that the store did not take is written by the next write."""
    store, held, claim = claims
    store.is_away = True
    held.report(claim, status="live")
    with pytest.raises(StoreAway):
        await held.write()
    store.is_away = False
    await held.write()
    assert await _status(store) == "live"


async def test_released_while_it_is_taken_again(claims: tuple[SlowStore, Claims, Claim]) -> None:
    """A claim that the store forgot and that is given up meanwhile stays given up, and others find it free at once."""
    store, held, claim = claims
    store.flush()
    held.renewed(held.leases(), [False], asyncio.get_running_loop().time())
    store.answer.clear()
    store.written.clear()
    writing = asyncio.create_task(held.write())
    await store.written.wait()
    held.give_up(claim)
    store.answer.set()
    await writing
    assert claim.state is ClaimState.RELEASED
    assert (await store.read()).records == {}
