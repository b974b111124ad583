"""The API over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from headrace.clock import SystemClock
from headrace.http.application import make_application
from headrace.identifiers import NodeId
from headrace.registry.memory import MemoryRegistry
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.service.runtime import Runtime
from headrace.testing import wait_until
from headrace_control_api.access import Access
from headrace_control_api.routes import add_routes, api_metrics

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def registry() -> AsyncIterator[MemoryRegistry]:
    registry = MemoryRegistry(clock=SystemClock())
    await registry.start()
    registry.keep_node(NodeRecord(node="n1", role="standalone", streams=("cam1",)))
    registry.keep_stream(StreamRecord(stream="cam1", node="n1", epoch=7, state="live"))
    await wait_until(lambda: registry.nodes and registry.streams)
    yield registry
    await registry.close()


def client_of(registry: MemoryRegistry, *tokens: str) -> Client:
    """Return a client of the API with these tokens configured."""
    runtime = Runtime(NodeId("api"), "control-api")
    app = make_application(runtime)
    add_routes(app, registry, Access(tokens), api_metrics(runtime.metrics))
    return TestClient(TestServer(app))


async def test_lists(registry: MemoryRegistry) -> None:
    """Streams and nodes come as JSON objects, not to be kept by caches."""
    async with client_of(registry) as client:
        answer = await client.get("/api/v1/streams")
        assert answer.headers["Cache-Control"] == "no-store"
        (stream,) = (await answer.json())["streams"]
        assert (stream["name"], stream["owner"], stream["nodes"]) == ("cam1", "n1", ["n1"])
        (node,) = (await (await client.get("/api/v1/nodes")).json())["nodes"]
        assert (node["id"], node["streams"]) == ("n1", ["cam1"])


async def test_index_names_the_ways_in(registry: MemoryRegistry) -> None:
    """`/` says what this is and where to go on, to anybody."""
    async with client_of(registry, "some-token") as client:
        document = await (await client.get("/")).json()
        assert document["links"]["streams"] == "/api/v1/streams"


async def test_strangers_get_a_problem_document(registry: MemoryRegistry) -> None:
    """With tokens configured, a request without one is 401 with the scheme to use; also for paths that do not exist."""
    async with client_of(registry, "some-token") as client:
        for path in ("/api/v1/streams", "/api/v1/nowhere"):
            answer = await client.get(path)
            assert (answer.status, answer.content_type) == (401, "application/problem+json")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        headers = {"Authorization": "Bearer some-token"}
        assert (await client.get("/api/v1/streams", headers=headers)).status == 200
        assert (await client.get("/api/v1/nowhere", headers=headers)).status == 404
        assert (await client.get("/health/ready")).status == 200


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
