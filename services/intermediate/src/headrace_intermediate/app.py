"""The process: builds the objects and runs them."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.errors import ConfigurationError
from headrace.http.application import make_application
from headrace.http.carried import CarriedDoor
from headrace.http.listener import HttpListener
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.registry import Registry, make_registry
from headrace.registry.sealing import Vault
from headrace.relay.broadcast import RingLimits
from headrace.relay.hub import Hub
from headrace.service.runtime import Component, Runtime, run_program
from headrace.service.settings import Settings
from headrace.session.membership import join_cluster

ROLE = "intermediate"


def build(
    settings: Settings, runtime: Runtime, hub: Hub | None = None, registry: Registry | None = None
) -> Sequence[Component]:
    """Return the components of an intermediate, in the order to start them: it relays and knows nothing of media.

    With `hub` the process carries its streams by itself and needs no relaying: there is nothing to build.

    Raises:
        ConfigurationError: when the registry's URL cannot be used.
    """
    if hub is not None:
        return []
    listening = settings.intermediate
    app = make_application(runtime)
    listener = HttpListener(ROLE, listening.host, listening.port, app, tls=runtime.tls, setting="intermediate.port")
    hub = Hub(RingLimits(settings.ring.seconds, settings.ring.bytes))
    member = join_cluster(
        settings,
        runtime,
        hub,
        registry or _registry(settings, runtime),
        lambda: (listening.host, listener.bound_port),
    )
    app.router.add_get("/relay", member.node.relay_handler())
    CarriedDoor(hub, runtime.node, settings.relay.secret.get_secret_value(), runtime.clock).add_to(app)
    return [listener, member]


def _registry(settings: Settings, runtime: Runtime) -> Registry:
    wanted = settings.registry
    metrics = RegistryMetrics.make(runtime.metrics)
    vault = Vault([settings.relay.secret.get_secret_value()])
    try:
        return make_registry(wanted.url, wanted.prefix, wanted.lease_seconds, runtime.clock, metrics, vault)
    except ValueError as error:
        raise ConfigurationError(f"registry.url: {error}") from error


def main() -> None:
    """Run the program until it is told to stop."""
    run_program("headrace-intermediate", ROLE, build)
