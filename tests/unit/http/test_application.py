"""What every application answers."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry, Counter

from headrace.errors import StartupError
from headrace.http.application import PROBES, make_application
from headrace.http.listener import HttpListener
from headrace.http.request_ids import REQUEST_ID, onward
from headrace.telemetry.health import Health
from headrace.telemetry.logging import configure_logging
from headrace.version import SOFTWARE

Client = TestClient[web.Request, web.Application]


@dataclass
class Probed:
    """What an application needs of a process."""

    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)
    health: Health = field(default_factory=Health)


async def fail(request: web.Request) -> web.Response:
    """A handler with a fault."""
    raise RuntimeError("the secret reason")


async def take(request: web.Request) -> web.Response:
    """A handler that reads a body."""
    return web.Response(text=str(len(await request.read())))


@pytest.fixture
def probed() -> Probed:
    return Probed()


@pytest.fixture
async def client(probed: Probed) -> Any:
    app = make_application(probed, cors=True, body_max_bytes=100)
    app.add_routes([web.get("/api/fail", fail), web.get("/fail", fail), web.post("/api/take", take)])
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_alive_and_ready(client: Client, probed: Probed) -> None:
    """It is alive as long as it answers, and ready while no check complains, in words."""
    trouble: list[str] = []
    probed.health.add("registry", lambda: trouble[0] if trouble else None)
    probed.health.add("ring", lambda: None)
    answer = await client.get("/health/ready")
    assert (answer.status, await answer.json()) == (200, {"ready": True, "checks": {}})
    trouble.append("Redis at store:6379 does not answer")
    answer = await client.get("/health/ready")
    expected = {"ready": False, "checks": {"registry": "Redis at store:6379 does not answer"}}
    assert (answer.status, await answer.json()) == (503, expected)
    assert (await client.get("/health/live")).status == 200


@pytest.mark.parametrize("given", ["", "bad name", "x" * 65, "naïve", "a,b"])
async def test_every_answer_has_a_name(client: Client, given: str) -> None:
    """The one that came, if it is well formed, and else a new one; also answers to what is not there, and to faults."""
    for path in ("/health/live", "/nowhere", "/fail", "/api/fail"):
        answer = await client.get(path, headers={REQUEST_ID: given} if given else {})
        assert re.fullmatch("[0-9a-f]{16}", answer.headers[REQUEST_ID]), path
        answer = await client.get(path, headers={REQUEST_ID: "proxy:7_a.B-9"})
        assert answer.headers[REQUEST_ID] == "proxy:7_a.B-9"


async def test_lines_written_for_a_request_name_it(probed: Probed) -> None:
    """Those of the handler, of tasks and threads that it began, and of a fault; not what goes on after it."""
    go_on = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def work() -> None:
        structlog.get_logger("test").info("worked")
        await go_on.wait()
        structlog.get_logger("test").info("went on")

    async def answer(request: web.Request) -> web.Response:
        structlog.get_logger("test").info("asked")
        tasks.append(asyncio.create_task(work()))
        await asyncio.to_thread(logging.getLogger("test").warning, "in a thread")
        raise RuntimeError("a fault")

    app = make_application(probed)
    app.router.add_get("/x", answer)
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    configure_logging("info", "json", stream)
    try:
        async with TestClient(TestServer(app)) as client:
            assert (await client.get("/x", headers={REQUEST_ID: "r-1"})).status == 500
            go_on.set()
            await tasks[0]
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    named = {line["event"]: line.get("request_id") for line in lines}
    assert named == {"asked": "r-1", "worked": "r-1", "in a thread": "r-1", "request_failed": "r-1", "went on": None}


async def test_requests_to_other_nodes_get_the_name(probed: Probed) -> None:
    """One that is made for another goes by its name; one that is made for nobody has none."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(onward())

    app = make_application(probed)
    app.router.add_get("/x", answer)
    async with TestClient(TestServer(app)) as client:
        got = await client.get("/x", headers={REQUEST_ID: "r-1"})
        assert await got.json() == {REQUEST_ID: "r-1"}
    assert onward() == {}


async def test_metrics_are_those_of_the_process(client: Client, probed: Probed) -> None:
    """/metrics is what Prometheus reads."""
    Counter("headrace_test_things", "Things.", registry=probed.metrics).inc(3)
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=1.0.0")
    assert "headrace_test_things_total 3.0" in await answer.text()


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/nowhere", 404, "404 Not Found\n"),
        ("POST", "/metrics", 405, "405 Method Not Allowed\n"),
        ("GET", "/fail", 500, "500 Internal Server Error: This is a fault of the server; its log says more.\n"),
    ],
)
async def test_errors_are_a_line_of_text(client: Client, method: str, path: str, status: int, text: str) -> None:
    """People get one line; what went wrong inside stays inside."""
    answer = await client.request(method, path)
    assert (answer.status, await answer.text()) == (status, text)
    assert "Allow" in answer.headers or status != 405


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [
        ("GET", "/api/nowhere", 404, "Not Found"),
        ("DELETE", "/api/fail", 405, "Method Not Allowed"),
        ("GET", "/api/fail", 500, "Internal Server Error"),
    ],
)
async def test_errors_of_the_api_are_problem_documents(
    client: Client, method: str, path: str, status: int, title: str
) -> None:
    """Programs get RFC 9457 problem documents."""
    answer = await client.request(method, path)
    assert answer.content_type == "application/problem+json"
    document = await answer.json()
    assert (answer.status, document["status"], document["title"]) == (status, status, title)
    assert "secret" not in str(document)


async def test_body_beyond_the_limit_is_refused(client: Client) -> None:
    """A request body is taken up to the limit and not beyond."""
    assert await (await client.post("/api/take", data=b"x" * 100)).text() == "100"
    assert (await client.post("/api/take", data=b"x" * 101)).status == 413


async def test_headers_on_every_answer(client: Client) -> None:
    """Every answer names the software and forbids sniffing; pages of other origins read all but the probes."""
    for path in ("/health/live", "/nowhere", "/api/fail"):
        headers = (await client.get(path)).headers
        assert headers["Server"] == SOFTWARE
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert (headers.get("Access-Control-Allow-Origin") == "*") == (path not in PROBES)


async def test_somebody_else_may_answer_the_probes(probed: Probed) -> None:
    """A process that is part of a whole answers for that."""

    class Whole:
        async def metrics(self) -> bytes:
            return b"all_of_it 1"

        async def problems(self) -> Mapping[str, str]:
            return {"workers": "none runs"}

    async with TestClient(TestServer(make_application(probed, probes=Whole()))) as client:
        assert await (await client.get("/metrics")).text() == "all_of_it 1"
        answer = await client.get("/health/ready")
        assert (answer.status, (await answer.json())["checks"]) == (503, {"workers": "none runs"})


async def test_preflight(client: Client) -> None:
    """A browser's question whether it may ask is answered for any path."""
    headers = {"Origin": "http://other", "Access-Control-Request-Method": "GET"}
    answer = await client.options("/live/cam1/index.m3u8", headers=headers)
    assert answer.status == 204
    assert "GET" in answer.headers["Access-Control-Allow-Methods"]


async def test_listener_serves_on_a_free_port(probed: Probed) -> None:
    """Port 0 is any free one, and the listener says which; after stop nobody answers."""
    listener = HttpListener("edge", "127.0.0.1", 0, make_application(probed))
    await listener.start()
    url = f"http://127.0.0.1:{listener.bound_port}/health/live"
    async with ClientSession() as session:
        async with session.get(url) as answer:
            assert answer.status == 200
        await listener.stop()
        with pytest.raises(OSError, match="onnect"):
            await session.get(url)


async def test_listeners_share_a_port(probed: Probed) -> None:
    """Two shared listeners have the same port; one that is not shared gets none of it."""
    first = HttpListener("edge", "127.0.0.1", 0, make_application(probed), shared=True)
    await first.start()
    second = HttpListener("edge", "127.0.0.1", first.bound_port, make_application(probed), shared=True)
    await second.start()
    alone = HttpListener("edge", "127.0.0.1", first.bound_port, make_application(probed))
    with pytest.raises(StartupError, match="address already in use"):
        await alone.start()
    await first.stop()
    url = f"http://127.0.0.1:{second.bound_port}/health/live"
    async with ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200
    await second.stop()


async def test_busy_port_is_told_in_a_sentence(probed: Probed) -> None:
    """A port that is taken names who wanted it, where, and the setting to change."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    listener = HttpListener("edge", "127.0.0.1", port, make_application(probed), setting="edge.port")
    with pytest.raises(StartupError) as raised:
        await listener.start()
    assert str(raised.value) == (
        f"edge: cannot listen on 127.0.0.1:{port}: address already in use; edge.port chooses another port"
    )
    server.close()


async def test_unknown_host_is_told_in_a_sentence(probed: Probed) -> None:
    """A host that does not resolve is named."""
    listener = HttpListener("edge", "nowhere.invalid", 1, make_application(probed))
    with pytest.raises(StartupError, match=r"^edge: cannot listen on nowhere.invalid:1: "):
        await listener.start()
