"""Sources by API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from headrace.access.viewing import MemoryViewing
from headrace.clock import SystemClock
from headrace.http.application import make_application
from headrace.identifiers import NodeId
from headrace.registry.claims import Claim
from headrace.registry.desired import DesiredKey, DesiredKind, DesiredSource
from headrace.registry.memory import MemoryRegistry, MemoryStore
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.registry.sealing import Vault
from headrace.registry.transfers import OPTION_SLATE
from headrace.service.runtime import Runtime
from headrace.testing import wait_until
from headrace_control_api.access import Access
from headrace_control_api.counting import api_metrics
from headrace_control_api.events import EventLog
from headrace_control_api.routes import add_routes
from headrace_control_api.tokens import TokenOffice

Client = TestClient[web.Request, web.Application]
KEY = DesiredKey(DesiredKind.SOURCE, "cam1")
URI = "rtsp://user:hush@cam.example/main"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def registries(store: MemoryStore) -> AsyncIterator[list[MemoryRegistry]]:
    """Two registries of one cluster, one for each control API."""
    found = [MemoryRegistry(store, vault=Vault(["a secret of the tests"])) for _ in range(2)]
    for registry in found:
        await registry.start()
    yield found
    for registry in found:
        await registry.close()


def client_of(registry: MemoryRegistry) -> Client:
    """Return a client of a control API."""
    runtime = Runtime(NodeId("api"), "control-api")
    app = make_application(runtime)
    office = TokenOffice(MemoryViewing(runtime.clock), runtime.clock)
    events = EventLog(registry, runtime.clock)
    add_routes(app, registry, Access(), api_metrics(runtime.metrics), events, office)
    return TestClient(TestServer(app))


async def test_life_of_a_source(registries: list[MemoryRegistry]) -> None:
    """A source that is asked for is a desired record; who takes it on is shown; deleting it removes the record."""
    registry, node = registries
    async with client_of(registry) as client:
        answer = await client.post("/api/v1/streams/cam1", json={"uris": [URI], "transport": "udp"})
        made = await answer.json()
        assert (answer.status, made["status"], made["by"], made["transport"]) == (201, "waiting", "api", "udp")
        assert "hush" not in await answer.text()
        record = registry.desired[KEY].record
        assert isinstance(record, DesiredSource)
        assert record.uris[0].reveal() == URI

        def changed(claim: Claim) -> None: ...

        await wait_until(lambda: KEY in node.desired)
        claim = await node.claim(KEY, NodeId("ingress-1"), changed)
        assert claim is not None
        node.report(claim, "live", "as it should")
        await wait_until(lambda: KEY in registry.claims and registry.claims[KEY].status == "live")
        (listed,) = (await (await client.get("/api/v1/sources")).json())["sources"]
        assert (listed["name"], listed["node"], listed["status"]) == ("cam1", "ingress-1", "live")
        assert (await client.delete("/api/v1/streams/cam1")).status == 204
        assert KEY not in registry.desired
        assert (await client.delete("/api/v1/streams/cam1")).status == 404


async def test_a_slate_is_one_of_its_words(registries: list[MemoryRegistry]) -> None:
    """Asked for, stored as the ingress reads it, and shown; files of some machine are not for the API."""
    registry, _ = registries
    async with client_of(registry) as client:
        answer = await client.post("/api/v1/streams/cam1", json={"uris": [URI], "slate": "built-in"})
        assert (answer.status, (await answer.json())["slate"]) == (201, "built-in")
        record = registry.desired[KEY].record
        assert isinstance(record, DesiredSource)
        assert record.options == {OPTION_SLATE: "built-in"}
        assert (await client.post("/api/v1/streams/cam2", json={"uris": [URI], "slate": "/a.png"})).status == 400
        answer = await client.post("/api/v1/streams/cam2", json={"uris": [URI]})
        assert (await answer.json()).get("slate") is None


async def test_names_in_use(registries: list[MemoryRegistry]) -> None:
    """A name that has a source, or is published, is 409; what stands in a configuration is not deleted here."""
    registry, _ = registries
    async with client_of(registry) as client:
        assert (await client.post("/api/v1/streams/cam1", json={"uris": [URI]})).status == 201
        assert (await client.post("/api/v1/streams/cam1", json={"uris": [URI]})).status == 409
        registry.keep_stream(StreamRecord(stream="cam2", node="n1", epoch=7, state="live"))
        assert (await client.post("/api/v1/streams/cam2", json={"uris": [URI]})).status == 409
        assert (await client.delete("/api/v1/streams/cam2")).status == 409


async def test_many_delete_at_once(registries: list[MemoryRegistry]) -> None:
    """One deletes a source whose stream is live, the others find it gone; nobody hears of a configuration."""
    registry, node = registries

    def changed(claim: Claim) -> None: ...

    async with client_of(registries[0]) as first, client_of(registries[1]) as second:
        assert (await first.post("/api/v1/streams/cam1", json={"uris": [URI]})).status == 201
        await wait_until(lambda: KEY in node.desired)
        assert await node.claim(KEY, NodeId("n1"), changed) is not None
        node.keep_stream(StreamRecord(stream="cam1", node="n1", epoch=7, state="live"))
        await wait_until(lambda: "cam1" in registry.streams and KEY in registry.claims)
        calls = [client.delete("/api/v1/streams/cam1") for _ in range(3) for client in (first, second)]
        statuses = [answer.status for answer in await asyncio.gather(*calls)]
        assert sorted(statuses) == [204, *[404] * 5]


async def test_two_control_apis_race_for_a_name(registries: list[MemoryRegistry]) -> None:
    """Of many who ask for one name at two control APIs at once, one gets it and the others get 409."""
    async with client_of(registries[0]) as first, client_of(registries[1]) as second:
        calls = [
            client.post("/api/v1/streams/cam1", json={"uris": [f"rtsp://cam{number}.example/"]})
            for number in range(10)
            for client in (first, second)
        ]
        statuses = [answer.status for answer in await asyncio.gather(*calls)]
        assert sorted(statuses) == [201, *[409] * 19]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"uris": []}, "body.uris"),
        ({"uris": [URI] * 5}, "body.uris"),
        ({"uris": ["ws://cam.example/"]}, "body.uris.0"),
        ({"uris": ["gopher://cam.example/"]}, "body.uris.0"),
        ({"uris": [URI, "rtsp://a/%00"]}, "body.uris.1"),
        ({"uris": ["rtsp://a:0/"]}, "body.uris.0"),
        ({"uris": ["udp://239.1.1.1"]}, "body.uris.0"),
        ({"uris": ["rtsp://"]}, "body.uris.0"),
        ({"uris": ["rtsp://a/ b"]}, "body.uris.0"),
        ({"uris": ["rtsp://a/\0"]}, "body.uris.0"),
        ({"uris": ["rtsp://a:99999/"]}, "body.uris.0"),
        ({"uris": ["rtsp://[::/"]}, "body.uris.0"),
        ({"uris": ["file:///../etc?x"]}, "body.uris.0"),
        ({"uris": [URI], "transport": "smoke"}, "body.transport"),
        ({"uris": [URI], "loop": 1}, "body.loop"),
        ({"uris": [URI], "options": {}}, "body.options"),
        ({}, "body.uris"),
    ],
)
async def test_wrong_sources_are_told(registries: list[MemoryRegistry], body: dict[str, Any], field: str) -> None:
    """Each wrong member is 400 and named, and its value is not repeated."""
    async with client_of(registries[0]) as client:
        answer = await client.post("/api/v1/streams/cam1", json=body)
        assert (answer.status, [error["field"] for error in (await answer.json())["errors"]]) == (400, [field])
        assert "hush" not in await answer.text()


async def test_addresses_are_asked_for_in_words(registries: list[MemoryRegistry]) -> None:
    """Which schemes there are is said, not which regular expression did not match."""
    async with client_of(registries[0]) as client:
        wrong = "gopher://cam.example/"
        source = await client.post("/api/v1/streams/cam1", json={"uris": [wrong]})
        transfer = await client.post("/api/v1/transfers", json={"kind": "pull", "uri": wrong, "local_name": "a"})
        for answer in (source, transfer):
            (error,) = (await answer.json())["errors"]
            assert error["detail"].startswith("an address is expected: ")
            assert "rtsp" in error["detail"]
            assert "[" not in error["detail"]


async def test_credentials_need_a_secret_to_be_stored(store: MemoryStore) -> None:
    """Without a cluster secret an address with a password is refused rather than stored in clear."""
    registry = MemoryRegistry(store, clock=SystemClock())
    await registry.start()
    async with client_of(registry) as client:
        answer = await client.post("/api/v1/streams/cam1", json={"uris": [URI]})
        assert (answer.status, "relay.secret" in await answer.text()) == (400, True)
        assert (await client.post("/api/v1/streams/cam1", json={"uris": ["rtsp://cam.example/main"]})).status == 201
    await registry.close()


async def test_while_the_store_is_away(store: MemoryStore, registries: list[MemoryRegistry]) -> None:
    """What would have to be written is 503; what is known is still told."""
    async with client_of(registries[0]) as client:
        store.take_away()
        assert (await client.post("/api/v1/streams/cam1", json={"uris": [URI]})).status == 503
        assert (await client.delete("/api/v1/streams/cam1")).status == 503
        assert (await client.get("/api/v1/sources")).status == 200


async def test_what_no_ingress_may_reach_is_told_at_once(registries: list[MemoryRegistry]) -> None:
    """A private address that no ingress's networks name is 400 and makes no record; one that is named is taken."""
    registry, _ = registries
    registry.keep_node(NodeRecord(node="n1", role="ingress", reach=("10.1.0.0/16",)))
    async with client_of(registry) as client:
        for number, (host, status) in enumerate(
            [("10.2.0.1", 400), ("127.0.0.1", 400), ("[::ffff:10.2.0.1]", 400), ("10.1.2.3", 201), ("8.8.8.8", 201)]
        ):
            answer = await client.post(f"/api/v1/streams/s{number}", json={"uris": [f"rtsp://u:hush@{host}/main"]})
            assert (answer.status, "hush" in await answer.text()) == (status, False), host
            assert (DesiredKey(DesiredKind.SOURCE, f"s{number}") in registry.desired) == (status == 201)
        private = {"uris": ["rtsp://10.2.0.1/"]}
        assert "allow_networks" in (await (await client.post("/api/v1/streams/a", json=private)).json())["detail"]
        assert (await client.post("/api/v1/streams/name", json={"uris": ["rtsp://cam.local/"]})).status == 201


async def test_sources_come_in_pages(registries: list[MemoryRegistry]) -> None:
    """By name, filtered by how they begin and who fetches them; what is not known is refused."""
    registry, _ = registries
    async with client_of(registry) as client:
        for name in ("a1", "b1", "b2", "b3"):
            assert (await client.post(f"/api/v1/streams/{name}", json={"uris": [URI]})).status == 201
        claim = await registry.claim(DesiredKey(DesiredKind.SOURCE, "b2"), NodeId("in-1"), lambda claim: None)
        assert claim is not None

        async def names(**query: str) -> tuple[list[str], int, str | None]:
            found = await (await client.get("/api/v1/sources", params=query)).json()
            return [source["name"] for source in found["sources"]], found["total"], found.get("next")

        assert await names(limit="3") == (["a1", "b1", "b2"], 4, "b2")
        assert await names(limit="3", after="b2") == (["b3"], 4, None)
        assert await names(prefix="b", limit="3") == (["b1", "b2", "b3"], 3, None)
        assert await names(node="in-1") == (["b2"], 1, None)
        assert (await client.get("/api/v1/sources?page=2")).status == 400
