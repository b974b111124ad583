"""What the control API takes from nodes that it asks."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from headrace.clock import SystemClock
from headrace.http.checks import NotChecked
from headrace.registry.memory import MemoryRegistry
from headrace.registry.records import NodeRecord
from headrace.registry.sealing import Uri
from headrace_control_api.asking_nodes import HttpNodes
from headrace_control_api.check import IngressChecks
from headrace_control_api.hops import measured

SENT_BYTES = 96 * 1024 * 1024


@pytest.fixture
async def node() -> AsyncIterator[NodeRecord]:
    """A node that answers without an end, and does not say how long its answer is."""

    async def go_on(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(SENT_BYTES // 2**20):
            await response.write(b" " * 2**20)
        return response

    app = web.Application()
    app.router.add_get("/carried", go_on)
    app.router.add_post("/check", go_on)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    yield NodeRecord(node="n1", role="ingress", relay_url=f"ws://127.0.0.1:{server.port}/relay")
    await server.close()


def most_bytes() -> int:
    """Return the most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def test_no_more_is_read_than_an_answer_has(node: NodeRecord) -> None:
    """Whatever a node sends, it is not kept."""
    registry = MemoryRegistry(clock=SystemClock())
    await registry.start()
    registry.keep_node(node)
    nodes, checks = HttpNodes("a secret", SystemClock()), IngressChecks(registry, "a secret", SystemClock())
    before = most_bytes()
    assert await nodes.routes([node]) == {}
    with pytest.raises(NotChecked, match="too much"):
        await checks.check(Uri("rtsp://camera.example/1"), 1.0)
    assert most_bytes() - before < SENT_BYTES // 2
    await nodes.close()
    await checks.close()
    await registry.close()


@pytest.fixture
async def newer() -> AsyncIterator[NodeRecord]:
    """A node of a later version, which tells of states that this one does not know."""

    async def carried(request: web.Request) -> web.Response:
        return web.json_response({"node": "n2", "state": "paused", "route": ["n2"], "bitrates": {}})

    app = web.Application()
    app.router.add_get("/carried/cam", carried)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    yield NodeRecord(node="n2", role="edge", relay_url=f"ws://127.0.0.1:{server.port}/relay")
    await server.close()


async def test_what_cannot_be_shown_is_no_answer(newer: NodeRecord) -> None:
    """A state that nobody here knows is as good as no answer, and spoils nobody else's."""
    nodes = HttpNodes("a secret", SystemClock())
    assert measured(await nodes.carried("cam", [newer])).hops == []
    await nodes.close()
