"""A control API over the registry that a file of tests makes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from headrace.access.viewing import MemoryViewing
from headrace.http.application import make_application
from headrace.identifiers import NodeId
from headrace.registry.memory import MemoryRegistry
from headrace.service.runtime import Runtime
from headrace_control_api.access import Access
from headrace_control_api.counting import api_metrics
from headrace_control_api.events import EventLog
from headrace_control_api.routes import add_routes
from headrace_control_api.tokens import TokenOffice

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(registry: MemoryRegistry) -> AsyncIterator[Client]:
    """Ask the API of the fixture `registry`, which each file has of its own."""
    runtime = Runtime(NodeId("api"), "control-api")
    app = make_application(runtime)
    office = TokenOffice(MemoryViewing(runtime.clock), runtime.clock)
    events = EventLog(registry, runtime.clock)
    add_routes(app, registry, Access(), api_metrics(runtime.metrics), events, office)
    async with TestClient(TestServer(app)) as client:
        yield client
