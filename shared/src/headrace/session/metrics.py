"""What a node counts of its links and streams (docs/metrics.md)."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

HOP_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""From what a hop costs on a quiet machine to the length of a ring, in seconds."""

PROTOCOL_ERRORS = frozenset(
    {"bad_message", "bad_version", "bad_name", "bad_tracks", "bad_track", "bad_handle", "bad_kind", "bad_flags"}
    | {"truncated", "too_large", "too_many", "unexpected", "bad_proof", "same_node", "no_secret", "wrong_node"}
    | {"text_message", "bad_frame", "flood"}
)
"""Ends of links of which one side broke the protocol (docs/protocol.md, 1.2 and 4.2)."""

KNOWN_ENDS = PROTOCOL_ERRORS | frozenset(
    {"idle", "stopped", "going_away", "peer_closed", "connection_lost", "heartbeat_timeout", "opening_timeout"}
    | {"too_slow", "key_changed", "crowded"}
)
"""Ends of links that have a name of their own in metrics; a peer chooses the words of all others."""

KNOWN_FAILURES = KNOWN_ENDS | {"unreachable", "timeout", "certificate", "handshake", "subprotocol", "bad_url"}
"""The same for links that did not come about."""


@dataclass(frozen=True, slots=True)
class RelayMetrics:
    """The relay's metrics of one process."""

    links: Gauge
    links_ended: Counter
    dials_failed: Counter
    chunks_received: Counter
    chunks_sent: Counter
    bytes_received: Counter
    bytes_sent: Counter
    transit: Histogram
    residence: Histogram
    round_trip: Histogram
    clock_offset: Gauge
    switches: Counter
    interruptions: Counter
    duplicates: Counter
    gaps: Counter
    skipped: Counter
    fetching: Gauge
    serving: Gauge
    refused: Counter
    unknown_messages: Counter

    @classmethod
    def make(cls, registry: CollectorRegistry) -> RelayMetrics:
        """Return metrics that are exported by `registry`."""

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"headrace_relay_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"headrace_relay_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(f"headrace_relay_{name}", text, registry=registry, buckets=HOP_BUCKETS)

        return cls(
            links=gauge("links", "Open links to other nodes, by who dialled", "direction"),
            links_ended=counter("links_ended", "Links that ended, by the reason", "reason"),
            dials_failed=counter("dials_failed", "Links that did not come about, by the reason", "reason"),
            chunks_received=counter("chunks_received", "Chunks received from parents"),
            chunks_sent=counter("chunks_sent", "Chunks handed to links to children"),
            bytes_received=counter("received_bytes", "Bytes of chunk records received from parents"),
            bytes_sent=counter("sent_bytes", "Bytes of chunk messages handed to links to children"),
            transit=histogram("transit_seconds", "Time of a chunk from the parent's transport to this node"),
            residence=histogram(
                "residence_seconds", "Time of a chunk in this node, from its arrival to a child's transport"
            ),
            round_trip=histogram("round_trip_seconds", "Round trips of heartbeats"),
            clock_offset=gauge("clock_offset_seconds", "Largest known difference of a peer's clock from this node's"),
            switches=counter("switches", "Streams that went on from another parent, by the reason", "reason"),
            interruptions=counter("interruptions", "Streams told to be interrupted since no parent delivers them"),
            duplicates=counter("duplicate_chunks", "Chunks that were had already and dropped"),
            gaps=counter("gaps", "Gaps in streams fetched from parents"),
            skipped=counter("skipped_entries", "Entries that slow children were moved past"),
            fetching=gauge("fetched_streams", "Streams fetched from parents now"),
            serving=gauge("served_subscriptions", "Subscriptions of children now"),
            refused=counter("refused", "Streams refused since a credential does not cover them", "reason"),
            unknown_messages=counter("unknown_messages", "Messages of unknown types, ignored"),
        )

    def link_ended(self, reason: str) -> None:
        """Count the end of a link, by `reason` if it is one of ours."""
        self.links_ended.labels(reason if reason in KNOWN_ENDS else "other").inc()

    def dial_failed(self, reason: str) -> None:
        """Count a link that did not come about, likewise."""
        self.dials_failed.labels(reason if reason in KNOWN_FAILURES else "other").inc()
