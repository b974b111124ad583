"""Taking part in work that is ended while it is taken up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Set

import pytest
from structlog.testing import capture_logs

from headrace.identifiers import NodeId
from headrace.registry.claims import Claim
from headrace.registry.contest import Contest
from headrace.registry.desired import DesiredKey, DesiredTransfer
from headrace.registry.memory import MemoryRegistry, MemoryStore
from headrace.registry.records import NodeRecord
from headrace.registry.sealing import Uri
from headrace.testing import wait_until

NODE = NodeId("n1")


class SlowWork:
    """Takes its time to end what is not current any more; what is begun must be wanted."""

    def __init__(self, registry: MemoryRegistry) -> None:
        self._registry = registry
        self.wanted: set[DesiredKey] = set()
        self.own: set[DesiredKey] = set()
        self.done: set[DesiredKey] = set()
        self.outdated: set[DesiredKey] = set()
        self.faulty: set[DesiredKey] = set()
        self.ending = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    @property
    def keys(self) -> Set[DesiredKey]:
        return frozenset(self.wanted)

    def look(self, keys: Collection[DesiredKey]) -> None:
        self.wanted = self.own | set(self._registry.desired)

    async def share(self) -> None: ...

    def is_own(self, key: DesiredKey) -> bool:
        return key in self.own

    def can_only_refuse(self, key: DesiredKey) -> bool:
        return False

    def begin(self, key: DesiredKey, claim: Claim | None) -> None:
        self.wanted.remove(key)
        self.wanted.add(key)
        self.outdated.discard(key)
        self.done.add(key)

    def fence(self, key: DesiredKey) -> None: ...

    async def end(self, key: DesiredKey) -> None:
        if key in self.faulty:
            raise RuntimeError("a fault")
        self.ending.set()
        await self.may_end.wait()
        self.done.discard(key)

    def is_current(self, key: DesiredKey) -> bool:
        return key not in self.outdated


def _push(name: str) -> DesiredTransfer:
    return DesiredTransfer(id=name, kind="push", uri=Uri("ws://there.example"), local_name=name, remote_name=name)


@pytest.fixture
async def registry() -> AsyncIterator[MemoryRegistry]:
    registry = MemoryRegistry()
    await registry.start()
    registry.keep_node(NodeRecord(node=NODE, role="edge"))
    yield registry
    await registry.close()


async def test_what_is_ended_while_it_is_begun_anew(registry: MemoryRegistry) -> None:
    """What was changed and then dropped is not begun anew once it has ended; nothing else is disturbed."""
    for name in ("a", "b"):
        await registry.put_desired(_push(name), expect=0)
    work = SlowWork(registry)
    contest = Contest(NODE, registry, 0.4, {"edge"}, work)
    running = asyncio.create_task(contest.run())
    await wait_until(lambda: len(work.done) == 2)
    gone, stays = sorted(work.done)
    work.may_end.clear()
    work.outdated.add(gone)
    with capture_logs() as lines:
        await wait_until(work.ending.is_set)
        await registry.drop_desired(gone)
        await wait_until(lambda: gone not in work.wanted)
        work.may_end.set()
        await wait_until(lambda: work.done == {stays} and gone not in registry.claims)
    assert "contest_failed" not in [line["event"] for line in lines]
    running.cancel()
    await asyncio.wait([running])
    await contest.close()


async def test_a_fault_in_ending_one_keeps_no_claim(registry: MemoryRegistry) -> None:
    """What could not be ended in good order is left to others all the same, and what ends beside it too."""
    for name in ("a", "b"):
        await registry.put_desired(_push(name), expect=0)
    work = SlowWork(registry)
    contest = Contest(NODE, registry, 0.4, {"edge"}, work)
    running = asyncio.create_task(contest.run())
    await wait_until(lambda: len(work.done) == 2)
    work.faulty.add(min(work.done))
    work.may_end.clear()
    work.wanted.clear()
    with capture_logs() as lines:
        await wait_until(work.ending.is_set)
        work.may_end.set()
        await wait_until(lambda: not registry.claims)
    assert work.done == work.faulty
    assert "work_not_ended" in [line["event"] for line in lines]
    running.cancel()
    await asyncio.wait([running])
    await contest.close()


async def test_what_is_forgotten_while_it_is_begun_anew() -> None:
    """Work of the own configuration that the store forgot while it was ended is claimed and done again."""
    store = MemoryStore()
    registry = MemoryRegistry(store, 0.4)
    await registry.start()
    registry.keep_node(NodeRecord(node=NODE, role="edge"))
    await registry.put_desired(_push("a"), expect=0)
    work = SlowWork(registry)
    work.own = set(registry.desired)
    (key,) = work.own
    contest = Contest(NODE, registry, 0.4, {"edge"}, work)
    running = asyncio.create_task(contest.run())
    await wait_until(lambda: work.done == {key})
    work.may_end.clear()
    work.outdated.add(key)
    with capture_logs() as lines:
        await wait_until(work.ending.is_set)
        await registry.drop_desired(key)
        store.flush()
        await wait_until(lambda: "claim_ended" in {line["event"] for line in lines})
        work.may_end.set()
        await wait_until(lambda: not work.outdated)
    assert "contest_failed" not in {line["event"] for line in lines}
    running.cancel()
    await asyncio.wait([running])
    await contest.close()
    await registry.close()
