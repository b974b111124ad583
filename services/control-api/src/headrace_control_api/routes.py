"""The HTTP interface: lists of streams and nodes, for those who may ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware
from prometheus_client import CollectorRegistry, Counter

from headrace.http.problems import problem
from headrace.registry.registry import Registry
from headrace.version import VERSION
from headrace_control_api.access import Access
from headrace_control_api.views import list_nodes, list_streams

API = "/api/v1"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class ApiMetrics:
    """What is counted of the API."""

    requests: Counter
    refused: Counter


def api_metrics(registry: CollectorRegistry) -> ApiMetrics:
    """Register the API's metrics."""
    return ApiMetrics(
        Counter("headrace_api_requests_total", "Requests answered, by status.", ["status"], registry=registry),
        Counter(
            "headrace_api_refused_total", "Requests of those who may not ask, by status.", ["status"], registry=registry
        ),
    )


def add_routes(app: web.Application, registry: Registry, access: Access, metrics: ApiMetrics) -> None:
    """Let `app` answer the API from what `registry` knows."""

    async def streams(request: web.Request) -> web.Response:
        return _answer({"streams": list_streams(registry.streams, registry.nodes)})

    async def nodes(request: web.Request) -> web.Response:
        return _answer({"nodes": list_nodes(registry.nodes)})

    # Outermost but for the headers: a problem that an inner layer answers is counted too.
    app.middlewares.insert(0, _guard(access, metrics))
    app.add_routes([web.get("/", _index), web.get(f"{API}/streams", streams), web.get(f"{API}/nodes", nodes)])


def _guard(access: Access, metrics: ApiMetrics) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/api/"):
            return await handler(request)
        refusal = access.refusal(request.headers, request.remote)
        if refusal is not None:
            metrics.refused.labels(str(refusal.status)).inc()
            headers = {"WWW-Authenticate": 'Bearer realm="headrace"'} if refusal.status == 401 else {}
            return problem(refusal.status, refusal.detail, headers=headers)
        response = await handler(request)
        metrics.requests.labels(str(response.status)).inc()
        return response

    return guard


async def _index(request: web.Request) -> web.Response:
    links = {"streams": f"{API}/streams", "nodes": f"{API}/nodes", "ready": "/health/ready", "metrics": "/metrics"}
    return _answer({"name": "headrace-control-api", "version": VERSION, "links": links})


def _answer(document: object) -> web.Response:
    body = msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
    return web.Response(body=body, content_type="application/json", headers={hdrs.CACHE_CONTROL: "no-store"})
