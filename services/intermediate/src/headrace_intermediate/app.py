"""The process: builds the objects and runs them."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.http.application import make_application
from headrace.http.carried import CarriedDoor
from headrace.http.listener import HttpListener
from headrace.registry.registry import Registry
from headrace.relay.broadcast import RingLimits
from headrace.relay.hub import Hub
from headrace.service.registry import make_own_registry
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
        registry or make_own_registry(settings, runtime),
        lambda: (listening.host, listener.bound_port),
    )
    app.router.add_get("/relay", member.node.relay_handler())
    CarriedDoor(hub, runtime.node, settings.relay.secret.get_secret_value(), runtime.clock).add_to(app)
    return [listener, member]


def main() -> None:
    """Run the program until it is told to stop."""
    run_program("headrace-intermediate", ROLE, build)
