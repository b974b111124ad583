"""What the registry's store has to do for a simulated cluster, counted by the registry's own rules."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from headrace.identifiers import NodeId
from headrace.registry.leases import EDGES_FOLLOWED, EDGES_SAMPLED
from headrace.registry.pacing import READ_PER_SECOND, READING_LEASES, RENEWALS_PER_LEASE
from headrace.registry.records import LAYER_MAX, NodeRecord, encode_record
from headrace.registry.telling import Urgency, urgency, wait_seconds

if TYPE_CHECKING:
    from sim.cluster import Sim

LEASE_SECONDS: Final = 3.0
RENEWAL_JITTER: Final = 0.9
"""Renewals come that much earlier on average than a third of the lease."""

RECORD_BYTES: Final = 400
"""About the size of a node's record that carries a few streams."""

STREAMS: Final = 100
"""Streams whose records everybody reads, beside the one that is simulated."""


class Traffic:
    """Counts operations: `renewal`, `put`, `read` (one record each) and `delivery` (one message to one process)."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.delivered_bytes = 0
        self.seconds = 0.0
        self._told_at: dict[NodeId, float] = {}
        self._told: dict[NodeId, NodeRecord] = {}
        self._waiting: set[NodeId] = set()

    def begin(self) -> None:
        """Count from here."""
        self.operations.clear()
        self.delivered_bytes = 0
        self.seconds = 0.0

    def per_second(self, name: str) -> float:
        """Return how many operations of a kind there were in a second."""
        return self.operations[name] / self.seconds if self.seconds else 0.0

    def joined(self, record: NodeRecord, sim: Sim) -> None:
        """A process starts: it reads everything and tells itself."""
        self.operations["read"] += self._readable(sim)
        self._tell(NodeId(record.node), sim)

    def refreshed(self, sim: Sim) -> None:
        """A process reads everything again out of turn."""
        self.operations["read"] += self._readable(sim)

    def changed(self, name: NodeId, sim: Sim) -> None:
        """A node's record changed."""
        self._waiting.add(name)
        self._tell_if_due(name, sim)

    def tick(self, seconds: float, sim: Sim) -> None:
        """Let time pass."""
        self.seconds += seconds
        self.operations["renewal"] += round(
            len(sim.truth) * seconds * RENEWALS_PER_LEASE / (LEASE_SECONDS * RENEWAL_JITTER)
        )
        readable = self._readable(sim)
        every = max(LEASE_SECONDS * READING_LEASES, readable / READ_PER_SECOND)
        self.operations["read"] += round(len(sim.truth) * readable * seconds / every)
        for name in tuple(self._waiting):
            if name in sim.truth:
                self._tell_if_due(name, sim)
            else:
                self._waiting.discard(name)

    def _readable(self, sim: Sim) -> int:
        edges = len(sim.edges)
        return len(sim.core) + STREAMS + (edges if edges <= EDGES_FOLLOWED else EDGES_SAMPLED)

    def _tell_if_due(self, name: NodeId, sim: Sim) -> None:
        record = sim.truth[name]
        wait = wait_seconds(record, RECORD_BYTES, len(sim.core), len(sim.edges))
        urgent = urgency(self._told.get(name), record)
        if urgent is Urgency.NOW or sim.now - self._told_at.get(name, 0.0) >= wait:
            self._tell(name, sim)

    def _tell(self, name: NodeId, sim: Sim) -> None:
        record = sim.truth[name]
        self._waiting.discard(name)
        self._told[name] = sim.told[name] = record
        self._told_at[name] = sim.now
        edges = len(sim.edges)
        hears = len(sim.truth) if record.layer != LAYER_MAX else edges if edges <= EDGES_FOLLOWED else 0
        self.operations["put"] += 1
        self.operations["delivery"] += hears
        self.delivered_bytes += hears * len(encode_record(record))
