"""What Prometheus is told of the cluster: sums, and so many streams and nodes by name as are allowed, no more.

Every control API tells the same. Labels are bounded by a setting: of a thousand streams the first by name are told, so
that who is told changes only when streams come and go.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace.access.records import Counts
from headrace.access.viewing import Viewing
from headrace.registry.leases import StoreAway
from headrace.registry.registry import Registry
from headrace.registry.transfers import PULL, PUSH, TransferStatus, count_transfers
from headrace.relay.keyring import ROLES
from headrace.telemetry.faults import outlive_faults

LOOK_SECONDS: Final = 5.0
"""How often it is asked how many watch: twice between two readings by Prometheus as it is set up mostly."""

STATES: Final = ("live", "interrupted", "ended")


class ClusterCounts(Collector):
    """Counts what the registry knows whenever somebody reads the metrics; a component that follows who watches.

    Args:
        registry: knows nodes and streams.
        viewing: knows who watches.
        labelled_max: most streams, and most nodes, that are told by name.
    """

    def __init__(self, registry: Registry, viewing: Viewing, labelled_max: int) -> None:
        self._registry = registry
        self._viewing = viewing
        self._labelled_max = labelled_max
        self._watching: Mapping[str, Counts] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow who watches."""
        self._task = asyncio.create_task(outlive_faults("cluster-counts", self._follow), name="cluster counts")

    async def stop(self) -> None:
        """Follow no more; a second call does nothing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            try:
                self._watching = await self._viewing.counts()
            except Exception as error:
                self._watching = None  # nothing is told rather than what was
                if not isinstance(error, StoreAway):
                    raise
            await asyncio.sleep(LOOK_SECONDS)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the sums, then what is told by name."""
        yield _family("streams", "Streams of the cluster, by state.", "state", self._states())
        yield _family("nodes", "Nodes of the cluster, by role.", "role", self._roles())
        yield self._transfers()
        yield from self._by_stream()
        yield from self._by_node()

    def _by_stream(self) -> Iterable[GaugeMetricFamily]:
        names = sorted(self._registry.streams)[: self._labelled_max]
        live = {name: self._registry.streams[name].state == "live" for name in names}
        told = set(names)
        carried = Counter(name for node in self._registry.nodes.values() for name in node.streams if name in told)
        watched: Counter[str] = Counter()
        for counts in (self._watching or {}).values():
            watched.update(counts.streams)
        viewers = {} if self._watching is None else {name: watched[name] for name in names}
        yield _family("stream_live", "1 while a stream is live, else 0.", "stream", live)
        yield _family("stream_nodes", "Nodes that carry a stream.", "stream", {name: carried[name] for name in names})
        yield _family("stream_viewers", "Viewers of a stream.", "stream", viewers)

    def _by_node(self) -> Iterable[GaugeMetricFamily]:
        nodes = [self._registry.nodes[name] for name in sorted(self._registry.nodes)[: self._labelled_max]]
        watching = self._watching or {}
        viewers = {one.node: watching[one.node].viewers for one in nodes if one.node in watching}
        children = {one.node: one.children for one in nodes}
        carried = {one.node: len(one.streams) for one in nodes}
        yield _family("node_load", "Share of a node's capacity in use.", "node", {one.node: one.load for one in nodes})
        yield _family("node_children", "Nodes that fetch from a node.", "node", children)
        yield _family("node_streams", "Streams that a node carries.", "node", carried)
        yield _family("node_viewers", "Viewers at an edge.", "node", viewers)

    def _transfers(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "headrace_api_transfers", "Transfers of the cluster, by kind and status.", labels=["kind", "status"]
        )
        found = count_transfers(self._registry.desired, self._registry.claims)
        for kind in (PULL, PUSH):
            for status in TransferStatus:
                family.add_metric([kind, status.value], found.get((kind, status), 0))
        return family

    def _states(self) -> dict[str, int]:
        found = Counter(record.state for record in self._registry.streams.values())
        return {state: found[state] for state in STATES}

    def _roles(self) -> dict[str, int]:
        found = Counter(node.role if node.role in ROLES else "other" for node in self._registry.nodes.values())
        return {role: found[role] for role in (*ROLES, "other")}


def _family(name: str, text: str, label: str, values: Mapping[Any, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"headrace_api_{name}", text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
