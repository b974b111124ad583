"""Transfers by API: one engine under two faces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from headrace.access.viewing import MemoryViewing
from headrace.clock import SystemClock
from headrace.http.application import make_application
from headrace.identifiers import NodeId
from headrace.registry.desired import DesiredKey, DesiredKind, DesiredTransfer
from headrace.registry.memory import MemoryRegistry, MemoryStore
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.registry.sealing import Vault
from headrace.registry.transfers import OPTION_STOPPED
from headrace.service.runtime import Runtime
from headrace.testing import wait_until
from headrace_control_api.access import Access, Scope
from headrace_control_api.cluster_counts import ClusterCounts
from headrace_control_api.counting import api_metrics
from headrace_control_api.events import EventLog
from headrace_control_api.routes import add_routes
from headrace_control_api.tokens import TokenOffice
from headrace_control_api.transfers import STATUS_OF_CODE, Engine, Refused, Wanted

Client = TestClient[web.Request, web.Application]

FAR = "ws://there.example:8080/websocket"
PUSH = {"uri": FAR, "localStreamName": "cam1", "remoteStreamName": "there"}
PULL = {"uri": FAR, "localStreamName": "here", "remoteStreamName": "cam9"}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody carries anything out in these tests: there is no first word to wait for."""
    monkeypatch.setattr("headrace_control_api.transfers.Engine.__init__.__defaults__", (0.0,))


async def _registry(store: MemoryStore) -> MemoryRegistry:
    registry = MemoryRegistry(store, clock=SystemClock(), vault=Vault(["a secret of the tests"]))
    await registry.start()
    return registry


@pytest.fixture
async def registry(store: MemoryStore) -> AsyncIterator[MemoryRegistry]:
    registry = await _registry(store)
    registry.keep_node(NodeRecord(node="n1", role="ingress", relay_url="ws://10.0.0.1:8080/relay"))
    registry.keep_node(NodeRecord(node="e1", role="edge"))
    registry.keep_stream(StreamRecord(stream="cam1", node="n1", epoch=7, state="live"))
    yield registry
    await registry.close()


async def _client(registry: MemoryRegistry, access: Access | None = None) -> Client:
    runtime = Runtime(NodeId("api"), "control-api")
    app = make_application(runtime)
    office = TokenOffice(MemoryViewing(runtime.clock), runtime.clock)
    events = EventLog(registry, runtime.clock)
    add_routes(app, registry, access or Access(), api_metrics(runtime.metrics), events, office)
    client: Client = TestClient(TestServer(app))
    await client.start_server()
    return client


@pytest.fixture
async def client(registry: MemoryRegistry) -> AsyncIterator[Client]:
    client = await _client(registry)
    yield client
    await client.close()


async def wcs(client: Client, path: str, body: Any = None) -> tuple[int, Any]:
    answer = await client.post(f"/rest-api/{path}", **({} if body is None else {"json": body}))
    text = await answer.text()
    return answer.status, (await answer.json()) if text else None


async def test_wcs_push_find_and_terminate(client: Client, registry: MemoryRegistry) -> None:
    """As its client does it: 200 without a body, an array of transfers, 404 where there are none."""
    assert (await wcs(client, "pull/find_all"))[0] == 404
    assert await wcs(client, "pull/push", PUSH) == (200, None)
    (status, found), got = await wcs(client, "pull/find_all"), await client.get("/rest-api/pull/find_all")
    assert (status, await got.json()) == (200, found)
    assert {key: value for key, value in found[0].items() if key != "localMediaSessionId"} == {
        "remoteMediaSessionId": None,
        "localStreamName": "cam1",
        "remoteStreamName": "there",
        "uri": FAR,
        "status": "NEW",
        "info": None,
    }
    assert (await wcs(client, "pull/push", PUSH))[0] == 409
    names = {"localStreamName": "cam1", "remoteStreamName": "there"}
    assert (await wcs(client, "pull/terminate", {**names, "remoteStreamName": "no"}))[0] == 404
    assert await wcs(client, "pull/terminate", names) == (200, None)
    assert (await wcs(client, "pull/terminate", names))[0] == 404
    assert not registry.desired


@pytest.mark.parametrize("kind", ["rtmp", "rtsp", "srt"])
async def test_wcs_calls_of_one_kind(client: Client, kind: str) -> None:
    """What newer scripts call by the kind of the address are the same calls, all of them."""
    asked = {"uri": f"{kind}://there.example/x", "localStreamName": "far"}
    assert (await wcs(client, f"pull/{kind}/pull", asked))[0] == 200
    assert (await wcs(client, f"pull/{kind}/find_all"))[1][0]["localStreamName"] == "far"
    assert (await wcs(client, f"pull/{kind}/find", asked))[0] == 200
    assert (await wcs(client, f"pull/{kind}/terminate", {"localStreamName": "far"}))[0] == 200
    assert (await wcs(client, f"pull/{kind}/find_all"))[0] == 404


async def test_a_pull_is_a_source_of_its_name(client: Client, registry: MemoryRegistry) -> None:
    """A name has one source: pulling into one that is in use is a conflict, whoever uses it."""
    assert (await wcs(client, "pull/pull", PULL))[0] == 200
    assert DesiredKey(DesiredKind.SOURCE, "here") in registry.desired
    assert (await wcs(client, "pull/pull", {**PULL, "uri": "ws://other.example"}))[0] == 409
    assert (await wcs(client, "pull/pull", {**PULL, "localStreamName": "cam1"}))[0] == 409
    assert (await client.post("/api/v1/streams/here", json={"uris": ["test:"]})).status == 409
    assert await wcs(client, "pull/terminate", {"uri": FAR}) == (200, None)
    assert not registry.desired


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({**PUSH, "uri": 5}, 400),
        ({**PUSH, "uri": "gopher://there.example"}, 400),
        ({**PUSH, "uri": "ws://"}, 400),
        ({**PUSH, "uri": "ws://there.example:99999"}, 400),
        ({**PUSH, "uri": "ws://there.example/" + "x" * 3000}, 400),
        ({**PUSH, "uri": "ws://there.example/\0"}, 400),
        ({**PUSH, "uri": "ws://there.example/%00"}, 400),
        ({**PUSH, "uri": "ws://there.example:0"}, 400),
        ({**PUSH, "uri": "ws://the\\re.example"}, 400),
        ({**PUSH, "uri": "udp://there.example:5000"}, 400),
        ({**PUSH, "remoteStreamName": "a b"}, 400),
        ({**PUSH, "remoteStreamName": "x" * 300}, 400),
        ({**PUSH, "localStreamName": "nobody"}, 404),
        ({**PUSH, "uri": "https://there.example/whip"}, 501),
        ({**PUSH, "uri": "headrace://n9/there"}, 404),
        ({**PUSH, "uri": "headrace://e1/there"}, 400),
        ({**PUSH, "uri": "headrace://u:p@n1/there"}, 400),
        ({**PUSH, "unknown": {"is": "ignored"}}, 200),
    ],
)
async def test_wcs_says_what_is_wrong(client: Client, body: Any, status: int) -> None:
    """In the seed's shape, with the field."""
    answer = await wcs(client, "pull/push", body)
    assert answer[0] == status
    if status != 200:
        assert (answer[1]["status"], answer[1]["path"]) == (status, "/rest-api/pull/push")


async def test_no_json_and_too_long_bodies(client: Client) -> None:
    """A body that is no object is 400, one beyond the limit 413."""
    for data, status in ((b"[]", 400), (b"{", 400), (b"x" * 900_000, 413)):
        assert (await client.post("/rest-api/pull/push", data=data)).status == status


async def test_our_own_face(client: Client) -> None:
    """Made, shown, listed in pages, ended; unknown fields are refused."""
    asked = {"kind": "push", "uri": "ws://k:secret@there.example", "local_name": "cam1"}
    answer = await client.post("/api/v1/transfers", json=asked)
    made = await answer.json()
    assert (answer.status, made["status"], made["remote_name"], made["final"]) == (201, "NEW", "cam1", False)
    assert "secret" not in await answer.text()
    assert await (await client.get(f"/api/v1/transfers/{made['id']}")).json() == made
    for number in range(3):
        pull = {"kind": "pull", "uri": "rtsp://cam.example/a", "local_name": f"p{number}"}
        assert (await client.post("/api/v1/transfers", json=pull)).status == 201
    page = await (await client.get("/api/v1/transfers", params={"limit": 3})).json()
    rest = await (await client.get("/api/v1/transfers", params={"after": page["next"]})).json()
    assert (page["total"], len(page["transfers"]), len(rest["transfers"])) == (4, 3, 1)
    only = await (await client.get("/api/v1/transfers", params={"kind": "push"})).json()
    assert [one["id"] for one in only["transfers"]] == [made["id"]]
    assert (await client.post("/api/v1/transfers", json={**asked, "more": 1})).status == 400
    assert (await client.post("/api/v1/transfers", json=asked)).status == 409
    assert (await client.delete(f"/api/v1/transfers/{made['id']}")).status == 204
    assert (await client.delete(f"/api/v1/transfers/{made['id']}")).status == 404


async def test_a_request_may_be_sent_again(client: Client) -> None:
    """With the same key it is answered with what it made; the key of another transfer is a conflict."""
    asked = {"kind": "push", "uri": FAR, "local_name": "cam1"}
    first = await client.post("/api/v1/transfers", json=asked, headers={"Idempotency-Key": "k1"})
    again = await client.post("/api/v1/transfers", json={**asked, "key": "k1"})
    assert (first.status, again.status, await first.json()) == (201, 201, await again.json())
    other = await client.post("/api/v1/transfers", json={**asked, "remote_name": "x", "key": "k1"})
    assert other.status == 409
    assert (await client.post("/api/v1/transfers", json={**asked, "key": "k2"})).status == 409
    both = await client.post("/api/v1/transfers", json={**asked, "key": "k1"}, headers={"Idempotency-Key": "k2"})
    assert (both.status, (await both.json())["errors"][0]["field"]) == (400, "header.Idempotency-Key")


async def test_one_key_at_two_replicas_at_once(registry: MemoryRegistry, store: MemoryStore) -> None:
    """Whatever is asked for under one key, one transfer is made, and who asks for another one is told so."""
    other = await _registry(store)
    engines = [Engine(one, SystemClock()) for one in (registry, other)]
    for number in range(3):
        asked = [
            engine.begin(Wanted("pull", FAR, f"{number}{name}", key=f"k{number}"))
            for engine, name in zip(engines, "ab", strict=True)
        ]
        found = await asyncio.gather(*asked, return_exceptions=True)
        (refused,) = (one for one in found if isinstance(one, BaseException))
        assert isinstance(refused, Refused)
        assert refused.status == 409
        await wait_until(lambda made=number + 1: len(registry.desired) == len(other.desired) == made)  # type: ignore[misc]
    await other.close()


async def test_only_those_who_may(registry: MemoryRegistry) -> None:
    """A token that only reads lists and changes nothing; without one nobody is answered."""
    client = await _client(registry, Access({"reader-token": Scope.READ, "writer-token": Scope.WRITE}))
    reader, writer = ({"Authorization": f"Bearer {name}-token"} for name in ("reader", "writer"))
    assert (await client.post("/rest-api/pull/push", json=PUSH)).status == 401
    assert (await client.post("/rest-api/pull/push", json=PUSH, headers=reader)).status == 403
    assert (await client.post("/rest-api/pull/push", json=PUSH, headers=writer)).status == 200
    assert (await client.get("/rest-api/pull/find_all", headers=reader)).status == 200
    for path in ("pull/terminate", "stream/terminate"):
        assert (await client.post(f"/rest-api/{path}", json={}, headers=reader)).status == 403
    await client.close()


async def test_who_only_reads_cannot_guess_credentials(registry: MemoryRegistry) -> None:
    """A filter by address finds the same whatever credentials are tried, unless one may write."""
    client = await _client(registry, Access({"reader-token": Scope.READ, "writer-token": Scope.WRITE}))
    reader, writer = ({"Authorization": f"Bearer {name}-token"} for name in ("reader", "writer"))
    asked = {**PUSH, "uri": "ws://k:secret@there.example"}
    assert (await client.post("/rest-api/pull/push", json=asked, headers=writer)).status == 200

    async def find(uri: str, headers: dict[str, str]) -> int:
        return (await client.post("/rest-api/pull/find", json={"uri": uri}, headers=headers)).status

    right, wrong = "ws://k:secret@there.example", "ws://k:wrong@there.example"
    assert [await find(uri, reader) for uri in (right, wrong)] == [200, 200]
    assert [await find(uri, writer) for uri in (right, wrong)] == [200, 404]
    await client.close()


async def test_what_is_over_is_no_obstacle(client: Client, registry: MemoryRegistry) -> None:
    """A push that was stopped may be asked for again, and is new then."""
    asked = {"kind": "push", "uri": FAR, "local_name": "cam1"}
    made = await (await client.post("/api/v1/transfers", json=asked)).json()
    (entry,) = registry.desired.values()
    assert isinstance(entry.record, DesiredTransfer)
    stopped = msgspec.structs.replace(entry.record, options={OPTION_STOPPED: "ended there"})
    await registry.put_desired(stopped, expect=entry.revision)
    assert (await (await client.get(f"/api/v1/transfers/{made['id']}")).json())["status"] == "STOPPED"
    again = await client.post("/api/v1/transfers", json=asked)
    assert (again.status, (await again.json())["status"]) == (201, "NEW")
    assert (await client.post("/api/v1/transfers", json=asked)).status == 409


async def test_the_store_is_away(client: Client, store: MemoryStore) -> None:
    """What cannot be written down is not promised: 503 on both faces; what is known is still listed."""
    assert (await wcs(client, "pull/push", PUSH))[0] == 200
    store.take_away()
    assert (await wcs(client, "pull/push", {**PUSH, "remoteStreamName": "b"}))[0] == 503
    assert (await wcs(client, "pull/terminate", {}))[0] == 503
    asked = {"kind": "push", "uri": FAR, "local_name": "cam1", "remote_name": "c"}
    assert (await client.post("/api/v1/transfers", json=asked)).status == 503
    assert (await wcs(client, "pull/find_all"))[0] == 200


async def test_a_pull_by_whep_is_told_at_once(client: Client) -> None:
    """It waits for WebRTC; as HLS it would only fail, without saying why."""
    for uri in ("https://there.example/cam1/whep", "http://there.example/rtc/v1/WHEP/?app=live"):
        status, told = await wcs(client, "pull/pull", {**PULL, "uri": uri})
        assert (status, told["status"]) == (501, 501)


@pytest.mark.parametrize(("code", "status"), [*STATUS_OF_CODE.items(), ("broken", 500)])
async def test_what_cannot_be_carried_out_leaves_nothing(registry: MemoryRegistry, code: str, status: int) -> None:
    """The carrier's first word decides the answer when trying again is of no use."""
    engine = Engine(registry, SystemClock(), settle_seconds=20)
    asking = asyncio.create_task(engine.begin(Wanted("push", FAR, "cam1")))
    await wait_until(lambda: bool(registry.desired))
    (key,) = registry.desired
    claim = await registry.claim(key, NodeId("e1"), lambda claim: None)
    assert claim is not None
    registry.report(claim, "failed", "it is so", {"code": f"final_{code}"})
    await wait_until(lambda: not registry.desired)
    assert not asking.done()  # the name is free once its carrier has let go
    await registry.release(claim)
    with pytest.raises(Refused, match=r"It is so\.") as refused:
        await asking
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("code", "statuses"), [("refused", (400, 500)), ("forbidden", (400, 500)), ("name_in_use", (409, 409))]
)
async def test_what_the_other_server_says_in_the_words_of_each_face(
    client: Client, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch, code: str, statuses: tuple[int, int]
) -> None:
    """A key that it does not know is a mistake in the request here; WCS has 200, 409 and 500 for a push."""
    monkeypatch.setattr("headrace_control_api.transfers.Engine.__init__.__defaults__", (20.0,))
    client = await _client(registry)

    async def refuse() -> None:
        await wait_until(lambda: bool(registry.desired))
        (key,) = registry.desired
        claim = await registry.claim(key, NodeId("e1"), lambda claim: None)
        assert claim is not None
        registry.report(claim, "failed", "it is so", {"code": f"final_{code}"})
        await wait_until(lambda: not registry.desired)
        await registry.release(claim)

    asked = {"kind": "push", "uri": FAR, "local_name": "cam1", "remote_name": "there"}
    answer, _ = await asyncio.gather(client.post("/api/v1/transfers", json=asked), refuse())
    (status, told), _ = await asyncio.gather(wcs(client, "pull/push", PUSH), refuse())
    assert (answer.status, status) == statuses
    assert "It is so." in told["message"]
    await client.close()


async def test_ending_streams(client: Client, registry: MemoryRegistry) -> None:
    """A stream ends when the source that was asked for goes; one of a configuration cannot be ended here."""
    assert (await wcs(client, "pull/pull", PULL))[0] == 200
    assert (await wcs(client, "stream/terminate", {"name": "here"}))[0] == 404
    registry.keep_stream(StreamRecord(stream="here", node="n1", epoch=8, state="live"))
    assert await wcs(client, "stream/terminate", {"name": "here"}) == (200, None)
    assert not registry.desired
    assert (await wcs(client, "stream/terminate", {"name": "cam1"}))[0] == 404


@pytest.mark.parametrize(("path", "role"), [("pull", "ingress"), ("push", "edge")])
async def test_what_nobody_may_reach_is_told_at_once(store: MemoryStore, path: str, role: str) -> None:
    """A private address that the networks of no node that could carry it name is 400, with the field, at both faces."""
    registry = await _registry(store)
    registry.keep_node(NodeRecord(node="n1", role=role, reach=("10.1.0.0/16",)))
    registry.keep_stream(StreamRecord(stream="cam1", node="n9", epoch=7, state="live"))
    client = await _client(registry)
    local = "cam1" if path == "push" else "here"
    for host in ("10.2.0.1", "127.0.0.1", "[::1]", "169.254.169.254"):
        status, told = await wcs(client, f"pull/{path}", {"uri": f"ws://{host}:8080", "localStreamName": local})
        assert (status, told["message"].startswith("uri: ")) == (400, True), host
        asked = {"kind": path, "uri": f"ws://k:hush@{host}", "local_name": local}
        answer = await client.post("/api/v1/transfers", json=asked)
        assert (answer.status, (await answer.json())["errors"][0]["field"]) == (400, "body.uri"), host
        assert "hush" not in await answer.text()
    assert not registry.desired
    assert (await wcs(client, f"pull/{path}", {"uri": "ws://10.1.0.7:8080", "localStreamName": local}))[0] == 200
    await client.close()
    await registry.close()


async def test_transfers_are_counted(client: Client, registry: MemoryRegistry) -> None:
    """By kind and status, of the whole cluster, whenever the metrics are read."""
    metrics = CollectorRegistry()
    metrics.register(ClusterCounts(registry, MemoryViewing(SystemClock()), 0))

    def value(kind: str, status: str) -> float | None:
        return metrics.get_sample_value("headrace_api_transfers", {"kind": kind, "status": status})

    assert (value("push", "NEW"), value("pull", "FAILED")) == (0, 0)
    assert (await wcs(client, "pull/push", PUSH))[0] == 200
    assert (value("push", "NEW"), value("pull", "NEW")) == (1, 0)


async def test_as_many_as_there_may_be(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is 409 at both faces and leaves nothing; all are listed, found by key, and ended at once."""
    monkeypatch.setattr("headrace.registry.memory.DESIRED_MAX", 300)
    asked = {"kind": "pull", "uri": "rtsp://cam.example/a"}
    for number in range(300):
        body = {**asked, "local_name": f"p{number:03}"} | ({"key": "k7"} if number == 7 else {})
        assert (await client.post("/api/v1/transfers", json=body)).status == 201
    answer = await client.post("/api/v1/transfers", json={**asked, "local_name": "more"})
    assert (answer.status, "no more are allowed" in (await answer.json())["detail"]) == (409, True)
    status, told = await wcs(client, "pull/pull", {"uri": "rtsp://cam.example/a", "localStreamName": "more"})
    assert (status, "no more are allowed" in told["message"]) == (409, True)
    again = await client.post("/api/v1/transfers", json={**asked, "local_name": "p007", "key": "k7"})
    assert (again.status, (await again.json())["local_name"]) == (201, "p007")
    found = (await wcs(client, "pull/find_all"))[1]
    assert (len(found), "more" in str(found)) == (300, False)
    page = await (await client.get("/api/v1/transfers?limit=100")).json()
    assert (page["total"], len(page["transfers"])) == (300, 100)
    assert await wcs(client, "pull/terminate", {}) == (200, None)
    assert (await wcs(client, "pull/find_all"))[0] == 404
