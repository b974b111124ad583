"""What every process tells about itself: version, CPU, memory and how late its event loop is."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge, Histogram, PlatformCollector, ProcessCollector

from headrace.clock import next_beat

LAG_INTERVAL_SECONDS = 0.25
"""How often the loop's lag is measured: four cheap wake-ups a second."""

_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(frozen=True, slots=True)
class ProcessMetrics:
    """Metrics of the process as a whole."""

    loop_lag_seconds: Histogram
    node_info: Gauge


def process_metrics(registry: CollectorRegistry, node: str, role: str, software: str) -> ProcessMetrics:
    """Register the process's own metrics and return those that somebody feeds."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    node_info = Gauge("headrace_node_info", "Who this process is.", ["node", "role", "software"], registry=registry)
    node_info.labels(node, role, software).set(1)
    lag = Histogram(
        "headrace_loop_lag_seconds",
        "How much later than due the event loop ran a timer.",
        buckets=_LAG_BUCKETS,
        registry=registry,
    )
    return ProcessMetrics(lag, node_info)


async def measure_loop_lag(lag: Histogram) -> None:
    """Observe the event loop's lag until cancelled."""
    while True:
        lag.observe(await next_beat(LAG_INTERVAL_SECONDS))
