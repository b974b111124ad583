"""The registry of a process that is alone, and its one node in it."""

from __future__ import annotations

from headrace.clock import microseconds
from headrace.http.listener import format_address
from headrace.registry.records import NodeRecord
from headrace.registry.registry import Registry
from headrace.relay.hub import Hub
from headrace.service.runtime import Runtime
from headrace.service.settings import Settings
from headrace.session.membership import relay_url, told_reach
from headrace.version import SOFTWARE


class Presence:
    """Keeps the registry and the node's record, with the streams that `hub` carries, from start to stop."""

    def __init__(self, settings: Settings, runtime: Runtime, hub: Hub, registry: Registry) -> None:
        self._settings = settings
        self._runtime = runtime
        self._hub = hub
        self._registry = registry
        self._scheme = "http" if runtime.tls is None else "https"
        self._started_us = microseconds(runtime.clock.utc())

    async def start(self) -> None:
        """Announce the node."""
        await self._registry.start()
        self._hub.on_streams.add(self._announce)
        self._announce()

    async def stop(self) -> None:
        """Withdraw everything."""
        self._hub.on_streams.discard(self._announce)
        await self._registry.close()

    def _announce(self) -> None:
        node, edge = self._settings.node, self._settings.edge
        # With port 0 the system chooses one when the edge begins to listen; nobody else is there to be told.
        url = f"{self._scheme}://{format_address(edge.host, edge.port)}" if edge.port else ""
        ingress = self._settings.ingress
        secure = self._runtime.tls is not None
        relay = relay_url(ingress.host, ingress.port, secure=secure) if ingress.port else ""
        record = NodeRecord(
            node=self._runtime.node,
            role=self._runtime.role,
            relay_url=node.relay_url or relay,
            public_url=node.public_url or url,
            region=node.region,
            layer=node.layer_of(self._runtime.role),
            capacity=node.capacity,
            streams=tuple(sorted(self._hub.streams)),
            software=SOFTWARE,
            started_us=self._started_us,
            reach=told_reach([*ingress.allow_networks, *edge.allow_networks]),
        )
        self._registry.keep_node(record)
