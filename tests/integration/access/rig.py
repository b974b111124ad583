"""An edge that wants tokens, as its app builds it, on free ports."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from headrace.access.tokens import ViewerToken, issue_token, network
from headrace.access.viewing import Viewing
from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId
from headrace.registry.memory import MemoryRegistry
from headrace.relay.hub import Hub
from headrace.service.groups import Settings
from headrace.service.runtime import Runtime
from headrace_control_api.app import build as build_api
from headrace_edge.app import build
from headrace_edge.edge import Edge
from integration.edge.rig import EdgeRig

SECRET = "a secret of the tests, of 32 bytes or more"

PREFIX = "guarded"
"""What the keys of the rigs' cluster begin with."""

VIEWING_LEASE = 0.5
"""How long a viewing session outlives its edge here, in seconds."""


class GuardedRig(EdgeRig):
    """One edge whose streams need a token, but for those that begin with `open`."""

    def __init__(
        self, node: str = "edge-1", *, viewing: Viewing | None = None, registry_url: str = "memory:", **access: Any
    ) -> None:
        self.runtime = Runtime(NodeId(node), "edge")
        self.hub = Hub()
        self.registry = MemoryRegistry()
        wanted = {"policy": "token", "streams": {"open*": "public"}, "secrets": [SECRET], **access}
        settings = Settings.model_validate(
            {
                "edge": {"port": 0, "fmp4_port": 0},
                "access": wanted,
                "registry": {"url": registry_url, "prefix": PREFIX, "lease_seconds": 1.0},
            }
        )
        self._components = list(build(settings, self.runtime, self.hub, self.registry, viewing))
        self._stack = contextlib.AsyncExitStack()
        self.edge = next(part for part in self._components if isinstance(part, Edge))
        self._listeners = {part.name: part for part in self._components if isinstance(part, HttpListener)}


@contextlib.asynccontextmanager
async def control_api(registry_url: str) -> AsyncIterator[str]:
    """Run a control API in the cluster of the rigs, and yield its base URL."""
    settings = Settings.model_validate(
        {"control_api": {"port": 0}, "registry": {"url": registry_url, "prefix": PREFIX, "lease_seconds": 1.0}}
    )
    async with contextlib.AsyncExitStack() as stack:
        components = list(build_api(settings, Runtime(NodeId("api"), "control-api")))
        for component in components:
            await component.start()
            stack.push_async_callback(component.stop)
        (listener,) = (component for component in components if isinstance(component, HttpListener))
        yield f"http://127.0.0.1:{listener.bound_port}"


def token(*streams: str, seconds: float = 600.0, id: str = "t1", secret: str = SECRET, **limits: Any) -> str:
    """Return a token for streams, valid for so long."""
    networks = limits.pop("addresses", None)
    found = ViewerToken(
        id=id,
        streams=streams or ("demo",),
        expires=time.time() + seconds,
        networks=None if networks is None else tuple(map(network, networks)),
        **limits,
    )
    return issue_token(secret, found)
