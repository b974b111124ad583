"""The process: builds the objects and runs them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network

import msgspec
from aiohttp import hdrs, web

from headrace.access.gate import Gate
from headrace.access.viewing import Viewing
from headrace.http.application import Probes, make_application
from headrace.http.carried import CarriedDoor
from headrace.http.listener import HttpListener, format_address
from headrace.http.request_ids import name_request, tell_request_id
from headrace.identifiers import StreamName
from headrace.registry.registry import Registry
from headrace.relay.broadcast import RingLimits
from headrace.relay.hub import Hub
from headrace.relay.window import WindowLimits
from headrace.service.registry import make_own_registry
from headrace.service.runtime import Component, Runtime, run_program
from headrace.service.settings import Settings
from headrace.session.border import Border
from headrace.session.membership import ANY_ADDRESS, join_cluster
from headrace.session.node import Node
from headrace.session.options import RelayOptions
from headrace.session.stills import Stills
from headrace.version import SOFTWARE
from headrace.wire.stream import RouteHop
from headrace_edge.collecting import Collecting
from headrace_edge.edge import Edge, EdgeOptions
from headrace_edge.fanout import FanOutLimits
from headrace_edge.framing import PlainFraming, PlayFraming
from headrace_edge.guarding import LiveGuard, make_gate
from headrace_edge.live.door import LiveDoor
from headrace_edge.live.metrics import LiveMetrics
from headrace_edge.live.outlets import LiveOptions, Outlets
from headrace_edge.live.past import Recall
from headrace_edge.live.sessions import LiveSessions
from headrace_edge.metrics import edge_metrics, push_metrics
from headrace_edge.pages import Pages
from headrace_edge.plain import PlainDoor
from headrace_edge.play import PlayDoor
from headrace_edge.push.making import Carriers
from headrace_edge.push.pushes import Pushes
from headrace_edge.seeing import SeenBy
from headrace_edge.still_door import StillDoor
from headrace_edge.transport_sender import use_fast_transports
from headrace_edge.workers.ports import SharedPort

ROLE = "edge"

GRACE_SECONDS = 12.0
"""How long a segment can be had at least after it left the playlists: players that stalled ask late."""


def build(
    settings: Settings,
    runtime: Runtime,
    hub: Hub | None = None,
    registry: Registry | None = None,
    viewing: Viewing | None = None,
) -> Sequence[Component]:
    """Return the service's components.

    With `hub` the edge serves what that hub carries; without, it is a node of its own that fetches streams from
    parents, which it finds in `registry` or the configured one. Viewers with tokens are counted in `viewing`, or where
    the registry is.

    Raises:
        ConfigurationError: when the registry's URL, or the keys of viewer tokens, cannot be used.
    """
    if settings.edge.workers > 1:
        from headrace_edge.workers.app import build_node  # built on what is here

        return build_node(settings, runtime, hub, registry, viewing)
    registry = registry or make_own_registry(settings, runtime)
    app, main = make_main_door(settings, runtime)
    membership: list[Component] = []
    recall: Recall | None = None
    if hub is not None:
        forget_unwanted(hub)
    else:
        hub = Hub(RingLimits(settings.ring.seconds, settings.ring.bytes))
        member = join_cluster(settings, runtime, hub, registry, lambda: (main.host, main.bound_port))
        app.router.add_get("/relay", member.node.relay_handler())
        recall = member.node.recall
        membership = [PublicAddress(member.node, main), member]
    gate = make_gate(settings, runtime, viewing)
    doors = make_doors(settings, runtime, app, main, hub, registry, gate, recall)
    stills = answer_cluster(settings, runtime, app, hub)
    pushes = make_pushes(settings, runtime, hub, registry)
    own: list[Component] = [gate, main, doors.fmp4, *membership, doors.edge, doors.live, doors.sessions, stills, pushes]
    return [*own, Collecting()]


def make_main_door(
    settings: Settings, runtime: Runtime, probes: Probes | None = None, *, shared: bool = False
) -> tuple[web.Application, HttpListener]:
    """Return the application of the main port and its listener, which other processes may share."""
    if runtime.tls is not None:
        use_fast_transports()
    group = settings.edge
    app = make_application(runtime, cors=True, probes=probes)
    listener = HttpListener(
        "edge", group.host, group.port, app, tls=runtime.tls, setting="edge.port", shared=shared, any_origin=True
    )
    return app, listener


@dataclass(frozen=True, slots=True)
class Doors:
    """What viewers come to, and what it stands on."""

    edge: Edge
    fmp4: HttpListener
    live: Outlets
    sessions: LiveSessions


def make_doors(
    settings: Settings,
    runtime: Runtime,
    app: web.Application,
    main: HttpListener,
    hub: Hub,
    cluster: SeenBy,
    gate: Gate,
    recall: Recall | None,
    *,
    shared: bool = False,
) -> Doors:
    """Return all that serves viewers, with the handlers of the main port added to `app`.

    Args:
        settings, runtime: of this process.
        app, main: the main port.
        hub: the streams.
        cluster: who else is there.
        gate: who may watch.
        recall: asks for the past of streams that come from elsewhere.
        shared: other processes listen on the same ports.
    """
    metrics = edge_metrics(runtime.metrics)
    edge = Edge(_options(settings, runtime), hub, cluster, runtime.clock, metrics, runtime.spawn, gate)
    add_main_routes(app, edge)
    live = Outlets(
        live_options(settings), hub, cluster, runtime.clock, LiveMetrics.make(runtime.metrics), runtime.spawn, recall
    )
    sessions = LiveSessions(gate, runtime.clock, metrics, runtime.spawn)
    gate.on_rules = live.shelf.clear
    group, plain = settings.edge, fmp4_application(edge)
    fmp4 = HttpListener(
        "fmp4", group.host, group.fmp4_port, plain, tls=runtime.tls, setting="edge.fmp4_port", shared=shared
    )
    main.silent.on_closed = metrics.refused.labels(PlayFraming.door, "silent").inc
    fmp4.silent.on_closed = metrics.refused.labels(PlainFraming.door, "silent").inc
    LiveGuard(gate, edge, sessions).add_to(app)
    LiveDoor(live, lambda name: gate.mode_of(name) == "public").add_to(app)
    return Doors(edge, fmp4, live, sessions)


def answer_cluster(settings: Settings, runtime: Runtime, app: web.Application, hub: Hub) -> StillDoor:
    """Add what control APIs ask an edge to `app`; return the component that makes the pictures."""
    secret = settings.relay.secret.get_secret_value()
    stills = StillDoor(Stills(hub, runtime.clock), secret, runtime.clock)
    app.router.add_get("/still/{stream:.+}", stills.handle)
    CarriedDoor(hub, runtime.node, secret, runtime.clock).add_to(app)
    return stills


def make_pushes(settings: Settings, runtime: Runtime, hub: Hub, registry: Registry) -> Pushes:
    """Return the component that carries pushes out."""
    networks = tuple(ip_network(text) for text in settings.edge.allow_networks)
    options = RelayOptions.of(settings.relay)
    border = Border(runtime.node, options, networks, registry.nodes.values, runtime.clock)
    hop = RouteHop(runtime.node, runtime.role)
    carriers = Carriers(border, hub, hop, runtime.clock, settings.edge.record_root)
    lease_seconds, metrics = settings.registry.lease_seconds, push_metrics(runtime.metrics)
    return Pushes(runtime.node, registry, runtime, lease_seconds, carriers.make, metrics)


def forget_unwanted(hub: Hub) -> None:
    """Let go of streams that nobody publishes as soon as their last viewer leaves: any name can be asked for."""

    def forget(name: StreamName, demands: int) -> None:
        if not demands:
            hub.forget(name)

    hub.on_demand = forget


def _options(settings: Settings, runtime: Runtime) -> EdgeOptions:
    return EdgeOptions(
        node=runtime.node,
        region=settings.node.region,
        public_url=settings.node.public_url,
        viewers_max=settings.edge.viewers_max,
        heartbeat_seconds=settings.edge.heartbeat_seconds,
        fan_out=FanOutLimits(lag_bytes=settings.edge.viewer_lag_bytes),
    )


def live_options(settings: Settings) -> LiveOptions:
    """Return how HLS and DASH are served."""
    seconds = settings.edge.window_seconds
    window = WindowLimits(seconds, grace_seconds=max(GRACE_SECONDS, seconds * 0.2), bytes=settings.ring.bytes)
    return LiveOptions(window=window, waiting_max=2 * settings.edge.viewers_max)


@dataclass(frozen=True, slots=True)
class PublicAddress:
    """Announces where browsers reach the edge when nobody configured it: where it listens."""

    node: Node
    listener: HttpListener | SharedPort

    async def start(self) -> None:
        """Complete the node's record before it is announced."""
        if not self.node.record.public_url:
            host = socket.gethostname() if self.listener.host in ANY_ADDRESS else self.listener.host
            url = f"{self.listener.scheme}://{format_address(host, self.listener.bound_port)}"
            self.node.record = msgspec.structs.replace(self.node.record, public_url=url)

    async def stop(self) -> None:
        """Nothing was begun."""


def add_main_routes(app: web.Application, edge: Edge) -> None:
    """Add the pages and the play door."""

    def is_public(name: StreamName) -> bool:
        return edge.gate is None or edge.gate.mode_of(name) == "public"

    app.add_routes(Pages(edge.options.node, edge.registry, is_public).routes())
    app.router.add_get("/play/{stream:.*}", PlayDoor(edge).handle)


def fmp4_application(edge: Edge) -> web.Application:
    """Return the application of the plain fMP4 port, where every path is a stream's name."""

    async def name_server(request: web.Request, response: web.StreamResponse) -> None:
        response.headers[hdrs.SERVER] = SOFTWARE

    app = web.Application(middlewares=[name_request])
    app.on_response_prepare.extend([name_server, tell_request_id])
    app.router.add_get("/{stream:.*}", PlainDoor(edge).handle)
    return app


def main() -> None:
    """Run the program until it is told to stop."""
    run_program("headrace-edge", ROLE, build)
