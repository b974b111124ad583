"""What an edge counts; per fan-out and turn, never per write."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_JOIN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LATENCY_BUCKETS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class OutputCounts:
    """What the fan-outs of one door count; the same names as in `EdgeMetrics`."""

    sent_bytes: Counter
    sent_messages: Counter
    skipped: Counter
    stuck: Counter
    unframeable: Counter
    join_seconds: Histogram


@dataclass(frozen=True, slots=True)
class EdgeMetrics:
    """Metrics of all doors of one edge; the label `door` is `play` or `fmp4`, of viewers and
    refusals also `live`: HLS and DASH sessions of streams that need a token.

    Attributes:
        viewers: connected now.
        outputs: fan-outs now, one for each stream and kind of framing that somebody watches.
        sent_bytes, sent_messages: handed to viewers' connections.
        skipped: times a slow viewer was moved forward.
        stuck: viewers closed because they read nothing for too long.
        unframeable: headers and chunks left out of an output because their boxes cannot be read.
        refused: viewers turned away, by reason.
        join_seconds: from the handshake to a viewer's first media, waiting for the stream included.
        viewer_latency_seconds, viewer_buffer_seconds, viewer_stalls, viewer_dropped_frames: as players report.
    """

    viewers: Gauge
    outputs: Gauge
    sent_bytes: Counter
    sent_messages: Counter
    skipped: Counter
    stuck: Counter
    unframeable: Counter
    refused: Counter
    join_seconds: Histogram
    viewer_latency_seconds: Histogram
    viewer_buffer_seconds: Histogram
    viewer_stalls: Counter
    viewer_dropped_frames: Counter

    def output(self, door: str) -> OutputCounts:
        """Return what the fan-outs of `door` count."""
        return OutputCounts(
            self.sent_bytes.labels(door),
            self.sent_messages.labels(door),
            self.skipped.labels(door),
            self.stuck.labels(door),
            self.unframeable.labels(door),
            self.join_seconds.labels(door),
        )


@dataclass(frozen=True, slots=True)
class PushMetrics:
    """What is counted of pushes."""

    pushes: Gauge
    failures: Counter


def push_metrics(registry: CollectorRegistry) -> PushMetrics:
    """Register the metrics of pushes and return them."""
    return PushMetrics(
        Gauge("headrace_edge_pushes", "Pushes that this node carries, by state.", ["state"], registry=registry),
        Counter("headrace_edge_push_failures", "Times a push failed, each try counted.", registry=registry),
    )


def edge_metrics(registry: CollectorRegistry) -> EdgeMetrics:
    """Register the metrics of an edge and return them."""

    def counter(name: str, text: str, *labels: str) -> Counter:
        return Counter(f"headrace_edge_{name}", text, labels, registry=registry)

    def gauge(name: str, text: str) -> Gauge:
        return Gauge(f"headrace_edge_{name}", text, ["door"], registry=registry)

    def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"headrace_edge_{name}", text, labels, buckets=buckets, registry=registry)

    return EdgeMetrics(
        viewers=gauge("viewers", "Viewers connected now."),
        outputs=gauge("outputs", "Streams that somebody watches now, by door."),
        sent_bytes=counter("sent_bytes", "Bytes handed to viewers' connections.", "door"),
        sent_messages=counter("sent_messages", "Messages handed to viewers' connections.", "door"),
        skipped=counter("skipped", "Times a slow viewer was moved forward.", "door"),
        stuck=counter("stuck", "Viewers closed because they read nothing for too long.", "door"),
        unframeable=counter("unframeable", "Headers and chunks left out: their boxes cannot be read.", "door"),
        refused=counter("refused", "Viewers turned away.", "door", "reason"),
        join_seconds=histogram("join_seconds", "From the handshake to a viewer's first media.", _JOIN_BUCKETS, "door"),
        viewer_latency_seconds=histogram(
            "viewer_latency_seconds", "From capture to screen, as players report.", _LATENCY_BUCKETS
        ),
        viewer_buffer_seconds=histogram(
            "viewer_buffer_seconds", "Media ahead of the position played, as players report.", _LATENCY_BUCKETS
        ),
        viewer_stalls=counter("viewer_stalls", "Stalls, as players report."),
        viewer_dropped_frames=counter("viewer_dropped_frames", "Frames dropped, as players report."),
    )
