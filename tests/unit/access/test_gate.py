"""How often a gate asks the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from headrace.access.gate import IDLE_SECONDS, Gate
from headrace.access.gate_options import GateOptions
from headrace.access.keyring import Keyring
from headrace.access.policy import Asked, Policy
from headrace.access.tokens import ViewerToken, issue_token
from headrace.access.viewing import Ends, MemoryViewing
from headrace.clock import SystemClock
from headrace.identifiers import StreamName
from headrace.testing import wait_until

ASKED = Asked(StreamName("cam1"), session="s1")
SECRET = "a secret for tests, of 32 bytes at least"
FOREVER = 3600.0


class Store(MemoryViewing):
    """Counts how often it was asked what must end."""

    asked = 0

    async def ends(self) -> Ends:
        self.asked += 1
        return await super().ends()


@asynccontextmanager
async def started(store: Store) -> AsyncIterator[Gate]:
    """Give a gate that lets everybody in and has asked once."""
    options = GateOptions("edge-1", Policy(), lease_seconds=3 * FOREVER)
    gate = Gate(options, Keyring(), store, SystemClock(), lambda name, run: asyncio.create_task(run, name=name))
    await gate.start()
    await wait_until(lambda: store.asked == 1)
    try:
        yield gate
    finally:
        await gate.stop()


async def test_an_idle_gate_asks_once_a_second() -> None:
    """Nobody is there whose watching could have to end."""
    store = Store(SystemClock())
    async with started(store):
        began = time.monotonic()
        await wait_until(lambda: store.asked == 3)
        assert time.monotonic() - began > 1.1 * IDLE_SECONDS  # the first beat may be near


async def test_the_first_viewer_and_the_last_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is asked when somebody comes, for what the gate knows may be a second old, and when all have gone."""
    monkeypatch.setattr("headrace.access.gate.IDLE_SECONDS", FOREVER)
    monkeypatch.setattr("headrace.access.gate.WATCH_SECONDS", FOREVER)
    store = Store(SystemClock())
    async with started(store) as gate:
        held = await gate.admit(ASKED)
        await wait_until(lambda: store.asked == 2)
        await wait_until(lambda: len(store._audiences["edge-1"].viewers) == 1)
        gate.leave(held)
        await wait_until(lambda: store.asked == 3)
        await wait_until(lambda: not store._audiences["edge-1"].viewers)


async def test_media_goes_on_while_many_viewers_are_compared_with_other_rules() -> None:
    """No turn of the event loop takes long when somebody orders a policy while thousands watch."""
    store, clock = MemoryViewing(SystemClock()), SystemClock()
    options = GateOptions("edge-1", Policy("token"), lease_seconds=3 * FOREVER)
    gate = Gate(options, Keyring([SECRET]), store, clock, lambda name, run: asyncio.create_task(run, name=name))
    token = issue_token(SECRET, ViewerToken("t1", ("cam1",), clock.utc() + 600))
    for number in range(2000):
        await gate.admit(Asked(ASKED.stream, token, f"s{number}"))
    await store.rules.put_policy("cam2", "public")
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count_turns())
    await gate._exchange()
    counting.cancel()
    assert turns > 20
    assert len(gate._passes) == 2000


async def test_an_answer_of_no_use_ends_nothing() -> None:
    """All edges read the same store: one record that none of them understands must not end them all."""

    class Strange(Store):
        async def ends(self) -> Ends:
            found = await super().ends()
            if self.asked == 2:
                raise ValueError("a record of a later version")
            return found

    store = Strange(SystemClock())
    async with started(store) as gate:
        held = await gate.admit(ASKED)
        await wait_until(lambda: store.asked > 2)
        gate.leave(held)
