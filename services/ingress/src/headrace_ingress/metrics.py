"""What ingress counts (docs/metrics.md)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
"""From less than a frame to a camera that sends whole GOPs, in seconds."""


@dataclass(frozen=True, slots=True)
class IngressMetrics:
    """The ingress metrics of one process."""

    feeds: Gauge
    breaks: Counter
    slates: Counter
    epochs: Counter
    chunks: Counter
    chunk_bytes: Counter
    capture_to_publish: Histogram
    abandoned: Counter
    feed_cpu_seconds: Counter
    feed_waiting_bytes: Gauge
    worker_feeds: Gauge
    worker_memory: Gauge
    worker_cpu_seconds: Counter
    worker_ends: Counter
    publishers: Gauge
    publish_refused: Counter
    door_connections: Gauge
    door_ended: Counter

    @classmethod
    def make(cls, registry: CollectorRegistry) -> IngressMetrics:
        """Return metrics that are exported by `registry`."""
        return cls(
            feeds=Gauge("headrace_ingress_feeds", "Feeds of this node, by state", ["state"], registry=registry),
            breaks=Counter("headrace_ingress_breaks", "Times a live feed broke or fell silent", registry=registry),
            slates=Counter("headrace_ingress_slates", "Times a slate filled in for a source", registry=registry),
            epochs=Counter("headrace_ingress_epochs", "Epochs begun", registry=registry),
            chunks=Counter("headrace_ingress_chunks", "Chunks published", registry=registry),
            chunk_bytes=Counter("headrace_ingress_chunk_bytes", "Bytes of chunk records published", registry=registry),
            capture_to_publish=Histogram(
                "headrace_ingress_capture_to_publish_seconds",
                "Time from the capture of a chunk's first sample to its publication",
                buckets=LATENCY_BUCKETS,
                registry=registry,
            ),
            abandoned=Counter(
                "headrace_ingress_abandoned_readers",
                "Readers that hung in a library when their feed stopped and were left to end by themselves",
                registry=registry,
            ),
            feed_cpu_seconds=Counter(
                "headrace_ingress_feed_cpu_seconds",
                "CPU time of the thread that reads, encodes and packages a feed",
                ["stream"],
                registry=registry,
            ),
            feed_waiting_bytes=Gauge(
                "headrace_ingress_feed_waiting_bytes",
                "What a publisher has sent and nobody has read yet",
                ["stream"],
                registry=registry,
            ),
            worker_feeds=Gauge(
                "headrace_ingress_worker_feeds", "Feeds that a worker process reads", ["worker"], registry=registry
            ),
            worker_memory=Gauge(
                "headrace_ingress_worker_memory_bytes",
                "Resident memory of a worker process",
                ["worker"],
                registry=registry,
            ),
            worker_cpu_seconds=Counter(
                "headrace_ingress_worker_cpu_seconds",
                "CPU time of all threads of a worker process",
                ["worker"],
                registry=registry,
            ),
            worker_ends=Counter(
                "headrace_ingress_worker_ends",
                "Worker processes that ended while they were needed, by the reason",
                ["reason"],
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

    def forget(self, stream: str) -> None:
        """Export nothing more of a feed that is gone."""
        for one in (self.feed_cpu_seconds, self.feed_waiting_bytes):
            with contextlib.suppress(KeyError):
                one.remove(stream)

    def forget_worker(self, worker: str) -> None:
        """Export nothing more of a worker process that is gone."""
        for one in (self.worker_feeds, self.worker_memory, self.worker_cpu_seconds):
            with contextlib.suppress(KeyError):
                one.remove(worker)
