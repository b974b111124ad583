"""Drains and moves by API."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from headrace.clock import SystemClock
from headrace.identifiers import NodeId
from headrace.registry.desired import DesiredKey, DesiredKind, DesiredSource
from headrace.registry.memory import MemoryRegistry, MemoryStore
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.registry.sealing import Uri
from headrace.registry.transfers import OPTION_PUBLISHER, PUSHED

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def registry(store: MemoryStore) -> AsyncIterator[MemoryRegistry]:
    registry = MemoryRegistry(store, clock=SystemClock())
    await registry.start()
    for layer, node in enumerate(("n1", "n2", "n3")):
        url = f"ws://{node}.example/relay"
        registry.keep_node(NodeRecord(node=node, role="intermediate", layer=layer, relay_url=url))
    registry.keep_node(NodeRecord(node="unreachable", role="edge", layer=1000))
    registry.keep_stream(StreamRecord(stream="cam1", node="n1", epoch=7, state="live"))
    yield registry
    await registry.close()


async def test_draining(client: Client, registry: MemoryRegistry) -> None:
    """A drain is a desired record that stands until it is withdrawn; asking twice is no error."""
    for _ in range(2):
        assert (await client.put("/api/v1/nodes/n1/drain")).status == 204
    assert DesiredKey(DesiredKind.DRAIN, "n1") in registry.desired
    orders = await (await client.get("/api/v1/orders")).json()
    assert ([order["node"] for order in orders["drains"]], orders["moves"]) == (["n1"], [])
    assert (await client.delete("/api/v1/nodes/n1/drain")).status == 204
    assert not registry.desired
    assert (await client.delete("/api/v1/nodes/n1/drain")).status == 404


async def test_moving(client: Client, registry: MemoryRegistry) -> None:
    """A stream can be moved for one child or for all, and each is withdrawn by itself."""
    path = "/api/v1/streams/cam1/move"
    assert (await client.put(path, json={"to": "n2"})).status == 204
    assert (await client.put(path, json={"to": "n2", "child": "n3"})).status == 204
    moves = (await (await client.get("/api/v1/orders")).json())["moves"]
    assert [(move["stream"], move["to"], move.get("child")) for move in moves] == [
        ("cam1", "n2", None),
        ("cam1", "n2", "n3"),
    ]
    assert (await client.delete(path, params={"child": "n3"})).status == 204
    assert (await client.delete(path)).status == 204
    assert (await client.delete(path)).status == 404
    assert not registry.desired


async def test_a_source_is_moved_before_anybody_has_it(client: Client, registry: MemoryRegistry) -> None:
    """One that was asked for may be moved to an ingress though its stream is not there yet, and to no child."""
    registry.keep_node(NodeRecord(node="in", role="ingress", relay_url="ws://in.example/relay"))
    path = "/api/v1/streams/new/move"
    assert (await client.put(path, json={"to": "in"})).status == 404
    assert (await client.post("/api/v1/streams/new", json={"uris": ["test:?size=640x360&rate=25"]})).status == 201
    assert (await client.put(path, json={"to": "in"})).status == 204
    assert (await client.put(path, json={"to": "n1", "child": "n2"})).status == 409


async def test_what_is_published_here_is_moved_by_its_publisher_alone(client: Client, registry: MemoryRegistry) -> None:
    """A stream that nobody fetches, or that another cluster pushes here, goes to no other ingress by order."""
    registry.keep_node(NodeRecord(node="in", role="ingress", relay_url="ws://in.example/relay"))
    path, key = "/api/v1/streams/cam1/move", DesiredKey(DesiredKind.SOURCE, "cam1")
    assert (await client.put(path, json={"to": "in"})).status == 409
    claim = await registry.claim(key, NodeId("n1"), lambda claim: None)  # it stands in a configuration
    assert claim is not None
    assert (await client.put(path, json={"to": "in"})).status == 204
    pushed = DesiredSource(stream="cam1", uris=(Uri(PUSHED),), options={OPTION_PUBLISHER: "far"})
    await registry.put_desired(pushed)
    answer = await client.put(path, json={"to": "in"})
    assert (answer.status, "another cluster" in (await answer.json())["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"to": "n2", "child": "n1"}, "has the source itself"),
        ({"to": "n3", "child": "n2"}, "above this node's"),
        ({"to": "n2", "child": "n2"}, "is this node"),
        ({"to": "unreachable", "child": "n3"}, "no relay URL"),
        ({"to": "unreachable"}, "no relay URL"),
    ],
)
async def test_moves_that_cannot_be(client: Client, registry: MemoryRegistry, body: dict[str, str], why: str) -> None:
    """A stream that a node cannot have from there is refused with the reason, and no order stands."""
    answer = await client.put("/api/v1/streams/cam1/move", json=body)
    assert (answer.status, why in (await answer.json())["detail"]) == (409, True)
    assert not registry.desired


async def test_what_is_not_there_is_said(client: Client, store: MemoryStore) -> None:
    """Unknown nodes and streams are 404, or 409 where the body names them; a store that is away is 503."""
    assert (await client.put("/api/v1/nodes/n9/drain")).status == 404
    assert (await client.put("/api/v1/streams/cam9/move", json={"to": "n1"})).status == 404
    assert (await client.put("/api/v1/streams/cam1/move", json={"to": "n9"})).status == 409
    assert (await client.put("/api/v1/streams/cam1/move", json={"to": "n1", "child": "n9"})).status == 409
    store.take_away()
    assert (await client.put("/api/v1/nodes/n1/drain")).status == 503
    assert (await client.delete("/api/v1/nodes/n1/drain")).status == 503


async def test_orders_come_in_pages(client: Client, registry: MemoryRegistry) -> None:
    """Drains first, then moves, each once; `next` leads on until the last."""
    for node in ("n1", "n3"):
        assert (await client.put(f"/api/v1/nodes/{node}/drain")).status == 204
    for to in ({"to": "n2"}, {"to": "n2", "child": "n3"}):
        assert (await client.put("/api/v1/streams/cam1/move", json=to)).status == 204
    asked, seen, totals = {"limit": "3"}, [], set()
    while True:
        answer = await (await client.get("/api/v1/orders", params=asked)).json()
        seen += [order["node"] for order in answer["drains"]] + [order.get("child", "") for order in answer["moves"]]
        totals.add(answer["total"])
        if "next" not in answer:
            break
        asked["after"] = answer["next"]
    assert (seen, totals) == (["n1", "n3", "", "n3"], {4})
    assert (await client.get("/api/v1/orders", params={"limit": "0"})).status == 400
    assert (await client.get("/api/v1/orders", params={"after": "x" * 999})).status == 400
