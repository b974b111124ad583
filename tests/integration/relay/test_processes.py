"""Intermediates as processes of their own, found through a real Redis, killed and stopped for real."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from headrace.clock import SystemClock
from headrace.identifiers import ChunkId, NodeId
from headrace.registry.redis_registry import RedisRegistry
from headrace.relay.credentials import cluster_credential
from headrace.testing import free_port, wait_until
from headrace.wire.stream import StreamState
from integration.relay.mesh import CAM, FAST, Mesh, MeshNode, Source, Viewer, assert_complete
from support.redis_server import RedisServer
from support.services import Service, running

SECRET = "a secret of the tests"
LEASE_SECONDS = 3.0
OWN = cluster_credential(SECRET)
OPTIONS = replace(FAST, own=OWN, accepted=(OWN,), heartbeat_seconds=0.1, timeout_seconds=0.4, linger_seconds=1.0)

pytestmark = [pytest.mark.redis, pytest.mark.timeout(120)]


def intermediate(server: RedisServer, node: str, layer: int) -> Service:
    settings = {
        "registry.url": server.url,
        "registry.lease_seconds": str(LEASE_SECONDS),
        "relay.secret": SECRET,
        "relay.linger_seconds": "1",
        "intermediate.port": "0",
        "node.layer": str(layer),
    }
    return Service("intermediate", node, settings)


@dataclass
class World:
    """Ingress and edge in this process, intermediates in others."""

    mesh: Mesh
    ingress: MeshNode
    edge: MeshNode
    source: Source
    processes: dict[str, Service]

    @property
    def parent(self) -> Service:
        """The process that the edge fetches from."""
        return self.processes[str(self.edge.node.parent(CAM))]

    async def watched(self) -> Viewer:
        """Return a viewer at the edge that has some chunks."""
        viewer = Viewer(self.edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 50, 20)
        return viewer

    async def goes_on(self, viewer: Viewer, chunks: int = 150) -> None:
        """Wait for more, and check that nothing is missing or doubled."""
        had = len(viewer.chunks)
        await wait_until(lambda: len(viewer.chunks) > had + chunks, 20)
        assert_complete(self.source, viewer)


@asynccontextmanager
async def world(server: RedisServer, *layers: int) -> AsyncIterator[World]:
    """Start one intermediate for each of `layers`, and wait until all know all."""
    services = [intermediate(server, f"mid-{n}", layer) for n, layer in enumerate(layers)]
    mesh = Mesh(OPTIONS)
    mesh.make_registry = lambda mesh: RedisRegistry(server.url, "headrace", LEASE_SECONDS, SystemClock())
    with running(*services):
        try:
            ingress, edge = await mesh.add("in", "ingress"), await mesh.add("edge", "edge")
            source = ingress.produce()
            mesh.run(source, 0.02)
            names = {service.node for service in services}
            await wait_until(lambda: names <= edge.registry.nodes.keys() and CAM in edge.registry.streams, 20)
            yield World(mesh, ingress, edge, source, {service.node: service for service in services})
        finally:
            await mesh.stop()


async def in_thread(work: Callable[[], object]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, work)


async def test_a_chain_of_processes_carries_every_chunk(redis_server: RedisServer) -> None:
    """Through both layers, by the registry alone; what each hop adds is in its metrics."""
    async with world(redis_server, 1, 2) as w:
        viewer = await w.watched()
        await w.goes_on(viewer)
        assert [hop.node for hop in viewer.states[-1].route] == ["in", "mid-0", "mid-1", "edge"]
        metrics = await asyncio.to_thread(w.processes["mid-0"].get, "/metrics")
        assert "headrace_relay_residence_seconds_count" in metrics
        assert "headrace_relay_gaps_total 0.0" in metrics
        assert (await asyncio.to_thread(w.processes["mid-1"].get, "/health/ready"))["ready"] is True


async def test_a_parent_that_is_killed_is_replaced_without_loss(redis_server: RedisServer) -> None:
    """SIGKILL: nothing missing, nothing twice, and no viewer hears of it."""
    async with world(redis_server, 1, 1) as w:
        viewer = await w.watched()
        states = len(viewer.states)
        killed = w.parent
        await in_thread(killed.kill)
        await wait_until(lambda: w.edge.node.parent(CAM) not in (None, killed.node))
        await w.goes_on(viewer)
        assert all(change.state is StreamState.LIVE for change in viewer.states[states:])


async def test_a_parent_that_stands_still_is_replaced_without_loss(redis_server: RedisServer) -> None:
    """SIGSTOP: the connection stays open and only the heartbeat tells."""
    async with world(redis_server, 1, 1) as w:
        viewer = await w.watched()
        stopped = w.parent
        stopped.signal(signal.SIGSTOP)
        try:
            await wait_until(lambda: w.edge.node.parent(CAM) not in (None, stopped.node))
            await w.goes_on(viewer)
        finally:
            stopped.signal(signal.SIGCONT)
        assert w.edge.metric("headrace_relay_links_ended_total", reason="heartbeat_timeout") >= 1


async def test_a_parent_that_is_told_to_stop_hands_over_first(redis_server: RedisServer) -> None:
    """SIGTERM: children move before it goes, and it ends by itself."""
    async with world(redis_server, 1, 1) as w:
        viewer = await w.watched()
        leaving = w.parent
        leaving.signal(signal.SIGTERM)
        await wait_until(lambda: w.edge.node.parent(CAM) not in (None, leaving.node))
        await w.goes_on(viewer)
        assert w.edge.metric("headrace_relay_switches_total", reason="leaving") == 1
        assert w.edge.metric("headrace_relay_switches_total", reason="lost") == 0


async def test_redis_may_die_while_streams_play(redis_server: RedisServer) -> None:
    """What plays keeps playing; a parent killed meanwhile is replaced from what was last known."""
    async with world(redis_server, 1, 1) as w:
        viewer = await w.watched()
        await in_thread(redis_server.kill)
        await w.goes_on(viewer, 50)
        killed = w.parent
        await in_thread(killed.kill)
        await wait_until(lambda: w.edge.node.parent(CAM) not in (None, killed.node))
        await w.goes_on(viewer)
        await in_thread(redis_server.start)
        await w.goes_on(viewer, 50)


async def test_a_camera_site_that_only_dials_out_is_watched(redis_server: RedisServer) -> None:
    """Its ingress announces no address; its upstream node dies and comes back, and no chunk is missing."""
    gate = intermediate(redis_server, "gate", 1)
    gate.settings["intermediate.port"] = str(free_port())
    site = Service("ingress", "site", {**intermediate(redis_server, "site", 0).settings, "ingress.port": "0"})
    del site.settings["intermediate.port"]
    site.settings["ingress.sources"] = json.dumps({CAM: "test:?size=160x90&rate=25&audio=yes"})
    site.settings["relay.upstreams"] = json.dumps([f"ws://127.0.0.1:{gate.settings['intermediate.port']}/relay"])
    mesh = Mesh(OPTIONS)
    mesh.make_registry = lambda mesh: RedisRegistry(redis_server.url, "headrace", LEASE_SECONDS, SystemClock())
    with running(gate, site):
        try:
            edge = await mesh.add("edge", "edge")
            viewer = Viewer(edge.hub)
            await wait_until(lambda: len(viewer.chunks) > 50, 30)
            assert [hop.node for hop in viewer.states[-1].route] == ["site", "gate", "edge"]
            assert edge.registry.nodes[NodeId("site")].relay_url == ""
            await in_thread(gate.kill)
            await in_thread(gate.start)
            had = len(viewer.chunks)
            await wait_until(lambda: len(viewer.chunks) > had + 100, 30)
            assert viewer.gaps == []
            assert out_of_order(viewer.ids()) == []
        finally:
            await mesh.stop()


def out_of_order(ids: list[ChunkId]) -> list[ChunkId]:
    """Return the chunks that do not follow the one before of their track."""
    last: dict[int, ChunkId] = {}
    wrong = []
    for id in ids:
        before = last.get(id.track, id)
        if id is not before and id.position <= before.position:
            wrong.append(id)
        last[id.track] = id
    return wrong


async def test_a_wrong_secret_keeps_a_process_out(redis_server: RedisServer) -> None:
    """The intermediate is known to the registry and useless; the owner itself is asked instead."""
    stranger = intermediate(redis_server, "stranger", 1)
    stranger.settings["relay.secret"] = "another secret"
    async with world(redis_server) as w:
        with running(stranger):
            await wait_until(lambda: "stranger" in w.edge.registry.nodes, 20)
            viewer = await w.watched()
            assert [hop.node for hop in viewer.states[-1].route] == ["in", "edge"]
            refused = await asyncio.to_thread(stranger.events, "link_refused")
            assert refused
            assert SECRET not in stranger.log
            assert "another secret" not in stranger.log
