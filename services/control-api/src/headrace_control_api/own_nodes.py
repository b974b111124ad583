"""What is measured of the streams of this very process, where everything is in one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headrace.clock import Clock
from headrace.http.carried import age_of, bitrates, route_of
from headrace.identifiers import NodeId, StreamName
from headrace.registry.records import NodeRecord
from headrace.relay.hub import Hub
from headrace_control_api.asking_nodes import Carried


@dataclass(frozen=True, slots=True)
class OwnNodes:
    """Measures a hub's streams.

    Attributes:
        hub: what is carried.
        node: this process.
        clock: its time.
    """

    hub: Hub
    node: NodeId
    clock: Clock

    async def routes(self, nodes: Iterable[NodeRecord]) -> Mapping[str, Mapping[str, list[str]]]:
        return {self.node: {name: route_of(broadcast) for name, broadcast in self.hub.streams.items()}}

    async def carried(self, stream: str, nodes: Iterable[NodeRecord]) -> list[Carried]:
        broadcast = self.hub.streams.get(StreamName(stream))
        if broadcast is None or not broadcast.epoch:
            return []
        age = await age_of(broadcast, self.clock)
        return [Carried(self.node, broadcast.state.state, route_of(broadcast), dict(bitrates(broadcast)), age)]

    async def close(self) -> None:
        """Nothing is held."""
