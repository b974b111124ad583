"""An edge with workers: builds the node's process, which has no viewers, and that of a worker, which is no node."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from headrace.access.viewing import Viewing, make_viewing
from headrace.errors import ConfigurationError
from headrace.http.application import OwnProbes, make_application
from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId
from headrace.registry.records import LAYER_MAX, NodeRecord
from headrace.registry.registry import Registry
from headrace.relay.broadcast import RingLimits
from headrace.relay.credentials import cluster_credential
from headrace.relay.hub import Hub
from headrace.service.registry import make_own_registry
from headrace.service.runtime import Component, Runtime
from headrace.service.settings import Settings
from headrace.session.membership import join_cluster
from headrace.session.node import Node
from headrace.session.options import RelayOptions
from headrace.session.serving import RecallUpstream
from headrace.version import SOFTWARE
from headrace.wire.stream import RouteHop
from headrace_edge.app import (
    PublicAddress,
    answer_cluster,
    forget_unwanted,
    make_doors,
    make_main_door,
    make_pushes,
)
from headrace_edge.collecting import Collecting
from headrace_edge.guarding import make_gate
from headrace_edge.workers.counting import WorkerCounts
from headrace_edge.workers.desk import Desk
from headrace_edge.workers.feeding import Feeding
from headrace_edge.workers.handing import plain
from headrace_edge.workers.line import Line
from headrace_edge.workers.messages import Hello
from headrace_edge.workers.node import WorkerPlan, Workers
from headrace_edge.workers.ports import SharedPort
from headrace_edge.workers.reporting import Reporter
from headrace_edge.workers.seeing import OnlyNode, Seen
from headrace_edge.workers.viewing import NodeViewing

RING_SECONDS: Final = 20.0
"""Media time that a worker holds: for who resumes or lags. What is older it has from its node, which holds all."""

LOOPBACK: Final = "127.0.0.1"
"""Where workers take their streams, on any free port; who knows no secret of theirs gets nothing there."""

log = structlog.get_logger(__name__)


def build_node(
    settings: Settings, runtime: Runtime, hub: Hub | None, registry: Registry | None, viewing: Viewing | None
) -> Sequence[Component]:
    """Return the components of the node's process; see `headrace_edge.app.build`.

    Raises:
        ConfigurationError: as that, and where processes cannot share a port.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigurationError("edge.workers: on this system processes cannot share a port; 1 is all there can be")
    group = settings.edge
    main = SharedPort("edge", group.host, group.port, tls=runtime.tls, setting="edge.port")
    fmp4 = SharedPort("fmp4", group.host, group.fmp4_port, tls=runtime.tls, setting="edge.fmp4_port")
    registry = registry or make_own_registry(settings, runtime)
    membership: list[Component] = []
    recall: RecallUpstream | None = None
    if hub is not None:
        forget_unwanted(hub)
    else:
        _warn_of_relay_url(settings)
        hub = Hub(RingLimits(settings.ring.seconds, settings.ring.bytes))
        app = make_application(runtime)
        nodes = HttpListener("nodes", group.host, group.relay_port, app, tls=runtime.tls, setting="edge.relay_port")
        member = join_cluster(settings, runtime, hub, registry, lambda: (nodes.host, nodes.bound_port))
        app.router.add_get("/relay", member.node.relay_handler())
        stills = answer_cluster(settings, runtime, app, hub)
        recall = member.node.recall
        membership = [nodes, PublicAddress(member.node, main), member, stills]
    secret = secrets.token_urlsafe(32)
    feeding = Feeding(hub, RouteHop(runtime.node, runtime.role), link_options(secret), runtime.clock, recall)
    inner = web.Application()
    inner.router.add_get("/relay", feeding.handler())
    door = HttpListener("workers", LOOPBACK, 0, inner)
    plan = WorkerPlan(group.workers, _handed_on(settings, runtime, main, fmp4), secret, (main, fmp4), door)
    desk = Desk(
        runtime.node,
        viewing or _viewing(settings, runtime),
        OwnProbes(runtime),
        settings.registry.lease_seconds,
        runtime.clock,
    )
    counts = WorkerCounts()
    runtime.metrics.register(counts)
    workers = Workers(plan, runtime, hub, registry, feeding, desk, counts)
    runtime.health.add("workers", lambda: workers.problem)
    return [main, fmp4, door, *membership, workers, make_pushes(settings, runtime, hub, registry)]


def _warn_of_relay_url(settings: Settings) -> None:
    url = settings.node.relay_url
    if url and urlsplit(url).port == settings.edge.port:
        log.warning(
            "relay_url_leads_to_workers", url=url, reason="nodes are taken at edge.relay_port, not at edge.port"
        )


def _viewing(settings: Settings, runtime: Runtime) -> Viewing:
    registry = settings.registry
    return make_viewing(registry.url, registry.prefix, registry.lease_seconds, runtime.clock)


def _handed_on(
    settings: Settings, runtime: Runtime, main: SharedPort, fmp4: SharedPort
) -> Callable[[], dict[str, Any]]:
    """Return what makes the settings of workers, for when the ports are known."""

    def make() -> dict[str, Any]:
        ports = {"port": main.bound_port, "fmp4_port": fmp4.bound_port}
        return plain(settings, {"node": {"id": runtime.node}, "log": {"format": "json"}, "edge": ports})

    return make


def link_options(secret: str) -> RelayOptions:
    """Return how the links between a node and its workers behave.

    A process that dies closes its connections, so these need no quick heartbeat; the node's lingering serves for both.
    """
    own = cluster_credential(secret)
    return RelayOptions(
        own=own,
        accepted=(own,),
        heartbeat_seconds=1.0,
        timeout_seconds=10.0,
        linger_seconds=1.0,
        standby=False,
        drain_seconds=0.0,
        own_hop=False,
    )


def build_worker(hello: Hello, own: socket.socket, settings: Settings, runtime: Runtime) -> Sequence[Component]:
    """Return the components of a worker that was greeted with `hello` over the socket `own`.

    Raises:
        ConfigurationError: when the keys of viewer tokens cannot be used.
    """
    seen = Seen()
    line = Line(own, seen)
    app, main = make_main_door(settings, runtime, line, shared=True)
    app.router.add_get("/relay", _refuse_node)
    hub = Hub(RingLimits(min(settings.ring.seconds, RING_SECONDS), settings.ring.bytes))
    record = NodeRecord(node=hello.name, role=runtime.role, layer=LAYER_MAX, software=SOFTWARE)
    cluster = OnlyNode(seen, NodeId(hello.node), hello.relay_url)
    node = Node(record, hub, cluster, link_options(hello.secret), runtime.clock, runtime.metrics)
    gate = make_gate(settings, runtime, NodeViewing(line), hello.name)
    doors = make_doors(settings, runtime, app, main, hub, seen, gate, node.recall, shared=True)
    reporter = Reporter(line, doors.edge, hub, runtime)
    return [line, gate, main, doors.fmp4, node, doors.edge, doors.live, doors.sessions, reporter, Collecting()]


async def _refuse_node(request: web.Request) -> web.Response:
    raise web.HTTPNotFound(text="this edge has workers: nodes reach it at edge.relay_port")
