"""What the API counts: its own requests, and the transfers of the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace.registry.registry import Registry
from headrace.registry.transfers import PULL, PUSH, TransferStatus, count_transfers


@dataclass(frozen=True, slots=True)
class ApiMetrics:
    """What is counted of the API."""

    requests: Counter
    refused: Counter


def api_metrics(registry: CollectorRegistry) -> ApiMetrics:
    """Register the API's metrics."""
    return ApiMetrics(
        Counter("headrace_api_requests_total", "Requests answered, by status.", ["status"], registry=registry),
        Counter(
            "headrace_api_refused_total", "Requests of those who may not ask, by status.", ["status"], registry=registry
        ),
    )


class TransferCounts(Collector):
    """Counts the transfers that the registry knows whenever somebody reads the metrics."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return how many transfers there are, those that there are none of too."""
        family = GaugeMetricFamily(
            "headrace_api_transfers", "Transfers of the cluster, by kind and status.", labels=["kind", "status"]
        )
        found = count_transfers(self._registry.desired, self._registry.claims)
        for kind in (PULL, PUSH):
            for status in TransferStatus:
                family.add_metric([kind, status.value], found.get((kind, status), 0))
        yield family
