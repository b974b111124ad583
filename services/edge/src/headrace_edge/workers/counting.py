"""What workers count, as what their node counts.

Counters and histograms are summed, and keep what workers counted that are gone: a sum that shrank would be taken for
one that began anew. Gauges are summed over those that are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace_edge.workers.messages import Family, Sample

SUMMED: Final = "headrace_edge_"
"""What the names of metrics begin with that are about viewers, whom the node's own process has none of."""

OF_WORKERS: Final = {
    "headrace_loop_lag_seconds": "headrace_edge_worker_loop_lag_seconds",
    "headrace_relay_gaps": "headrace_edge_worker_gaps",
}
"""What is summed under another name, since the node itself counts it too."""

CPU, MEMORY, VIEWERS = "process_cpu_seconds", "process_resident_memory_bytes", "headrace_edge_viewers"
"""What is told of each worker."""

GROWING: Final = frozenset({"counter", "histogram"})

_Sums = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Figures by sample and labels."""


def families_of(registry: CollectorRegistry) -> tuple[Family, ...]:
    """Return what a worker counts, as far as its node shows it."""
    wanted = {*OF_WORKERS, CPU, MEMORY}
    return tuple(
        Family(
            metric.name,
            metric.type,
            metric.documentation,
            tuple(Sample(sample.name, sample.labels, sample.value) for sample in metric.samples),
        )
        for metric in registry.collect()
        if metric.name.startswith(SUMMED) or metric.name in wanted
    )


class WorkerCounts(Collector):
    """Shows what workers told that they count."""

    def __init__(self) -> None:
        self._told: dict[str, Sequence[Family]] = {}
        self._kept: dict[str, tuple[Family, _Sums]] = {}
        self._restarts = 0

    def take(self, worker: str, families: Sequence[Family]) -> None:
        """Note what a worker tells; it is summed up by itself."""
        self._told[worker] = families

    def ended(self, worker: str) -> None:
        """Keep what a worker has counted that is gone."""
        for family in self._told.pop(worker, ()):
            if family.kind in GROWING and _shown_as(family) is not None:
                _add(self._kept, family)

    def restarted(self) -> None:
        """Count a worker that was started again."""
        self._restarts += 1

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of the workers together, and those of each."""
        yield from _summed(self._kept, self._told.values())
        yield CounterMetricFamily(
            "headrace_edge_worker_restarts", "Workers that were started again.", value=self._restarts
        )
        cpu = CounterMetricFamily("headrace_edge_worker_cpu_seconds", "CPU time of a worker.", labels=["worker"])
        memory = GaugeMetricFamily(
            "headrace_edge_worker_memory_bytes", "Resident memory of a worker.", labels=["worker"]
        )
        viewers = GaugeMetricFamily("headrace_edge_worker_viewers", "Viewers of a worker.", labels=["worker"])
        of_each: dict[str, CounterMetricFamily | GaugeMetricFamily] = {CPU: cpu, MEMORY: memory, VIEWERS: viewers}
        for worker, families in sorted(self._told.items()):
            for family in families:
                if (shown := of_each.get(family.name)) is not None:
                    shown.add_metric([worker], sum(sample.value for sample in family.samples))
        yield from (cpu, memory, viewers)


def _summed(kept: Mapping[str, tuple[Family, _Sums]], told: Iterable[Sequence[Family]]) -> Iterable[Metric]:
    shown = {name: (family, dict(sums)) for name, (family, sums) in kept.items()}
    for families in told:
        for family in families:
            if _shown_as(family) is not None:
                _add(shown, family)
    for name, (family, sums) in sorted(shown.items()):
        renamed = _shown_as(family) or name
        metric = Metric(renamed, family.text, family.kind)
        for (sample, labels), value in sums.items():
            metric.add_sample(renamed + sample.removeprefix(name), dict(labels), value)
        yield metric


def _shown_as(family: Family) -> str | None:
    return family.name if family.name.startswith(SUMMED) else OF_WORKERS.get(family.name)


def _add(sums: dict[str, tuple[Family, _Sums]], family: Family) -> None:
    _, values = sums.setdefault(family.name, (family, {}))
    for sample in family.samples:
        key = sample.name, tuple(sample.labels.items())
        values[key] = values.get(key, 0.0) + sample.value
