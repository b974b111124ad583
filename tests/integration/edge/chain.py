"""A small cluster on real sockets: an ingress, perhaps an intermediate, and edges on request."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from headrace.http.application import make_application
from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId, StreamName
from headrace.registry.memory import MemoryRegistry, MemoryStore
from headrace.registry.records import StreamRecord
from headrace.relay.broadcast import RingLimits
from headrace.relay.hub import Hub
from headrace.service.groups import Settings
from headrace.service.runtime import Component, Runtime
from headrace.session.membership import join_cluster
from headrace.testing import wait_until
from headrace_edge.app import build

DEMO = StreamName("demo")

T = TypeVar("T")


@dataclass(frozen=True)
class EdgeNode:
    """An edge that runs.

    Attributes:
        address: where it listens.
        registry: what it knows of the others.
        parts: what it is made of.
        running: ends its parts.
    """

    address: str
    registry: MemoryRegistry
    parts: Sequence[Component]
    running: contextlib.AsyncExitStack

    def part(self, kind: type[T]) -> T:
        """Return the part of that kind."""
        return next(part for part in self.parts if isinstance(part, kind))

    @property
    def url(self) -> str:
        """The base of its addresses."""
        return f"http://{self.address}"

    async def stop(self) -> None:
        """End it, as a signal would."""
        await self.running.aclose()


class Chain:
    """Nodes around one registry in memory; `settings` are those of every edge, by group.

    Attributes:
        store: of the registry.
        stream: what is published.
        hub: of the ingress, which publishes the stream `demo`.
        middle: the hub of the intermediate; not used without one.
    """

    def __init__(self, stack: contextlib.AsyncExitStack, *, has_middle: bool = False, **settings: Any) -> None:
        ring = Settings().ring
        self.store = MemoryStore()
        self.hub, self.middle = (Hub(RingLimits(ring.seconds, ring.bytes)) for _ in range(2))
        self._stack = stack
        self._has_middle = has_middle
        self.stream = DEMO
        self._settings = settings

    async def start(self) -> None:
        """Start ingress and intermediate."""
        registry = await self._relay("ingress-1", "ingress", self.hub)
        self._registry = registry
        registry.keep_stream(StreamRecord(stream=DEMO, node="ingress-1", epoch=1, state="live"))
        if self._has_middle:
            await self._relay("middle-1", "intermediate", self.middle)

    def let_go(self) -> None:
        """Have nobody publish the stream any more, as an ingress does whose publisher stayed away for too long."""
        self._registry.drop_stream(DEMO)
        self.hub.retire(DEMO)

    async def edge(self, name: str, **node: Any) -> EdgeNode:
        """Start an edge that knows the others; `node` are settings of that group."""
        groups = {"node": node, "edge": {"port": 0, "fmp4_port": 0}, **self._settings}
        registry = MemoryRegistry(self.store)
        components = build(Settings.model_validate(groups), Runtime(NodeId(name), "edge"), registry=registry)
        running = await self._run(components)
        known = {"ingress-1", "middle-1"} if self._has_middle else {"ingress-1"}
        await wait_until(lambda: known <= registry.nodes.keys() and DEMO in registry.streams)
        listener = next(part for part in components if isinstance(part, HttpListener) and part.name == "edge")
        return EdgeNode(f"127.0.0.1:{listener.bound_port}", registry, components, running)

    async def _relay(self, name: str, role: str, hub: Hub) -> MemoryRegistry:
        runtime = Runtime(NodeId(name), role)
        app = make_application(runtime)
        listener = HttpListener(name, "127.0.0.1", 0, app)
        registry = MemoryRegistry(self.store)
        member = join_cluster(Settings(), runtime, hub, registry, lambda: ("127.0.0.1", listener.bound_port))
        app.router.add_get("/relay", member.node.relay_handler())
        await self._run([listener, member])
        return registry

    async def _run(self, components: Sequence[Component]) -> contextlib.AsyncExitStack:
        """Start a node; return what ends it, at the latest when the cluster ends."""
        running = await self._stack.enter_async_context(contextlib.AsyncExitStack())
        for component in components:
            await component.start()
            running.push_async_callback(component.stop)
        return running
