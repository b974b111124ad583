"""How soon a change of a record is worth telling everybody, so that talk stays bounded as a cluster grows. Pure.

Each record that is told goes to every process. What others act on goes at once: a node that comes, drains or fills up,
a stream's state. What only helps them choose waits, the longer the larger the cluster is, so that all processes
together receive no more than `TOLD_BYTES_PER_SECOND`.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from headrace.registry.leases import EDGES_FOLLOWED
from headrace.registry.records import LAYER_MAX, NodeRecord, Record, StreamRecord

TOLD_BYTES_PER_SECOND: Final = 20_000_000
"""What the store may send to all processes together for changes that can wait, in bytes a second: a fifth of what a
link of 1 Gbit/s carries."""

TOLD_PER_SECOND: Final = 2_000
"""How many changes that can wait the store may be told by all processes together, in a second: a twentieth of what one
core of Redis does."""

WHOLE_READERS: Final = 8
"""How many processes hear of every edge in a large cluster: those that show it to people."""

WAIT_MIN_SECONDS: Final = 0.5
"""Least time between two tellings of changes that can wait."""

WAIT_MAX_SECONDS: Final = 60.0
"""Longest time that a change waits, however large the cluster is."""


class Urgency(enum.Enum):
    """How soon a change is told."""

    NOW = "now"
    SOON = "soon"
    """It waits its turn, see `wait_seconds`."""
    QUIET = "quiet"
    """It is written at once and told with the next that is, or in its turn."""


def urgency(told: Record | None, record: Record) -> Urgency:
    """Return how soon `record` is to be told to those who know `told`."""
    if isinstance(record, StreamRecord) and isinstance(told, StreamRecord):
        same = msgspec.structs.replace(told, next_segment=record.next_segment, end_seconds=record.end_seconds)
        return Urgency.QUIET if same == record else Urgency.NOW
    if isinstance(record, NodeRecord) and isinstance(told, NodeRecord):
        if is_full(told) != is_full(record):
            return Urgency.NOW
        alike = msgspec.structs.replace(told, load=record.load, streams=record.streams, children=record.children)
        return Urgency.SOON if alike == record else Urgency.NOW
    return Urgency.NOW


def is_full(node: NodeRecord) -> bool:
    """Return whether a node has no room left."""
    return node.load >= 1.0 or node.capacity == 0


def wait_seconds(record: Record, data_bytes: int, core: int, edges: int) -> float:
    """Return the least time between two tellings of changes of one record that can wait.

    Args:
        record: what is told.
        data_bytes: its size.
        core: how many nodes there are that are no edges.
        edges: how many edges there are.
    """
    if isinstance(record, NodeRecord) and record.layer == LAYER_MAX:
        readers, tellers = (edges if edges <= EDGES_FOLLOWED else WHOLE_READERS), max(edges, 1)
    else:
        readers, tellers = core + edges, max(core, 1)
    fair_bytes = data_bytes * readers * tellers / TOLD_BYTES_PER_SECOND
    return min(max(fair_bytes, tellers / TOLD_PER_SECOND, WAIT_MIN_SECONDS), WAIT_MAX_SECONDS)
