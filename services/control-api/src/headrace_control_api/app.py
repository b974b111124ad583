"""The process: builds the objects and runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from headrace.access.viewing import Viewing, make_viewing
from headrace.clock import microseconds
from headrace.http.application import make_application
from headrace.http.checks import Checks
from headrace.http.listener import HttpListener
from headrace.registry.records import NodeRecord
from headrace.registry.registry import Registry
from headrace.relay.hub import Hub
from headrace.service.registry import make_own_registry
from headrace.service.runtime import Component, Runtime, run_program
from headrace.service.settings import ControlApiSettings, Settings
from headrace.version import SOFTWARE
from headrace_control_api.access import Access, Scope, is_loopback
from headrace_control_api.asking_nodes import HttpNodes, Nodes
from headrace_control_api.authorities import Authorities
from headrace_control_api.check import IngressChecks
from headrace_control_api.cluster_counts import ClusterCounts
from headrace_control_api.counting import api_metrics
from headrace_control_api.events import EventLog
from headrace_control_api.own_nodes import OwnNodes
from headrace_control_api.pictures import EdgePictures, Pictures
from headrace_control_api.rates import Rates
from headrace_control_api.routes import add_routes
from headrace_control_api.tokens import TokenOffice

ROLE = "control-api"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Announced:
    """A registry of this process alone, and the node's record in it, from start to stop."""

    registry: Registry
    record: NodeRecord

    async def start(self) -> None:
        """Begin to follow the registry and announce the node."""
        await self.registry.start()
        self.registry.keep_node(self.record)

    async def stop(self) -> None:
        """Withdraw the record."""
        await self.registry.close()


def build(
    settings: Settings,
    runtime: Runtime,
    hub: Hub | None = None,
    registry: Registry | None = None,
    viewing: Viewing | None = None,
    checks: Checks | None = None,
) -> Sequence[Component]:
    """Return the service's components; with `registry` it looks into that one and announces no node of its own.

    Revoked viewer tokens stand in `viewing`, or where the registry is. Feeds are looked at by `checks`, or by the
    ingress nodes of the cluster.
    """
    components: list[Component] = []
    if registry is None:
        registry = make_own_registry(settings, runtime, whole=True)
        components.append(Announced(registry, _record(settings, runtime)))
        runtime.health.add("registry", lambda: registry.problem)
    app = make_application(runtime)
    listening = settings.control_api
    events = EventLog(registry, runtime.clock)
    access = access_of(listening)
    office = _office(settings, runtime, viewing)
    rates = Rates(listening.requests_per_second, listening.requests_burst)
    pictures, nodes = _others(settings, runtime, hub, registry)
    counts = ClusterCounts(registry, office.viewing, listening.metrics_names_max)
    runtime.metrics.register(counts)
    if checks is None:
        secret = settings.relay.secret.get_secret_value()
        checks = IngressChecks(registry, secret, runtime.clock, Authorities(settings.relay.ca_file))
    add_routes(app, registry, access, api_metrics(runtime.metrics), events, office, rates, pictures, nodes, checks)
    app.on_cleanup.extend([lambda _: pictures.close(), lambda _: nodes.close(), lambda _: checks.close()])
    app.on_cleanup.append(lambda _: office.viewing.close())
    _warn_if_deaf(listening.host, access)
    listener = HttpListener(ROLE, listening.host, listening.port, app, tls=runtime.tls, setting="control_api.port")
    return [*components, events, counts, listener]


def access_of(settings: ControlApiSettings) -> Access:
    """Return who may ask."""
    kinds = (
        (Scope.READ, settings.read_tokens),
        (Scope.WRITE, settings.write_tokens),
        (Scope.ADMIN, settings.tokens),
    )
    tokens = {token.get_secret_value(): scope for scope, found in kinds for token in found}
    return Access(tokens, frozenset(settings.cors_origins))


def _office(settings: Settings, runtime: Runtime, viewing: Viewing | None) -> TokenOffice:
    registry = settings.registry
    if viewing is None:
        viewing = make_viewing(registry.url, registry.prefix, registry.lease_seconds, runtime.clock)
    secret = settings.access.secrets[0].get_secret_value() if settings.access.secrets else ""
    return TokenOffice(viewing, runtime.clock, secret)


def _others(settings: Settings, runtime: Runtime, hub: Hub | None, registry: Registry) -> tuple[Pictures, Nodes]:
    """Return who takes pictures and measures streams: this process where it has the media, else nodes."""
    if hub is not None:
        # Only here: a control API of its own is installed without what decodes.
        from headrace.session.stills import Stills
        from headrace_control_api.own_pictures import OwnPictures

        return OwnPictures(Stills(hub, runtime.clock)), OwnNodes(hub, runtime.node, runtime.clock)
    authorities = Authorities(settings.relay.ca_file)
    runtime.health.add("authorities", lambda: authorities.problem)
    secret = settings.relay.secret.get_secret_value()
    return EdgePictures(registry, secret, runtime.clock, authorities), HttpNodes(secret, runtime.clock, authorities)


def _record(settings: Settings, runtime: Runtime) -> NodeRecord:
    return NodeRecord(
        node=runtime.node,
        role=ROLE,
        region=settings.node.region,
        layer=settings.node.layer_of(ROLE),
        capacity=settings.node.capacity,
        software=SOFTWARE,
        started_us=microseconds(runtime.clock.utc()),
    )


def _warn_if_deaf(host: str, access: Access) -> None:
    if not access.tokens and not is_loopback(host):
        log.warning("api_answers_this_machine_only", host=host, reason="control_api.tokens is empty")


def main() -> None:
    """Run the program until it is told to stop."""
    run_program("headrace-control-api", ROLE, build)
