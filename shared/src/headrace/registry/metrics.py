"""What a registry counts (docs/metrics.md)."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


@dataclass(frozen=True, slots=True)
class RegistryMetrics:
    """The registry's metrics of one process."""

    connected: Gauge
    outages: Counter
    refused: Counter
    fenced: Counter
    taken: Counter
    round_trip: Histogram
    nodes: Gauge
    streams: Gauge

    @classmethod
    def make(cls, registry: CollectorRegistry) -> RegistryMetrics:
        """Return metrics that are exported by `registry`."""
        return cls(
            connected=Gauge(
                "headrace_registry_connected", "1 while the registry's store answers, else 0", registry=registry
            ),
            outages=Counter("headrace_registry_outages", "Times the registry's store went away", registry=registry),
            refused=Counter(
                "headrace_registry_refused_records",
                "Records in the store that were ignored because they are not ours or not valid",
                registry=registry,
            ),
            fenced=Counter(
                "headrace_registry_fenced_streams",
                "Streams of this node that another node took over with a newer epoch",
                registry=registry,
            ),
            taken=Counter(
                "headrace_registry_taken_nodes",
                "Times this node's id was found in use by another process",
                registry=registry,
            ),
            round_trip=Histogram(
                "headrace_registry_round_trip_seconds",
                "Time that renewing the leases of this process took",
                buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
                registry=registry,
            ),
            nodes=Gauge("headrace_registry_nodes", "Nodes known, this one included", registry=registry),
            streams=Gauge("headrace_registry_streams", "Streams known, own ones included", registry=registry),
        )
