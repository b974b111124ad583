"""Chains of nodes on real sockets in one process."""

from __future__ import annotations

import asyncio

import pytest

from headrace.testing import wait_until
from integration.relay.mesh import Viewer, assert_complete, mesh


async def test_two_nodes_carry_every_chunk_once_and_in_order() -> None:
    """An edge that dials the ingress gets all chunks from its join on."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        edge = await m.add("edge", "edge")
        source = ingress.produce()
        m.run(source)
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 200)
        assert_complete(source, viewer)
        assert [hop.node for hop in viewer.states[-1].route] == ["in", "edge"]


async def test_a_chain_of_four_is_found_through_the_registry() -> None:
    """The route goes through every layer and nothing is lost on the way."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        await m.add("mid1", layer=1)
        await m.add("mid2", layer=2)
        edge = await m.add("edge", "edge")
        source = ingress.produce()
        m.run(source)
        await m.settled()
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 200)
        assert_complete(source, viewer)
        assert [hop.node for hop in viewer.states[-1].route] == ["in", "mid1", "mid2", "edge"]


async def test_another_event_loops_transports_do_as_well() -> None:
    """aiofastnet's are no subclasses of asyncio's."""
    aiofastnet = pytest.importorskip("aiofastnet")
    aiofastnet.patch_loop(asyncio.get_running_loop())
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        await m.add("mid", layer=1)
        edge = await m.add("edge", "edge")
        source = ingress.produce(size=100_000)
        m.run(source)
        await m.settled()
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 100)
        assert_complete(source, viewer)
