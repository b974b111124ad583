"""The store stops, stands still, is cut off or forgets: what the nodes of a cluster see of it, and for how long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import pytest

from headrace.clock import SystemClock
from headrace.identifiers import NodeId, StreamName
from headrace.registry.claims import Claim, ClaimState
from headrace.registry.contest import Contest
from headrace.registry.desired import DesiredKey, DesiredKind, DesiredSource
from headrace.registry.placement import rank_parents
from headrace.registry.records import LAYER_MAX, NodeRecord, StreamRecord
from headrace.registry.redis_registry import RedisRegistry
from headrace.registry.sealing import Uri
from headrace.testing import wait_until
from support.redis_server import RedisServer

from .conftest import Sources

pytestmark = pytest.mark.redis

LEASE_SECONDS = 1.0
CAM = StreamName("cam1")
KEY = DesiredKey(DesiredKind.SOURCE, "cam1")


class Wire:
    """A way to the store that can be cut without anybody being told, as when packets are dropped."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()

    def cut(self) -> None:
        """Carry nothing from now on; connections stay open."""
        self._open.clear()

    def mend(self) -> None:
        """Carry everything again, what waited included."""
        self._open.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()


class Site:
    """Some nodes, each with a registry of its own: an ingress with a source, two intermediates, an edge."""

    def __init__(self, url: str) -> None:
        self.registries: dict[str, RedisRegistry] = {}
        for name in ("ingress", "mid-1", "mid-2", "edge"):
            self.registries[name] = RedisRegistry(url, "test", LEASE_SECONDS, SystemClock())
        self.edge = self.registries["edge"]
        self.ingress = self.registries["ingress"]
        self.sources = Sources(self.ingress)
        self.contest = Contest(NodeId("ingress"), self.ingress, LEASE_SECONDS, {"ingress"}, self.sources)
        self.task: asyncio.Task[None] | None = None

    @property
    def generation(self) -> int:
        """Under which generation the source is held."""
        return self.sources.done[KEY].generation

    async def start(self) -> None:
        """Announce everybody, and wait until all know all."""
        layers = {"ingress": 0, "mid-1": 1, "mid-2": 1, "edge": LAYER_MAX}
        for name, registry in self.registries.items():
            await registry.start()
            role = name.partition("-")[0].replace("mid", "intermediate")
            registry.keep_node(NodeRecord(node=name, role=role, layer=layers[name], relay_url=f"ws://{name}/relay"))
        self.ingress.keep_stream(StreamRecord(stream=CAM, node="ingress", epoch=5, state="live", next_segment=3))
        self.task = asyncio.create_task(self.contest.run())
        await self.ingress.put_desired(DesiredSource(stream=CAM, uris=(Uri("test:"),)))
        await wait_until(lambda: all(self.knows_all(one) for one in self.registries.values()))
        await wait_until(lambda: KEY in self.sources.done)

    def knows_all(self, registry: RedisRegistry) -> bool:
        """Return whether a node knows everything that is there."""
        return len(registry.nodes) == 4 and CAM in registry.streams and {KEY} == set(registry.desired)

    @property
    def is_connected(self) -> bool:
        """Whether all reach the store."""
        return all(registry.connected for registry in self.registries.values())

    @property
    def is_cut_off(self) -> bool:
        """Whether nobody reaches the store."""
        return not any(registry.connected for registry in self.registries.values())

    def parents(self) -> list[str]:
        """Return whom the edge would fetch from."""
        me = self.edge.nodes[NodeId("edge")]
        return [one.node for one in rank_parents(me, CAM, self.edge.nodes.values(), self.edge.streams)]

    async def close(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.contest.close()
        for registry in self.registries.values():
            await registry.close()


@pytest.fixture
async def sited(redis_server: RedisServer) -> AsyncIterator[tuple[Site, Wire]]:
    """A site whose way to the store can be cut."""
    async with Wire(redis_server.port) as wire:
        site = Site(wire.url)
        await site.start()
        yield site, wire
        await site.close()


@contextmanager
def nothing_is_forgotten(site: Site) -> Iterator[None]:
    """Hold that no node forgets anything that is there, not for a moment."""
    complete: list[bool] = []
    for registry in site.registries.values():
        registry.watchers.add(lambda registry=registry: complete.append(site.knows_all(registry)))  # type: ignore[misc]
    yield
    assert all(complete)


Fault = Callable[[RedisServer, Wire], None]

OUTAGES: dict[str, tuple[Fault, Fault]] = {
    "stopped": (lambda server, wire: server.kill(), lambda server, wire: server.start()),
    "paused": (lambda server, wire: server.pause(), lambda server, wire: server.resume()),
    "cut": (lambda server, wire: wire.cut(), lambda server, wire: wire.mend()),
}


@pytest.mark.parametrize("fault", OUTAGES)
async def test_what_plays_goes_on_and_all_is_back(
    redis_server: RedisServer, sited: tuple[Site, Wire], fault: str
) -> None:
    """Without a store nobody is forgotten and failover has its parents; back, all is registered within a lease."""
    site, wire = sited
    begin, end = OUTAGES[fault]
    ranked, generation = site.parents(), site.generation
    assert len(ranked) == 3
    with nothing_is_forgotten(site):
        begin(redis_server, wire)
        await wait_until(lambda: site.is_cut_off)
        await asyncio.sleep(2 * LEASE_SECONDS)
        assert site.parents() == ranked
        assert all("last known records are used" in (one.problem or "") for one in site.registries.values())
        assert await site.edge.numbers(CAM) is None
        assert site.sources.ended == []

        end(redis_server, wire)
        began = time.monotonic()
        await wait_until(lambda: site.is_connected)
        back = time.monotonic() - began
        assert back < 10 * LEASE_SECONDS
        await asyncio.sleep(2.5 * LEASE_SECONDS)
    late = RedisRegistry(redis_server.url, "test", LEASE_SECONDS, SystemClock())
    await late.start()
    assert site.knows_all(late)
    assert late.claims[KEY].generation == site.generation >= generation
    assert site.sources.ended == []
    print(f"{fault}: all reach the store {back:.2f} s after it is back, the lease is {LEASE_SECONDS} s")
    await late.close()


async def test_flush_is_made_good(redis_server: RedisServer, sited: tuple[Site, Wire]) -> None:
    """A store that is emptied under everybody's feet is filled again, orders and claims included."""
    site, _ = sited
    generation = site.generation
    with nothing_is_forgotten(site):
        redis_server.command("FLUSHALL")
        began = time.monotonic()
        await wait_until(lambda: site.generation > generation)
        print(f"flush: the source is claimed again after {time.monotonic() - began:.2f} s")
        for registry in site.registries.values():
            registry.refresh()
        await asyncio.sleep(2.5 * LEASE_SECONDS)
    late = RedisRegistry(redis_server.url, "test", LEASE_SECONDS, SystemClock())
    await late.start()
    await wait_until(lambda: site.knows_all(late))
    assert site.sources.ended == []
    await late.close()


async def test_holder_that_is_cut_off_alone_loses_its_claim(redis_server: RedisServer) -> None:
    """A holder behind a cut wire doubts by its own clock; another takes over; back again, it is told that it lost."""
    async with Wire(redis_server.port) as wire:
        alone = RedisRegistry(wire.url, "test", LEASE_SECONDS, SystemClock())
        other = RedisRegistry(redis_server.url, "test", LEASE_SECONDS, SystemClock())
        await alone.start()
        await other.start()
        await other.put_desired(DesiredSource(stream=CAM, uris=(Uri("test:"),)))
        states: list[ClaimState] = []

        def note(claim: Claim) -> None:
            states.append(claim.state)

        await wait_until(lambda: KEY in alone.desired)
        first = await alone.claim(KEY, NodeId("alone"), note)
        assert first is not None
        await wait_until(lambda: KEY in other.claims)
        wire.cut()
        await wait_until(lambda: KEY not in other.claims)
        assert not first.is_sure
        second = await other.claim(KEY, NodeId("other"), lambda claim: None)
        assert second is not None
        assert second.generation > first.generation
        wire.mend()
        await wait_until(lambda: states[-1:] == [ClaimState.LOST], timeout=20)
        assert states == [ClaimState.DOUBTED, ClaimState.LOST]
        assert second.is_sure
        assert other.claims[KEY] == second.record
        await alone.close()
        await other.close()


async def test_nothing_herds(redis_server: RedisServer) -> None:
    """Many that lost the store come back at moments of their own."""
    registries = [RedisRegistry(redis_server.url, "test", 4.0, SystemClock()) for _ in range(20)]
    for registry in registries:
        await registry.start()
    redis_server.kill()
    await wait_until(lambda: not any(registry.connected for registry in registries))
    redis_server.start()
    began, back = time.monotonic(), set[int]()

    def note() -> bool:
        back.update(round((time.monotonic() - began) * 20) for registry in registries if registry.connected)
        return all(registry.connected for registry in registries)

    await wait_until(note, timeout=30)
    assert len(back) >= 4
    for registry in registries:
        await registry.close()
