"""The API over HTTP."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import structlog
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from headrace.access.viewing import MemoryViewing
from headrace.clock import SystemClock
from headrace.http.application import make_application
from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId
from headrace.registry.memory import MemoryRegistry
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.service.runtime import Runtime
from headrace.telemetry.logging import add_request_id
from headrace.testing import wait_until
from headrace_control_api.access import Access, Scope
from headrace_control_api.counting import api_metrics
from headrace_control_api.events import EventLog
from headrace_control_api.rates import Rates
from headrace_control_api.routes import add_routes
from headrace_control_api.tokens import TokenOffice

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def registry() -> AsyncIterator[MemoryRegistry]:
    registry = MemoryRegistry(clock=SystemClock())
    await registry.start()
    registry.keep_node(NodeRecord(node="n1", role="standalone", streams=("site7/cam1",)))
    registry.keep_stream(StreamRecord(stream="site7/cam1", node="n1", epoch=7, state="live"))
    await wait_until(lambda: registry.nodes and registry.streams)
    yield registry
    await registry.close()


def client_of(
    registry: MemoryRegistry, tokens: dict[str, Scope] | None = None, *origins: str, rates: Rates | None = None
) -> Client:
    """Return a client of the API with these tokens configured."""
    return TestClient(TestServer(application_of(registry, tokens, *origins, rates=rates)))


def application_of(
    registry: MemoryRegistry, tokens: dict[str, Scope] | None = None, *origins: str, rates: Rates | None = None
) -> web.Application:
    """Return the API with these tokens configured."""
    runtime = Runtime(NodeId("api"), "control-api")
    app = make_application(runtime)
    events = EventLog(registry, runtime.clock)
    office = TokenOffice(MemoryViewing(runtime.clock), runtime.clock, "s" * 32)
    access = Access(tokens or {}, frozenset(origins))
    add_routes(app, registry, access, api_metrics(runtime.metrics), events, office, rates)
    return app


async def test_lists(registry: MemoryRegistry) -> None:
    """Streams and nodes come as JSON objects, not to be kept by caches."""
    async with client_of(registry) as client:
        answer = await client.get("/api/v1/streams")
        assert answer.headers["Cache-Control"] == "private, no-cache"
        (stream,) = (await answer.json())["streams"]
        assert (stream["name"], stream["owner"], stream["nodes"]) == ("site7/cam1", "n1", ["n1"])
        (node,) = (await (await client.get("/api/v1/nodes")).json())["nodes"]
        assert (node["id"], node["streams"]) == ("n1", ["site7/cam1"])


async def test_one_of_each(registry: MemoryRegistry) -> None:
    """A stream is asked for with its slashes quoted; what is not there is 404."""
    async with client_of(registry) as client:
        stream = await (await client.get(URL("/api/v1/streams/site7%2Fcam1", encoded=True))).json()
        assert (stream["name"], [carrier["node"] for carrier in stream["carriers"]]) == ("site7/cam1", ["n1"])
        assert (await (await client.get("/api/v1/nodes/n1")).json())["id"] == "n1"
        assert (await (await client.get("/api/v1/topology")).json())["streams"][0]["layers"] == [["n1"]]
        for path in ("streams/cam9", "nodes/n9"):
            assert (await client.get(f"/api/v1/{path}")).status == 404


async def test_unchanged_lists_are_not_sent_again(registry: MemoryRegistry) -> None:
    """An ETag that is given back is answered 304 until something changes."""
    async with client_of(registry) as client:
        etag = (await client.get("/api/v1/streams")).headers["ETag"]
        again = await client.get("/api/v1/streams", headers={"If-None-Match": f'"other", W/{etag}'})
        assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", etag)
        registry.keep_stream(StreamRecord(stream="site7/cam1", node="n1", epoch=8, state="live"))
        changed = await client.get("/api/v1/streams", headers={"If-None-Match": etag})
        assert (changed.status, changed.headers["ETag"] == etag) == (200, False)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/streams?limit=0", "query.limit"),
        ("/api/v1/streams?limit=many", "query.limit"),
        ("/api/v1/streams?state=dead", "query.state"),
        ("/api/v1/streams?colour=red", "query.colour"),
        ("/api/v1/streams?prefix=a&prefix=b", "query.prefix"),
        ("/api/v1/topology?x=1", "query.x"),
        ("/api/v1/streams/..cam", "path.name"),
        ("/api/v1/nodes/%00", "path.id"),
    ],
)
async def test_wrong_values_are_told_by_field(registry: MemoryRegistry, path: str, field: str) -> None:
    """What breaks a rule, is not known, or comes twice is 400 with the field that it is in."""
    async with client_of(registry) as client:
        answer = await client.get(URL(path, encoded=True))
        problem = await answer.json()
        assert (answer.status, answer.content_type) == (400, "application/problem+json")
        assert [error["field"] for error in problem["errors"]] == [field]


async def test_requests_have_names(registry: MemoryRegistry) -> None:
    """Every answer names its request, by the name that a proxy gave if it is well formed."""
    async with client_of(registry) as client:
        given = await client.get("/api/v1/streams", headers={"X-Request-Id": "from-proxy-1"})
        assert given.headers["X-Request-Id"] == "from-proxy-1"
        other = await client.get("/api/v1/nowhere", headers={"X-Request-Id": 'bad name"'})
        assert len(other.headers["X-Request-Id"]) == 16


async def test_log_lines_name_the_request(registry: MemoryRegistry) -> None:
    """What is logged for a request has its name."""
    async with client_of(registry) as client:
        with structlog.testing.capture_logs([add_request_id]) as lines:
            await client.get("/api/v1/streams", headers={"X-Request-Id": "r1"})
    assert [(line["event"], line["status"], line["request_id"]) for line in lines] == [("api_request", 200, "r1")]


async def test_pages_of_configured_origins_may_ask(registry: MemoryRegistry) -> None:
    """A configured origin gets its preflight and may read the answer; others get neither."""
    async with client_of(registry, {"some-token": Scope.READ}, "https://ops.example") as client:
        asked = {"Origin": "https://ops.example", "Access-Control-Request-Method": "POST"}
        preflight = await client.options("/rest-api/stream/find_all", headers=asked)
        assert (preflight.status, preflight.headers["Access-Control-Allow-Origin"]) == (204, "https://ops.example")
        assert "Idempotency-Key" in preflight.headers["Access-Control-Allow-Headers"]
        shown = {"Authorization": "Bearer some-token"}
        mine = await client.get("/api/v1/streams", headers={**shown, "Origin": "https://ops.example"})
        assert mine.headers["Access-Control-Allow-Origin"] == "https://ops.example"
        assert "Retry-After" in mine.headers["Access-Control-Expose-Headers"]
        other = await client.get("/api/v1/streams", headers={**shown, "Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in other.headers
        foreign = await client.options("/api/v1/streams", headers={**asked, "Origin": "https://evil.example"})
        assert foreign.status in {401, 405}


async def test_pages_about_the_api(registry: MemoryRegistry) -> None:
    """The OpenAPI document and its page are there, and the page loads nothing from elsewhere."""
    async with client_of(registry) as client:
        document = await (await client.get("/api/v1/openapi.json")).json()
        assert document["openapi"] == "3.1.0"
        page = await client.get("/docs")
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        text = await page.text()
        assert re.findall(r'(?:src|href)="(?!#)([^"]*)"', text) == ["/docs/style.css", "/api/v1/openapi.json"]
        assert (await client.get("/docs/style.css")).content_type == "text/css"


async def test_index_names_the_ways_in(registry: MemoryRegistry) -> None:
    """`/` says what this is and where to go on, to anybody."""
    async with client_of(registry, {"some-token": Scope.READ}) as client:
        document = await (await client.get("/")).json()
        assert document["links"]["streams"] == "/api/v1/streams"


async def test_strangers_get_a_problem_document(registry: MemoryRegistry) -> None:
    """With tokens configured, a request without one is 401 with the scheme to use; also for paths that do not exist."""
    async with client_of(registry, {"some-token": Scope.READ}) as client:
        for path in ("/api/v1/streams", "/api/v1/nowhere"):
            answer = await client.get(path)
            assert (answer.status, answer.content_type) == (401, "application/problem+json")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        headers = {"Authorization": "Bearer some-token"}
        assert (await client.get("/api/v1/streams", headers=headers)).status == 200
        assert (await client.get("/api/v1/nowhere", headers=headers)).status == 404
        assert (await client.get("/health/ready")).status == 200


async def test_tokens_that_are_no_text(registry: MemoryRegistry) -> None:
    """Bytes that are no UTF-8 are a token that is not known, and guessing with them has its limit too."""
    shown = {"Authorization": b"Bearer \xff\xfe".decode(errors="surrogateescape")}
    async with client_of(registry, {"some-token": Scope.READ}, rates=Rates(0.001, 1)) as client:
        for status in (401, 429):
            answer = await client.get("/api/v1/streams", headers=shown)
            assert (answer.status, answer.content_type) == (status, "application/problem+json")


async def test_faults_of_the_guard_are_problems(registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong before a request is let in is answered as what goes wrong after."""

    def fail(*_: object) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr(Access, "grant", fail)
    async with client_of(registry) as client:
        answer = await client.get("/api/v1/streams")
        assert (answer.status, answer.content_type) == (500, "application/problem+json")


@pytest.mark.parametrize("encoding", ["gzip", "br", "anything"])
async def test_encoded_bodies_are_refused(registry: MemoryRegistry, encoding: str) -> None:
    """A body is taken as it is: any encoding is 415 in the shape of its face, whatever it holds."""
    listener = HttpListener("api", "127.0.0.1", 0, application_of(registry))
    await listener.start()
    async with ClientSession(f"http://127.0.0.1:{listener.bound_port}") as client:
        for path, shape in (
            ("/api/v1/transfers", "application/problem+json"),
            ("/rest-api/pull/pull", "application/json"),
        ):
            headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
            async with client.post(path, data=b"junk", headers=headers) as answer:
                assert (answer.status, answer.content_type) == (415, shape)
                assert (await answer.json(content_type=None))["status"] == 415
    await listener.stop()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/rest-api/stream/find_all", 413),
        ("POST", "/rest-api/stream/snapshot", 413),
        ("POST", "/rest-api/pull/push", 413),
        ("GET", "/rest-api", 404),
        ("GET", "/rest-api/nowhere", 404),
        ("GET", "/rest-api/stream/snapshot", 405),
        ("PUT", "/rest-api/stream/find_all", 405),
    ],
)
async def test_wcs_errors_have_its_shape(registry: MemoryRegistry, method: str, path: str, status: int) -> None:
    """Scripts that know WCS find its members in whatever goes wrong."""
    async with client_of(registry) as client:
        answer = await client.request(method, path, data=b"x" * 100_000 if status == 413 else None)
        document = await answer.json()
        assert (answer.status, document["status"], document["path"]) == (status, status, path)
        assert document["message"]
        assert ("Allow" in answer.headers) == (status == 405)


async def test_requests_are_counted(registry: MemoryRegistry) -> None:
    """Answers and refusals are counted by status."""
    async with client_of(registry) as client:
        await client.get("/api/v1/streams")
        await client.get("/api/v1/nowhere")
        await client.get("/api/v1/streams", headers={"Origin": "http://evil.example"})
        text = await (await client.get("/metrics")).text()
    assert 'headrace_api_requests_total{status="200"} 1.0' in text
    assert 'headrace_api_requests_total{status="404"} 1.0' in text
    assert 'headrace_api_refused_total{status="403"} 1.0' in text
