"""The process: builds the objects and runs them."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from headrace.http.application import make_application
from headrace.http.listener import HttpListener
from headrace.registry.registry import Registry
from headrace.relay.hub import Hub
from headrace.service.runtime import Component, Runtime, run_program
from headrace.service.settings import Settings
from headrace_edge.edge import Edge, EdgeOptions
from headrace_edge.fanout import FanOutLimits
from headrace_edge.metrics import edge_metrics
from headrace_edge.pages import Pages
from headrace_edge.plain import PlainDoor
from headrace_edge.play import PlayDoor

ROLE = "edge"


def build(
    settings: Settings, runtime: Runtime, hub: Hub | None = None, registry: Registry | None = None
) -> Sequence[Component]:
    """Return the service's components.

    With `hub` and `registry` the edge serves what that hub carries; without, it is a node of its own that fetches
    streams from parents.
    """
    assert hub is not None
    assert registry is not None
    options = EdgeOptions(
        node=runtime.node,
        region=settings.node.region,
        public_url=settings.node.public_url,
        viewers_max=settings.edge.viewers_max,
        heartbeat_seconds=settings.edge.heartbeat_seconds,
        fan_out=FanOutLimits(lag_bytes=settings.edge.viewer_lag_bytes),
    )
    edge = Edge(options, hub, registry, runtime.clock, edge_metrics(runtime.metrics))
    main = HttpListener(
        "edge", settings.edge.host, settings.edge.port, _main_application(runtime, edge), setting="edge.port"
    )
    fmp4 = HttpListener(
        "fmp4", settings.edge.host, settings.edge.fmp4_port, _fmp4_application(edge), setting="edge.fmp4_port"
    )
    return [main, fmp4, edge]


def _main_application(runtime: Runtime, edge: Edge) -> web.Application:
    app = make_application(runtime, cors=True)
    app.add_routes(Pages(runtime.node, edge.registry).routes())
    app.router.add_get("/play/{stream:.*}", PlayDoor(edge).handle)
    return app


def _fmp4_application(edge: Edge) -> web.Application:
    app = web.Application()
    app.router.add_get("/{stream:.*}", PlainDoor(edge).handle)
    return app


def main() -> None:
    """Run the program until it is told to stop."""
    run_program("headrace-edge", ROLE, build)
