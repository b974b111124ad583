"""Who runs which source."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest

from headrace.clock import SystemClock
from headrace.identifiers import NodeId, StreamName
from headrace.registry.claims import Claim
from headrace.registry.desired import DesiredDrain, DesiredMove, DesiredSource
from headrace.registry.feed_uri import parse_uri
from headrace.registry.memory import MemoryRegistry, MemoryStore
from headrace.registry.records import NodeRecord
from headrace.registry.sealing import Uri, Vault
from headrace.testing import wait_until
from headrace_ingress.claimant import contest_for_sources
from headrace_ingress.wanted import SourceRequest, Wanted, source_key

CAM = StreamName("cam1")
LEASE_SECONDS = 1.0
"""A busy machine stands still for a third of a second, in which nobody renews."""

CLOCK = SystemClock()


@dataclass
class Candidate:
    """A node that may run sources; what it would run is noted."""

    node: str
    registry: MemoryRegistry
    wanted: Wanted
    running: dict[StreamName, Claim | None] = field(default_factory=dict)
    fenced: list[StreamName] = field(default_factory=list)
    begun: int = 0
    made_of: dict[StreamName, SourceRequest] = field(default_factory=dict)

    def begin(self, name: StreamName, claim: Claim | None) -> None:
        self.begun += name not in self.running
        self.running[name] = claim
        self.made_of[name] = self.wanted.requests[name]

    def fence(self, name: StreamName) -> None:
        self.fenced.append(name)

    async def end(self, name: StreamName) -> None:
        self.running.pop(name, None)

    def is_current(self, name: StreamName) -> bool:
        return self.made_of[name] == self.wanted.requests.get(name)


@asynccontextmanager
async def candidate(
    store: MemoryStore,
    node: str,
    own: Mapping[StreamName, str] | None = None,
    share: bool = False,
    secret: str = "s",
    networks: str = "127.0.0.0/8",
) -> AsyncIterator[Candidate]:
    """Take part in the contest for a `with` block."""
    own = own or {}
    registry = MemoryRegistry(store, lease_seconds=LEASE_SECONDS, vault=Vault([secret]))
    requests = {name: SourceRequest((parse_uri(uri, trusted=True),)) for name, uri in own.items()}
    wanted = Wanted(
        requests, {name: [uri] for name, uri in own.items()}, share, [ip_network(networks)], registry, CLOCK
    )
    one = Candidate(node, registry, wanted)
    claimant = contest_for_sources(NodeId(node), registry, LEASE_SECONDS, wanted, one)
    await registry.start()
    registry.keep_node(NodeRecord(node=node, role="ingress"))
    task = asyncio.create_task(claimant.run())
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        await claimant.close()
        assert not one.running
        await registry.close()


async def meet(*candidates: Candidate) -> None:
    """Wait until each knows all: who believes to be alone does not wait for others."""
    names = {one.node for one in candidates}
    await wait_until(lambda: all(names <= set(one.registry.nodes) for one in candidates))


def runners(*candidates: Candidate) -> list[str]:
    """Return who runs the camera."""
    return [one.node for one in candidates if CAM in one.running]


@pytest.mark.parametrize("share", [False, True])
async def test_one_of_two_runs_what_both_are_configured_with(share: bool) -> None:
    """The other takes over when that one ends, and nothing moves when it comes back."""
    store, own = MemoryStore(), {CAM: "rtsp://127.0.0.1/cam"}
    async with candidate(store, "b", own, share) as second:
        async with candidate(store, "a", own, share) as first:
            await wait_until(lambda: runners(first, second))
            await asyncio.sleep(2 * LEASE_SECONDS)
            (owner,) = runners(first, second)
            assert first.begun + second.begun == 1
            assert (source_key(CAM) in first.registry.desired) is share
        await wait_until(lambda: runners(second) == ["b"])
        async with candidate(store, "a", own, share) as again:
            await asyncio.sleep(2 * LEASE_SECONDS)
            assert runners(again, second) == ["b"]
    assert owner in {"a", "b"}


async def test_what_was_asked_for_is_run_by_one() -> None:
    """It is run until it is dropped, and anew when it changes, under the same claim."""
    store = MemoryStore()
    async with candidate(store, "a") as first, candidate(store, "b") as second:
        await meet(first, second)
        await first.registry.put_desired(DesiredSource(stream=CAM, uris=(Uri("rtsp://u:p@127.0.0.1/cam"),)))
        await wait_until(lambda: runners(first, second))
        (owner,) = (one for one in (first, second) if CAM in one.running)
        claim = owner.running[CAM]
        await first.registry.put_desired(DesiredSource(stream=CAM, uris=(Uri("rtsp://u:p@127.0.0.1/other"),)))
        await wait_until(lambda: owner.begun == 2)
        assert owner.running[CAM] is claim
        assert not owner.made_of[CAM].uris[0].trusted
        await first.registry.drop_desired(source_key(CAM))
        await wait_until(lambda: not runners(first, second) and source_key(CAM) not in first.registry.claims)


@pytest.mark.parametrize("uri", ["rtsp://169.254.169.254/cam", "ftp://127.0.0.1/cam"])
async def test_what_no_node_may_do_is_refused_by_one(uri: str) -> None:
    """A network that is not allowed anywhere, or a scheme that nobody has: one says so, and lets a newcomer look."""
    store = MemoryStore()
    async with candidate(store, "a") as first, candidate(store, "b") as second:
        await meet(first, second)
        await first.registry.put_desired(DesiredSource(stream=CAM, uris=(Uri(uri),)))
        await wait_until(lambda: runners(first, second))
        (owner,) = (one for one in (first, second) if CAM in one.running)
        assert owner.made_of[CAM].refusal
        assert owner.made_of[CAM].uris == ()
        async with candidate(store, "c", networks="169.254.0.0/16") as third:
            if uri.startswith("rtsp"):
                await wait_until(lambda: runners(first, second, third) == ["c"])
                assert not third.made_of[CAM].refusal
            else:
                await wait_until(lambda: first.begun + second.begun + third.begun == 2)


async def test_what_another_node_may_do_is_left_to_it() -> None:
    """Whoever has the network runs it, though others come first."""
    store = MemoryStore()
    async with candidate(store, "a") as first, candidate(store, "b", networks="192.168.0.0/16") as second:
        await meet(first, second)
        for number in range(8):
            name = StreamName(f"cam{number}")
            await first.registry.put_desired(DesiredSource(stream=name, uris=(Uri("rtsp://192.168.7.7/cam"),)))
        await wait_until(lambda: len(second.running) == 8)
        assert first.begun == 0


async def test_what_cannot_be_opened_is_left_to_who_has_the_secret() -> None:
    """The node with another secret never claims it."""
    store = MemoryStore()
    async with candidate(store, "a", secret="other") as first, candidate(store, "b") as second:
        await meet(first, second)
        await second.registry.put_desired(DesiredSource(stream=CAM, uris=(Uri("rtsp://u:p@127.0.0.1/cam"),)))
        await wait_until(lambda: runners(first, second) == ["b"])
        assert first.begun == 0


async def test_a_move_is_obeyed_once() -> None:
    """It goes where it was moved to; a target that does not take it gets it no second time."""
    store = MemoryStore()
    async with candidate(store, "a") as first, candidate(store, "b") as second:
        await meet(first, second)
        registry = first.registry
        await registry.put_desired(DesiredSource(stream=CAM, uris=(Uri("rtsp://127.0.0.1/cam"),)))
        await wait_until(lambda: runners(first, second))
        target = "a" if CAM in second.running else "b"
        await registry.put_desired(DesiredMove(stream=CAM, parent=target))
        await wait_until(lambda: runners(first, second) == [target])
        registry.keep_node(NodeRecord(node="idle", role="ingress"))
        await registry.put_desired(DesiredMove(stream=CAM, parent="idle"))
        await wait_until(lambda: not runners(first, second))
        await wait_until(lambda: runners(first, second))
        begun = first.begun + second.begun
        await asyncio.sleep(2 * LEASE_SECONDS)
        assert first.begun + second.begun - begun <= 1


async def test_who_is_to_drain_hands_over() -> None:
    """A node that leaves gives its sources to another."""
    store = MemoryStore()
    async with candidate(store, "a") as first, candidate(store, "b") as second:
        await meet(first, second)
        await first.registry.put_desired(DesiredSource(stream=CAM, uris=(Uri("rtsp://127.0.0.1/cam"),)))
        await wait_until(lambda: runners(first, second))
        (owner,) = runners(first, second)
        await first.registry.put_desired(DesiredDrain(node=owner))
        await wait_until(lambda: runners(first, second) == ["b" if owner == "a" else "a"])


async def test_the_own_configuration_plays_without_the_store() -> None:
    """Unclaimed and unannounced; claimed when the store is back; what others asked for waits."""
    store = MemoryStore()
    store.take_away()
    async with candidate(store, "a", {CAM: "test:"}) as first:
        await wait_until(lambda: CAM in first.running, 10)
        assert first.running[CAM] is None
        store.bring_back()
        await wait_until(lambda: first.running.get(CAM) is not None, 10)
        assert first.begun == 1


async def test_who_played_unclaimed_yields() -> None:
    """When another turns out to hold the source, the one that could not ask stops."""
    store, cut_off = MemoryStore(), MemoryStore()
    cut_off.take_away()
    async with candidate(store, "a", {CAM: "test:"}) as first:
        await wait_until(lambda: first.running.get(CAM) is not None)
        store.take_away()
        async with candidate(store, "b", {CAM: "test:"}) as second:
            await wait_until(lambda: CAM in second.running, 10)
            assert second.running[CAM] is None
            store.bring_back()
            await wait_until(lambda: CAM not in second.running, 10)
            assert first.running[CAM] is not None
            assert first.begun == 1


@pytest.mark.parametrize("share", [False, True])
async def test_a_flushed_store_moves_nothing(share: bool) -> None:
    """The holder takes its claim again before anybody else's turn comes, and its feed never ends."""
    store, own = MemoryStore(), {CAM: "test:"}
    async with candidate(store, "a", own, share) as first, candidate(store, "b", own, share) as second:
        await meet(first, second)
        await wait_until(lambda: runners(first, second))
        for _ in range(2):
            store.flush()
            await asyncio.sleep(2 * LEASE_SECONDS)
        assert first.begun + second.begun == 1
        assert not first.fenced
        assert not second.fenced
