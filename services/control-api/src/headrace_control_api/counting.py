"""What the API counts of its own requests."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter


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
