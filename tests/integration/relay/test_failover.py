"""Parents that die, leave or refuse, with an alternative at hand: nothing is missing and nothing comes twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace.registry.placement import Candidate
from headrace.session import fetching
from headrace.session.link import Link, LinkError
from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from integration.relay.mesh import CAM, FAST, Source, Viewer, mesh
from integration.relay.shapes import diamond, direct, goes_on


async def test_a_parent_that_stops_hands_its_children_over() -> None:
    """It is asked to leave first: make before break, and viewers hear nothing of it."""
    async with mesh() as m:
        w = await diamond(m)
        source, edge, viewer, first = w.source, w.edge, w.viewer, w.parent
        states = len(viewer.states)
        await first.stop()
        await goes_on(source, viewer)
        assert w.parent is not first
        assert all(change.state is StreamState.LIVE for change in viewer.states[states:])
        assert edge.metric("headrace_relay_switches_total", reason="leaving") == 1
        assert edge.metric("headrace_relay_interruptions_total") == 0


async def test_a_parent_whose_connection_breaks_is_replaced_at_once() -> None:
    """The cold sibling fetches what its new child lacks, and the viewer is not told of an interruption."""
    async with mesh() as m:
        w = await diamond(m)
        source, edge, viewer, first = w.source, w.edge, w.viewer, w.parent
        states = len(viewer.states)
        first.cut()
        await wait_until(lambda: edge.node.parent(CAM) not in (None, first.id))
        await goes_on(source, viewer)
        assert all(change.state is StreamState.LIVE for change in viewer.states[states:])
        assert edge.metric("headrace_relay_switches_total", reason="lost") >= 1


async def test_a_parent_that_falls_silent_is_noticed_by_its_heartbeat() -> None:
    """Its connection stays open and says nothing."""
    async with mesh() as m:
        w = await diamond(m)
        source, edge, viewer, first = w.source, w.edge, w.viewer, w.parent
        for link in first.node.links.all:
            if link.peer == "edge":
                link.channel.send = lambda messages: None  # type: ignore[method-assign]
                link.channel.send_shared = lambda parts: 0  # type: ignore[method-assign]
        await wait_until(lambda: edge.node.parent(CAM) not in (None, first.id))
        await goes_on(source, viewer)
        assert edge.metric("headrace_relay_links_ended_total", reason="heartbeat_timeout") == 1


async def test_a_whole_chain_loses_its_middle() -> None:
    """The edge below the one that switches loses nothing either."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        await m.add("low1", layer=1)
        await m.add("low2", layer=1)
        high = await m.add("high", layer=2)
        edge = await m.add("edge", "edge")
        source = ingress.produce()
        m.run(source)
        await m.settled()
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 100)
        parent = m.nodes[str(high.node.parent(CAM))]
        assert parent.id in ("low1", "low2")
        parent.cut()
        await parent.stop()
        await goes_on(source, viewer)
        assert edge.node.parent(CAM) == "high"
        assert len(viewer.states[-1].route) == 4


async def test_siblings_that_lose_the_same_parent_all_go_on() -> None:
    """Their last chunks differ; a cold parent begins early enough for all of them."""
    async with mesh() as m:
        w = await diamond(m)
        source, viewer = w.source, w.viewer
        edges = [await m.add(f"edge{number}", "edge") for number in range(3)]
        await m.settled()
        viewers = [viewer, *(Viewer(edge.hub) for edge in edges)]
        await wait_until(lambda: all(len(one.chunks) > 60 for one in viewers))
        await m.nodes["left"].stop()
        for one in viewers:
            await goes_on(source, one, 60)
        await m.add("third", layer=1)
        m.nodes["right"].cut()
        await m.nodes["right"].stop()
        for one in viewers:
            await goes_on(source, one, 60)


async def test_with_no_parent_left_the_stream_is_interrupted_and_comes_back_by_itself() -> None:
    """Viewers stay; when the only parent is back they go on after the last chunk, which its ring still holds."""
    async with mesh() as m:
        w = await direct(m, edge_options=replace(FAST, switch_seconds=0.2))
        source, ingress, edge, viewer = w.source, w.ingress, w.edge, w.viewer
        await ingress.close_door()
        await wait_until(lambda: viewer.states[-1].state is StreamState.INTERRUPTED)
        assert edge.metric("headrace_relay_interruptions_total") == 1
        assert edge.node.problem is not None
        assert "no parent" in edge.node.problem
        await ingress.open_door()
        await wait_until(lambda: viewer.states[-1].state is StreamState.LIVE)
        await goes_on(source, viewer)
        assert edge.node.problem is None


async def test_a_short_break_of_the_only_parent_disturbs_nobody() -> None:
    """It is there again before viewers would be told."""
    async with mesh() as m:
        w = await direct(m, edge_options=replace(FAST, switch_seconds=5.0))
        source, viewer = w.source, w.viewer
        states = len(viewer.states)
        w.ingress.cut()
        await goes_on(source, viewer)
        assert len(viewer.states) == states


async def test_the_sources_own_interruption_reaches_every_viewer_and_moves_nobody() -> None:
    """A dead camera is no reason to look for another parent."""
    async with mesh() as m:
        w = await diamond(m)
        source, edge, viewer, first = w.source, w.edge, w.viewer, w.edge.node.parent(CAM)
        source.broadcast.set_state(StreamState.INTERRUPTED, "the camera is away")
        await wait_until(lambda: viewer.states[-1].reason == "the camera is away")
        assert edge.node.parent(CAM) == first
        source.broadcast.set_state(StreamState.LIVE, "")
        await wait_until(lambda: viewer.states[-1].state is StreamState.LIVE)
        await goes_on(source, viewer, 50)


async def test_a_new_epoch_goes_through() -> None:
    """Its tracks come first, and the rest of the old one before that."""
    async with mesh() as m:
        w = await diamond(m)
        source, viewer = w.source, w.viewer
        again = Source(source.broadcast, "in", epoch=source.epoch + 5)
        for task in m.tasks:
            task.cancel()
        sent = list(source.sent)
        m.run(again)
        await wait_until(lambda: len(viewer.opened) == 2 and viewer.chunks[-1].id.epoch == again.epoch)
        await wait_until(lambda: len(viewer.ids(1)) > 0 and viewer.ids(1)[-1].chunk > 5)
        old = [id for id in viewer.ids() if id.epoch == source.epoch]
        assert old[-2:] == sent[-2:]
        new = [id for id in viewer.ids(1) if id.epoch == again.epoch]
        assert new[0].chunk == 0


async def test_a_parent_that_is_cut_off_from_the_source_for_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own children still hear it; what it lost is told by its route."""
    monkeypatch.setattr(fetching, "ASTRAY_SECONDS", 0.5)
    async with mesh() as m:
        w = await diamond(m)
        source, edge, viewer, first = w.source, w.edge, w.viewer, w.parent

        async def unreachable(candidate: Candidate) -> Link:
            raise LinkError("unreachable", "no way there")

        first.node.links.open = unreachable  # type: ignore[method-assign]
        for link in tuple(first.node.links.open_links):
            if link.peer == "in":
                link.channel.abort()
        await wait_until(lambda: edge.node.parent(CAM) not in (None, first.id))
        await goes_on(source, viewer)
        assert edge.metric("headrace_relay_switches_total", reason="astray") == 1
        assert viewer.states[-1].state is StreamState.LIVE
