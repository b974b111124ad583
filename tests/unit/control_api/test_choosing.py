"""Parents explained by API."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from headrace.clock import SystemClock
from headrace.identifiers import NodeId, StreamName
from headrace.registry.desired import DesiredMove
from headrace.registry.memory import MemoryRegistry
from headrace.registry.records import LAYER_MAX, NodeRecord, StreamRecord
from headrace_control_api.choosing import why_not

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def registry() -> AsyncIterator[MemoryRegistry]:
    registry = MemoryRegistry(clock=SystemClock())
    await registry.start()
    registry.keep_node(NodeRecord(node="in", role="ingress", relay_url="ws://in/relay", streams=("cam1",)))
    for node in ("mid-1", "mid-2"):
        url = f"ws://{node}/relay"
        registry.keep_node(NodeRecord(node=node, role="intermediate", layer=1, relay_url=url))
    registry.keep_node(
        NodeRecord(node="edge-1", role="edge", layer=LAYER_MAX, relay_url="ws://edge-1/relay", streams=("cam1",))
    )
    registry.keep_stream(StreamRecord(stream="cam1", node="in", epoch=7, state="live"))
    yield registry
    await registry.close()


async def test_who_carries_a_stream_says_whom_it_would_ask(client: Client, registry: MemoryRegistry) -> None:
    """Every other node has a place or a reason why it has none; an order to move is named and counts."""
    await registry.put_desired(DesiredMove(stream="cam1", parent="mid-2"))
    answer = await (await client.get("/api/v1/streams/cam1/parents")).json()
    assert answer["stream"] == "cam1"
    (edge,) = answer["nodes"]
    assert (edge["node"], edge["role"], edge["layer"], edge["moved_to"]) == ("edge-1", "edge", LAYER_MAX, "mid-2")
    assert {one["node"] for one in edge["parents"]} == {"edge-1", "in", "mid-1", "mid-2"}
    assert (edge["parents"][0]["node"], edge["parents"][0]["place"]) == ("mid-2", 0)
    assert all(one["why"] for one in edge["parents"])


async def test_one_node_is_asked_for(client: Client) -> None:
    """Also one that does not carry the stream yet; what cannot be its parent has no place."""
    answer = await (await client.get("/api/v1/streams/cam1/parents", params={"node": "mid-1"})).json()
    (middle,) = answer["nodes"]
    assert middle["node"] == "mid-1"
    (edge,) = [one for one in middle["parents"] if one["node"] == "edge-1"]
    assert edge.get("place") is None


async def test_why_a_node_cannot_feed_another(registry: MemoryRegistry) -> None:
    """An edge is above intermediates, so none of them can have a stream from it; the other way it can."""
    cam, edge, middle = StreamName("cam1"), NodeId("edge-1"), NodeId("mid-1")
    assert "layer 1000" in (why_not(registry, cam, child=middle, parent=edge) or "")
    assert why_not(registry, cam, child=edge, parent=middle) is None


@pytest.mark.parametrize("path", ["cam9/parents", "cam1/parents?node=nobody"])
async def test_what_is_not_there_is_named(client: Client, path: str) -> None:
    """A stream that nobody has, and a node that does not run."""
    response = await client.get(f"/api/v1/streams/{path}")
    assert response.status == 404
    assert "There is no" in (await response.json())["detail"]
