"""Every service in one process: one hub, one registry in memory, and the doors of all."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import headrace_control_api.app
import headrace_edge.app
import headrace_ingress.app
from headrace.access.viewing import MemoryViewing
from headrace.errors import ConfigurationError
from headrace.registry.memory import MemoryRegistry
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.sealing import Vault
from headrace.relay.broadcast import RingLimits
from headrace.relay.hub import Hub
from headrace.service.runtime import Component, Runtime
from headrace.service.settings import Settings
from headrace_ingress.check.asking import local_checks
from headrace_standalone.presence import Presence

ROLE = "standalone"


def build(settings: Settings, runtime: Runtime) -> Sequence[Component]:
    """Return the components of all services around one hub.

    Doors come before feeds: a port that is taken ends the program before a camera was dialled.

    Raises:
        ConfigurationError: when a registry is configured that other processes would share.
    """
    if settings.registry.url != "memory:":
        raise ConfigurationError(
            "registry.url: one process keeps its registry in memory; use --processes for one that others share"
        )
    hub = Hub(RingLimits(settings.ring.seconds, settings.ring.bytes))
    registry = MemoryRegistry(
        lease_seconds=settings.registry.lease_seconds,
        clock=runtime.clock,
        metrics=RegistryMetrics.make(runtime.metrics),
        # What is asked for by API lives as long as this process, and so does what its credentials are sealed with.
        vault=Vault([secrets.token_bytes(32)]),
    )
    viewing = MemoryViewing(runtime.clock, settings.registry.lease_seconds)
    return [
        Presence(settings, runtime, hub, registry),
        *headrace_control_api.app.build(settings, runtime, hub, registry, viewing, local_checks(settings.ingress)),
        *headrace_edge.app.build(settings, runtime, hub, registry, viewing),
        *headrace_ingress.app.build(settings, runtime, hub, registry),
    ]
