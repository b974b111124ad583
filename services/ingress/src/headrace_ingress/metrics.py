"""What ingress counts (docs/metrics.md)."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
"""From less than a frame to a camera that sends whole GOPs, in seconds."""

ENCODE_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Around the 3 ms that a picture of the test pattern takes, in seconds."""


@dataclass(frozen=True, slots=True)
class IngressMetrics:
    """The ingress metrics of one process."""

    feeds: Gauge
    breaks: Counter
    epochs: Counter
    chunks: Counter
    chunk_bytes: Counter
    capture_to_publish: Histogram
    encode_seconds: Histogram
    abandoned: Counter
    publishers: Gauge
    publish_refused: Counter
    door_connections: Gauge
    door_ended: Counter

    @classmethod
    def make(cls, registry: CollectorRegistry) -> IngressMetrics:
        """Return metrics that are exported by `registry`."""
        return cls(
            feeds=Gauge("headrace_ingress_feeds", "Feeds of this node, by state", ["state"], registry=registry),
            breaks=Counter("headrace_ingress_breaks", "Times a live feed broke", registry=registry),
            epochs=Counter("headrace_ingress_epochs", "Epochs begun", registry=registry),
            chunks=Counter("headrace_ingress_chunks", "Chunks published", registry=registry),
            chunk_bytes=Counter("headrace_ingress_chunk_bytes", "Bytes of chunk records published", registry=registry),
            capture_to_publish=Histogram(
                "headrace_ingress_capture_to_publish_seconds",
                "Time from the capture of a chunk's first sample to its publication",
                buckets=LATENCY_BUCKETS,
                registry=registry,
            ),
            encode_seconds=Histogram(
                "headrace_ingress_encode_seconds",
                "Time that drawing and encoding one picture of the test pattern took",
                buckets=ENCODE_BUCKETS,
                registry=registry,
            ),
            abandoned=Counter(
                "headrace_ingress_abandoned_readers",
                "Readers that hung in a library when their feed stopped and were left to end by themselves",
                registry=registry,
            ),
            publishers=Gauge("headrace_ingress_publishers", "Publishers that were let in", registry=registry),
            publish_refused=Counter(
                "headrace_ingress_publish_refused", "Publishers refused, by the reason", ["reason"], registry=registry
            ),
            door_connections=Gauge(
                "headrace_ingress_door_connections", "Open connections of publishing doors", ["door"], registry=registry
            ),
            door_ended=Counter(
                "headrace_ingress_door_ended",
                "Connections that a publishing door ended, by the reason",
                ["door", "reason"],
                registry=registry,
            ),
        )
