"""Nothing is published by who is not sure to be the one that does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import pytest

from headrace.identifiers import Epoch, StreamName
from headrace.registry.claims import Claim, ClaimState
from headrace.registry.records import ClaimRecord
from headrace.registry.registry import Registry
from headrace.testing import wait_until
from headrace_ingress.events import Chunks, Closed, EpochOpened, Event, Noted, Numbers
from headrace_ingress.hold import Gate, Hold
from headrace_ingress.wanted import source_key

KEY = source_key(StreamName("cam1"))
NUMBERS = Numbers(Epoch(1), 1, 1.0)
PATIENCE_SECONDS = 0.2


@dataclass
class Store:
    """A registry of which only this is asked."""

    connected: bool = True
    told: list[str] = field(default_factory=list)

    def report(self, claim: Claim, status: str, detail: str, facts: Mapping[str, str]) -> None:
        self.told.append(f"{status} {detail}")


def held(seconds: float) -> Claim:
    """A claim that is sure for so long."""
    until = asyncio.get_running_loop().time() + seconds
    return Claim(KEY, ClaimRecord(claim=str(KEY), node="a"), until, lambda claim: None)


def make(store: Store, claim: Claim | None) -> Hold:
    return Hold(cast("Registry", store), claim, PATIENCE_SECONDS)


async def test_a_sure_claim_publishes() -> None:
    """And tells how the source does."""
    store = Store()
    hold = make(store, held(10))
    assert hold.may_publish()
    assert hold.is_claimed
    hold.tell("live", "")
    assert store.told == ["live "]


async def test_without_a_claim_it_publishes_unannounced() -> None:
    """A source of the own configuration plays while the store cannot be asked."""
    hold = make(Store(connected=False), None)
    assert hold.may_publish()
    assert not hold.is_claimed
    hold.tell("live", "")


@pytest.mark.parametrize("state", [ClaimState.LOST, ClaimState.RELEASED])
async def test_a_claim_that_is_over_publishes_nothing(state: ClaimState) -> None:
    """Whatever the store says."""
    store = Store()
    claim = held(10)
    claim.state = state
    hold = make(store, claim)
    for connected in (True, False):
        store.connected = connected
        assert not hold.may_publish()
    hold.tell("live", "")
    assert store.told == []


async def test_a_store_that_went_away_stops_nothing() -> None:
    """Noticed while the claim was sure: nobody can have taken over, and what runs goes on without a pause."""
    store = Store(connected=False)
    claim = held(10)
    hold = make(store, claim)
    assert hold.may_publish()
    claim.sure_until = 0.0
    assert hold.may_publish()


@pytest.mark.parametrize("connected", [True, False])
async def test_who_stood_still_waits_for_an_answer(connected: bool) -> None:
    """Noticed after the claim had run out, silence of the store says nothing; without any answer patience ends."""
    hold = make(Store(connected), held(-1))
    assert not hold.may_publish()
    await wait_until(hold.may_publish, 5)


async def test_a_renewed_claim_publishes_again() -> None:
    """As soon as it is sure."""
    claim = held(-1)
    hold = make(Store(), claim)
    assert not hold.may_publish()
    claim.sure_until = asyncio.get_running_loop().time() + 10
    assert hold.may_publish()


@dataclass
class Door:
    """A gate and what came through."""

    is_open: bool = True
    delivered: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate = Gate(lambda: self.is_open, self.delivered.extend)


async def test_a_gate_keeps_the_order() -> None:
    """What is held back comes through in its order as soon as it may."""
    door = Door()
    events: list[Event] = [EpochOpened(Epoch(1), ()), Chunks((), NUMBERS), Noted("x")]
    door.gate.take(events[:1])
    door.is_open = False
    door.gate.take(events[1:2])
    door.gate.take(events[2:])
    assert door.delivered == events[:1]
    door.is_open = True
    await wait_until(lambda: door.delivered == events)


async def test_the_last_word_passes_a_closed_gate() -> None:
    """What was held is dropped when the reader is over, and its numbers are kept."""
    door = Door(is_open=False)
    closed = Closed("", False, NUMBERS)
    door.gate.take([EpochOpened(Epoch(1), ()), Chunks((), NUMBERS)])
    door.gate.take([closed])
    assert door.delivered == [closed]


async def test_a_shut_gate_forgets() -> None:
    """What was held when the source was lost is never published."""
    door = Door(is_open=False)
    door.gate.take([Chunks((), NUMBERS)])
    door.gate.shut()
    door.is_open = True
    await asyncio.sleep(0.1)
    assert door.delivered == []
