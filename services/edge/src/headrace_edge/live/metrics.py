"""What the HTTP outputs count."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge


@dataclass(frozen=True, slots=True)
class LiveMetrics:
    """Metrics of HLS and DASH.

    Attributes:
        requests: answered, by what was asked for and status.
        sent_bytes: of media handed to connections.
        waiting: requests that wait for what is about to exist.
        streams: streams that are kept ready because somebody asks for them.
        refused: requests turned away, by the limit: `waiting` (of all), `address` and `cold` (of one address; for
            streams without media), `streams` (that are kept ready).
    """

    requests: Counter
    sent_bytes: Counter
    waiting: Gauge
    streams: Gauge
    refused: Counter

    @staticmethod
    def make(registry: CollectorRegistry) -> LiveMetrics:
        """Register the metrics and return them."""
        return LiveMetrics(
            Counter(
                "headrace_edge_live_requests", "HLS and DASH requests answered.", ["kind", "status"], registry=registry
            ),
            Counter("headrace_edge_live_sent_bytes", "Bytes of media sent by HTTP.", registry=registry),
            Gauge("headrace_edge_live_waiting", "Requests that wait for what is about to exist.", registry=registry),
            Gauge("headrace_edge_live_streams", "Streams kept ready for HTTP.", registry=registry),
            Counter("headrace_edge_live_refused", "HTTP requests beyond a limit.", ["reason"], registry=registry),
        )
