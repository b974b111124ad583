"""Who carries out what is desired: a pure function of the last known records.

All nodes come to the same order from the same records, and the first claims at once. Whoever is further back waits its
turn, which comes only when those before it did nothing; so a wrong or old view costs time and never a second holder,
for who holds is the store's to say. A holder that is well keeps what it has: when a node comes back nothing moves.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Final

from headrace.identifiers import NodeId, StreamName
from headrace.registry.desired import (
    DesiredDrain,
    DesiredEntry,
    DesiredKey,
    DesiredKind,
    DesiredMove,
    DesiredSource,
    DesiredTransfer,
)
from headrace.registry.records import NodeRecord

TURN_LEASES: Final = 0.25
"""How long after the one before a node tries, in leases: longer than a claim and the news of it take."""

TURNS_MAX: Final = 8
"""Most turns that anybody waits."""


def rank_claimants(
    key: DesiredKey, desired: Mapping[DesiredKey, DesiredEntry], nodes: Iterable[NodeRecord], roles: frozenset[str]
) -> list[NodeId]:
    """Return the nodes that may carry out `key`, the one that should first.

    Nodes of other roles, without capacity, draining, or asked to drain are left out. In order: where somebody moved it
    to; in the region that it asks for; not full; then a stable pseudo-random number of (key, node), weighted by
    capacity, so that work spreads, and one node that comes or goes changes the place of its own share only.
    """
    preferred = preferred_node(key, desired)
    region = _region(desired.get(key))
    able = [one for one in nodes if one.role in roles and one.capacity and not is_leaving(one, desired)]
    able.sort(
        key=lambda one: (
            one.node != preferred,
            bool(region) and one.region != region,
            one.load >= 1.0,
            -_weight(str(key), one),
            one.node,
        )
    )
    return [NodeId(one.node) for one in able]


def preferred_node(key: DesiredKey, desired: Mapping[DesiredKey, DesiredEntry]) -> NodeId | None:
    """Return where somebody moved the source of a stream to."""
    if key.kind is not DesiredKind.SOURCE:
        return None
    move = desired.get(DesiredKey(DesiredKind.MOVE, f"{key.name}@"))
    return NodeId(move.record.parent) if move is not None and isinstance(move.record, DesiredMove) else None


def preferred_parent(stream: StreamName, child: NodeId, desired: Mapping[DesiredKey, DesiredEntry]) -> NodeId | None:
    """Return where somebody moved a stream to for `child`, or for all; `rank_parents` takes it as `prefer`."""
    for name in (f"{stream}@{child}", f"{stream}@"):
        move = desired.get(DesiredKey(DesiredKind.MOVE, name))
        if move is not None and isinstance(move.record, DesiredMove):
            return NodeId(move.record.parent)
    return None


def is_leaving(node: NodeRecord, desired: Mapping[DesiredKey, DesiredEntry]) -> bool:
    """Return whether a node goes away or was asked to."""
    drain = desired.get(DesiredKey(DesiredKind.DRAIN, node.node))
    return node.draining or (drain is not None and isinstance(drain.record, DesiredDrain))


def should_hand_over(
    key: DesiredKey, me: NodeId, desired: Mapping[DesiredKey, DesiredEntry], ranked: list[NodeId]
) -> bool:
    """Return whether `me`, which carries out `key`, should leave it to the first of `ranked`.

    Only when it was moved there, or when `me` is going away and there is anybody else.
    """
    if not ranked or ranked[0] == me:
        return False
    return me not in ranked or ranked[0] == preferred_node(key, desired)


def turn_seconds(place: int, lease_seconds: float, random_unit: float) -> float:
    """Return how long the node in `place` (0 the first) waits before it claims; `random_unit` is from 0 to 1."""
    if place == 0:
        return 0.0
    return lease_seconds * TURN_LEASES * (min(place, TURNS_MAX) + 0.5 * random_unit)


def _region(entry: DesiredEntry | None) -> str:
    if entry is not None and isinstance(entry.record, DesiredSource | DesiredTransfer):
        return entry.record.region
    return ""


def _weight(key: str, node: NodeRecord) -> float:
    digest = hashlib.blake2b(f"{key}\0{node.node}".encode(), digest_size=8).digest()
    unit = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52  # strictly between 0 and 1, exact as a double
    return -node.capacity / math.log(unit)
