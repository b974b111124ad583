"""Orders to nodes that play: drain, move, and parents that have no room. Nothing is missing and nothing comes twice."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from headrace.clock import SystemClock
from headrace.identifiers import NodeId
from headrace.registry.desired import DesiredDrain, DesiredMove, desired_key
from headrace.registry.redis_registry import RedisRegistry
from headrace.registry.registry import Registry
from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from integration.relay.mesh import CAM, FAST, Mesh, MeshNode, Viewer, mesh
from integration.relay.shapes import diamond, goes_on
from support.redis_server import RedisServer

LEASE_SECONDS = 1.0


def over_redis(m: Mesh, server: RedisServer) -> None:
    """Have the nodes of `m` meet in a real store."""

    def make(m: Mesh) -> Registry:
        return RedisRegistry(server.url, "headrace", LEASE_SECONDS, SystemClock())

    m.make_registry = make


def other_of(m: Mesh, parent: MeshNode) -> MeshNode:
    return m.nodes["right" if parent.id == "left" else "left"]


def resize(node: MeshNode, capacity: int) -> None:
    node.node.record = msgspec.structs.replace(node.node.record, capacity=capacity)
    node.registry.keep_node(node.node.record)


@pytest.mark.parametrize("store", ["memory", "redis"])
async def test_a_drained_node_gives_its_children_away_and_stays(store: str, redis_server: RedisServer) -> None:
    """It is asked through the registry; its children miss nothing, and it may be asked back."""
    async with mesh() as m:
        if store == "redis":
            over_redis(m, redis_server)
        w = await diamond(m)
        source, edge, viewer, first = w.source, w.edge, w.viewer, w.parent
        states = len(viewer.states)
        order = DesiredDrain(node=first.id)
        await m.nodes["in"].registry.put_desired(order)
        await wait_until(lambda: w.parent is not first)
        await goes_on(source, viewer)
        assert all(change.state is StreamState.LIVE for change in viewer.states[states:])
        assert edge.metric("headrace_relay_switches_total", reason="leaving") == 1
        await wait_until(lambda: edge.registry.nodes[NodeId(first.id)].draining)
        await wait_until(lambda: first.node.parent(CAM) is None)
        await m.nodes["in"].registry.drop_desired(desired_key(order))
        await wait_until(lambda: not edge.registry.nodes[NodeId(first.id)].draining)
        await goes_on(source, viewer, 20)
        assert w.parent is not first, "nothing moves because a node is back"


async def test_the_last_way_is_not_drained_away() -> None:
    """A node that all must pass keeps feeding its child until there is another."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        low = await m.add("low", layer=1)
        high = await m.add("high", layer=2)
        source = ingress.produce()
        m.run(source)
        await m.settled()
        viewer = Viewer(high.hub)
        await wait_until(lambda: len(viewer.chunks) > 100)
        assert high.node.parent(CAM) == "low"
        await ingress.registry.put_desired(DesiredDrain(node=low.id))
        await wait_until(lambda: high.node.parent(CAM) == "in")
        await ingress.registry.put_desired(DesiredDrain(node=ingress.id))
        await wait_until(lambda: high.registry.nodes[NodeId("in")].draining)
        await goes_on(source, viewer)


@pytest.mark.parametrize("store", ["memory", "redis"])
@pytest.mark.parametrize("child", ["", "edge"])
async def test_a_live_stream_is_moved(store: str, child: str, redis_server: RedisServer) -> None:
    """The new parent delivers before the old one is let go, and what both sent counts once."""
    async with mesh() as m:
        if store == "redis":
            over_redis(m, redis_server)
        w = await diamond(m)
        source, edge, viewer, first = w.source, w.edge, w.viewer, w.parent
        states = len(viewer.states)
        other = other_of(m, first)
        await m.nodes["in"].registry.put_desired(DesiredMove(stream=CAM, parent=other.id, child=child))
        await wait_until(lambda: w.parent is other)
        await goes_on(source, viewer)
        assert all(change.state is StreamState.LIVE for change in viewer.states[states:])
        assert edge.metric("headrace_relay_switches_total", reason="moved") == 1
        await wait_until(lambda: first.node.parent(CAM) is None)


async def test_a_source_that_is_moved_moves_no_children() -> None:
    """A move to an ingress, for all, tells who runs the source; the chain stays as it is."""
    async with mesh() as m:
        w = await diamond(m)
        source, edge, viewer, first = w.source, w.edge, w.viewer, w.parent
        await first.registry.put_desired(DesiredMove(stream=CAM, parent="in"))
        await wait_until(lambda: bool(edge.registry.desired))
        await goes_on(source, viewer)
        assert w.parent is first
        await first.registry.put_desired(DesiredMove(stream=CAM, parent="in", child="edge"))
        await wait_until(lambda: edge.node.parent(CAM) == "in")
        await goes_on(source, viewer)


async def test_a_full_parent_refuses_and_the_child_goes_elsewhere() -> None:
    """Even when the child has not heard yet that it is full."""
    async with mesh() as m:
        w = await diamond(m)
        source, viewer, first = w.source, w.viewer, w.parent
        first.node.record = msgspec.structs.replace(first.node.record, capacity=1)  # nobody is told
        second = await m.add("second", "edge", options=replace(FAST, standby=False))
        await m.settled()
        order = DesiredMove(stream=CAM, parent=first.id, child="second")
        await second.registry.put_desired(order)
        late = Viewer(second.hub)
        await goes_on(source, late)
        assert second.node.parent(CAM) != first.id
        assert w.parent is first
        await goes_on(source, viewer, 20)


async def test_an_edge_gives_way_to_an_intermediate() -> None:
    """An owner with room for one child sends the edge to the intermediate that needs it, and feeds it until then."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        edge = await m.add("edge", "edge")
        source = ingress.produce()
        m.run(source)
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 60)
        resize(ingress, 1)
        low = await m.add("low", layer=1)
        spare = await m.add("zero", "ingress")
        await m.settled()
        below = Viewer(low.hub)
        await wait_until(lambda: edge.node.parent(CAM) == "low")
        await goes_on(source, viewer)
        await goes_on(source, below, 20)
        assert spare.node.parent(CAM) is None
