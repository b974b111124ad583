"""A process as a member of its cluster: the registry and the node in one component, built from settings."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry

from headrace.clock import Clock, microseconds
from headrace.identifiers import NodeId
from headrace.registry.placement import EDGE_CHILDREN
from headrace.registry.records import REACH_MAX, NodeRecord
from headrace.registry.registry import Registry
from headrace.relay.hub import Hub
from headrace.session.node import Node
from headrace.session.options import RelayGroup
from headrace.telemetry.health import Health
from headrace.version import SOFTWARE

HOST_MAX = 64
"""Longest name of a machine in a record."""

ANY_ADDRESS = ("", "0.0.0.0", "::")


class NodeGroup(Protocol):
    """The settings group `node`."""

    @property
    def region(self) -> str: ...

    @property
    def relay_url(self) -> str: ...

    @property
    def public_url(self) -> str: ...

    @property
    def capacity(self) -> int: ...

    def layer_of(self, role: str) -> int: ...


class AllGroups(Protocol):
    """The settings that a member needs."""

    @property
    def node(self) -> NodeGroup: ...

    @property
    def relay(self) -> RelayGroup: ...


class Process(Protocol):
    """The process; `headrace.service.runtime.Runtime` is one."""

    @property
    def node(self) -> NodeId: ...

    @property
    def role(self) -> str: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def metrics(self) -> CollectorRegistry: ...

    @property
    def health(self) -> Health: ...

    @property
    def tls(self) -> ssl.SSLContext | None: ...

    @property
    def reloads(self) -> list[Callable[[], None]]: ...


class Membership:
    """Follows the registry and runs the node, from `start` to `stop`.

    Start it after the listener that `relay_url` tells the port of, and before whatever uses hub or registry.
    """

    def __init__(self, registry: Registry, node: Node) -> None:
        self.registry = registry
        self.node = node

    async def start(self) -> None:
        """Connect to the registry as far as it answers, and announce the node."""
        await self.registry.start()
        try:
            await self.node.start()
        except BaseException:
            await self.registry.close()
            raise

    async def stop(self) -> None:
        """Leave: children first, then the registry."""
        try:
            await self.node.stop()
        finally:
            await self.registry.close()


def join_cluster(
    settings: AllGroups,
    process: Process,
    hub: Hub,
    registry: Registry,
    listens_on: Callable[[], tuple[str, int]],
    reach: Sequence[str] | None = None,
) -> Membership:
    """Return this process's membership, with its checks added to the process's health.

    Args:
        settings: of all services.
        process: whose node this is.
        hub: the streams of the process.
        registry: not started yet.
        listens_on: returns host and port of the listener that serves `Membership.node.relay_handler()`; asked at start,
            when `node.relay_url` is not set.
        reach: private networks that what is asked for by API may reach from here; `None` when nothing goes out.
    """
    record = NodeRecord(
        node=process.node,
        role=process.role,
        relay_url=settings.node.relay_url,
        public_url=settings.node.public_url,
        region=settings.node.region,
        layer=settings.node.layer_of(process.role),
        capacity=settings.node.capacity,
        host=socket.gethostname()[:HOST_MAX],
        children_max=EDGE_CHILDREN if process.role == "edge" else 0,
        software=SOFTWARE,
        started_us=microseconds(process.clock.utc()),
        reach=told_reach(reach),
    )

    def where() -> str:
        return relay_url(*listens_on(), secure=process.tls is not None)

    node = Node(record, hub, registry, settings.relay, process.clock, process.metrics, where)
    process.health.add("registry", lambda: registry.problem)
    process.health.add("relay", lambda: node.problem)
    if settings.relay.credentials_file is not None:
        process.reloads.append(node.refresh_credentials)
    return Membership(registry, node)


def told_reach(networks: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return what a record tells of the networks that its node may reach: all or nothing."""
    return None if networks is None or len(networks) > REACH_MAX else tuple(networks)


def relay_url(host: str, port: int, *, secure: bool = False) -> str:
    """Return where other nodes reach a listener; one that listens everywhere is reached by the machine's name."""
    if host in ANY_ADDRESS:
        host = socket.gethostname()
    scheme = "wss" if secure else "ws"
    return f"{scheme}://[{host}]:{port}/relay" if ":" in host else f"{scheme}://{host}:{port}/relay"
