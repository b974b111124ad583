"""How many requests one asker may make."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient, TestServer

from headrace.access.viewing import MemoryViewing
from headrace.clock import SystemClock
from headrace.http.application import make_application
from headrace.identifiers import NodeId
from headrace.registry.memory import MemoryRegistry
from headrace.service.runtime import Runtime
from headrace_control_api.access import Access, Scope
from headrace_control_api.counting import api_metrics
from headrace_control_api.events import EventLog
from headrace_control_api.rates import ASKERS_MAX, Rates
from headrace_control_api.routes import add_routes
from headrace_control_api.tokens import TokenOffice


def test_a_burst_then_a_rate() -> None:
    """As many as the burst at once, then as many as the rate gives; the wait that is told is enough."""
    rates = Rates(per_second=2.0, burst=3)
    assert [rates.take("a", 10.0) for _ in range(3)] == [0.0] * 3
    wait = rates.take("a", 10.0)
    assert wait == pytest.approx(0.5)
    assert rates.take("a", 10.0 + wait) == 0.0
    assert rates.take("a", 10.0 + wait) > 0
    assert rates.take("b", 10.0) == 0.0
    assert [rates.take("a", 1000.0) for _ in range(4)][:3] == [0.0] * 3


def test_askers_are_not_endlessly_many() -> None:
    """The one that was silent for longest is forgotten; a clock that runs backwards gives nothing."""
    rates = Rates(per_second=1.0, burst=1)
    assert rates.take("first", 0.0) == 0.0
    assert rates.take("first", -5.0) > 0
    for number in range(ASKERS_MAX):
        rates.take(f"asker-{number}", 0.0)
    assert rates.take("first", 0.0) == 0.0


async def test_over_http_each_asker_has_its_own() -> None:
    """429 with Retry-After, in the shape of the face that was asked; another token goes on, as do probes and pages."""
    runtime = Runtime(NodeId("api"), "control-api")
    registry = MemoryRegistry(clock=SystemClock())
    app = make_application(runtime)
    office = TokenOffice(MemoryViewing(runtime.clock), runtime.clock)
    access = Access({"one-token": Scope.READ, "two-token": Scope.READ})
    metrics, events = api_metrics(runtime.metrics), EventLog(registry, runtime.clock)
    add_routes(app, registry, access, metrics, events, office, rates=Rates(0.01, 3))
    async with TestClient(TestServer(app)) as client:

        async def ask(path: str, token: str) -> tuple[int, int, str]:
            answer = await client.get(path, headers={"Authorization": f"Bearer {token}"})
            return answer.status, int(answer.headers.get("Retry-After", "0")), answer.content_type

        assert [(await ask("/api/v1/streams", "one-token"))[0] for _ in range(3)] == [200] * 3
        status, seconds, kind = await ask("/api/v1/streams", "one-token")
        assert (status, kind) == (429, "application/problem+json")
        assert 90 <= seconds <= 100
        assert await ask("/rest-api/stream/find_all", "one-token") == (429, seconds, "application/json")
        assert (await ask("/api/v1/streams", "two-token"))[0] == 200
        assert [(await ask("/api/v1/streams", f"guess-{n}"))[0] for n in range(5)] == [401, 401, 401, 429, 429]
        assert (await client.get("/health/live")).status == 200
