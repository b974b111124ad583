"""Nodes that nobody can dial: they dial upstream, offer what they have, and are found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace.identifiers import StreamName
from headrace.session.upstreams import Upstreams
from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from integration.relay.mesh import CAM, FAST, Mesh, MeshNode, Viewer, assert_complete, mesh


def url_of(node: MeshNode) -> str:
    return node.node.record.relay_url


async def site(m: Mesh, *upstreams: MeshNode, name: str = "site", role: str = "ingress", layer: int = 0) -> MeshNode:
    """Start a node that dials those, and is dialled by nobody."""
    options = replace(m.options, upstreams=tuple(url_of(node) for node in upstreams))
    node = await m.add(name, role, layer=layer, options=options)
    assert node.node.record.relay_url == ""
    return node


def route(viewer: Viewer) -> list[str]:
    return [hop.node for hop in viewer.states[-1].route]


async def test_its_streams_come_to_every_edge_by_the_upstream_node() -> None:
    """Through the layer above that as well, and nobody asks those that could not get it."""
    async with mesh() as m:
        gate = await m.add("gate", layer=1)
        await m.add("other", layer=1)
        await m.add("upper", layer=2)
        edge = await m.add("edge", "edge")
        home = await site(m, gate)
        source = home.produce()
        m.run(source)
        await wait_until(lambda: CAM in gate.node.record.streams, what="the stream offered")
        await m.settled()
        assert CAM not in gate.hub.streams, "offered is not carried"
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 100)
        assert route(viewer) == ["site", "gate", "upper", "edge"]
        assert_complete(source, viewer)
        assert not [link for link in home.node.links.all if not link.dialled]


async def test_a_site_with_a_store_of_its_own_is_found_too() -> None:
    """Nobody knows the stream but the node that it is offered to."""
    async with mesh() as m, mesh() as apart:
        gate = await m.add("gate", layer=1)
        edge = await m.add("edge", "edge")
        home = await site(apart, gate)
        source = home.produce()
        apart.run(source)
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 100)
        assert route(viewer) == ["site", "gate", "edge"]
        assert_complete(source, viewer)


async def test_a_site_of_several_nodes_offers_by_one() -> None:
    """Its ingress dials its relay, and that dials out."""
    async with mesh() as m, mesh() as apart:
        gate = await m.add("gate", layer=1)
        edge = await m.add("edge", "edge")
        relay = await apart.add("relay", layer=1, options=replace(FAST, upstreams=(url_of(gate),)))
        assert relay.node.record.relay_url == ""
        listens = f"ws://127.0.0.1:{relay.listener.bound_port}/relay"
        home = await apart.add("site", "ingress", options=replace(FAST, upstreams=(listens,)))
        source = home.produce()
        apart.run(source)
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 100)
        assert route(viewer) == ["site", "relay", "gate", "edge"]
        assert_complete(source, viewer)


async def test_a_link_that_breaks_is_made_again_and_nothing_is_lost() -> None:
    """The stream goes on after the last chunk that came through."""
    async with mesh() as m:
        gate = await m.add("gate", layer=1)
        edge = await m.add("edge", "edge")
        home = await site(m, gate)
        source = home.produce()
        m.run(source)
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 100)
        home.cut()
        had = len(viewer.chunks)
        await wait_until(lambda: len(viewer.chunks) > had + 200)
        assert_complete(source, viewer)
        assert gate.metric("headrace_relay_links_ended_total", reason="connection_lost") >= 1


async def test_with_two_upstreams_one_may_die() -> None:
    """Who was fed by it goes to the other, and misses nothing."""
    async with mesh() as m:
        gates = {name: await m.add(name, layer=1) for name in ("left", "right")}
        edge = await m.add("edge", "edge")
        home = await site(m, *gates.values())
        source = home.produce()
        m.run(source)
        await wait_until(lambda: all(CAM in gate.node.record.streams for gate in gates.values()))
        await m.settled()
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 100)
        parent = edge.node.parent(CAM)
        assert parent is not None
        gates[parent].cut()
        await gates[parent].stop()
        had = len(viewer.chunks)
        await wait_until(lambda: len(viewer.chunks) > had + 200)
        assert edge.node.parent(CAM) != parent
        assert_complete(source, viewer)


async def test_what_is_gone_is_withdrawn() -> None:
    """And told downstream; what comes later is offered."""
    async with mesh() as m:
        gate = await m.add("gate", layer=1)
        home = await site(m, gate)
        home.produce()
        await wait_until(lambda: CAM in gate.node.record.streams)
        home.hub.retire(CAM)
        await wait_until(lambda: CAM not in gate.node.record.streams)
        later = StreamName("later")
        home.produce(later)
        await wait_until(lambda: later in gate.node.record.streams)


async def test_two_that_dial_each_other_do_not_keep_a_stream_alive() -> None:
    """Nothing is offered to who offers it."""
    async with mesh() as m, mesh() as apart:
        one = await m.add("one", layer=1)
        two = await apart.add("two", layer=1, options=replace(FAST, upstreams=(url_of(one),)))
        listens = f"ws://127.0.0.1:{two.listener.bound_port}/relay"
        three = await m.add("three", layer=1, options=replace(FAST, upstreams=(listens,)))
        home = await m.add("site", "ingress", options=replace(FAST, upstreams=(listens,)))
        home.produce()
        await wait_until(lambda: CAM in one.node.record.streams)
        await home.stop()
        await wait_until(lambda: CAM not in one.node.record.streams and CAM not in two.node.record.streams)
        assert CAM not in three.node.record.streams


async def test_an_upstream_that_is_not_there_is_told_once_and_makes_the_node_unready(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Until it comes; the site works meanwhile."""
    async with mesh() as m:
        gate = await m.add("gate", layer=1)
        await gate.close_door()
        home = await site(m, gate)
        source = home.produce()
        m.run(source)
        await wait_until(lambda: home.metric("headrace_relay_dials_failed_total", reason="unreachable") >= 2)
        assert home.node.problem is not None
        assert "upstream" in home.node.problem
        viewer = Viewer(home.hub)
        await wait_until(lambda: len(viewer.chunks) > 20 and viewer.states[-1].state is StreamState.LIVE)
        await gate.open_door()
        await wait_until(lambda: home.node.problem is None)
    assert capsys.readouterr().out.count("[warning  ] upstream_failed") == 1


async def test_a_fault_in_what_is_done_every_second_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and done again: a stream that comes after it is offered all the same."""
    monkeypatch.setattr("headrace.telemetry.faults.RESTART_SECONDS", 0.01)
    faults = [KeyError("a fault")]
    tick = Upstreams.tick

    def fail_once(self: Upstreams) -> None:
        if faults:
            raise faults.pop()
        tick(self)

    monkeypatch.setattr(Upstreams, "tick", fail_once)
    async with mesh() as m:
        gate = await m.add("gate", layer=1)
        home = await site(m, gate)
        await wait_until(lambda: not faults)
        m.run(home.produce())
        await wait_until(lambda: CAM in gate.node.record.streams, what="the stream offered")
