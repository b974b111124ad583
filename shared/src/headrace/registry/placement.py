"""Choosing whom to fetch a stream from: a pure function of the last known records.

Chains are made of layers: ingress 0, intermediates from 1, edges highest. A node fetches from a *strictly lower* layer
or from the stream's owner itself, which fetches it from nobody; so parents never form a loop, whatever each node knows
at the moment. (The route that travels with the stream's state is the second guard; headrace.relay.protocol.)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from headrace.identifiers import NodeId, StreamName
from headrace.registry.records import NodeRecord, StreamRecord

INGRESS_LAYER: Final = 0
"""The layer of nodes that take feeds in; they carry their own streams only."""

LOAD_STEPS: Final = 4
"""Loads are compared in quarters of the capacity: finer differences pass quickly and are not worth a move."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that a stream may be fetched from.

    Attributes:
        node: its node id.
        relay_url: where to reach it.
        why: for people: what speaks for it and against it, as the ranking saw it.
    """

    node: NodeId
    relay_url: str
    why: str


def rank_parents(
    me: NodeRecord,
    stream: StreamName,
    nodes: Iterable[NodeRecord],
    streams: Mapping[StreamName, StreamRecord],
    avoid: Collection[NodeId] = (),
) -> list[Candidate]:
    """Return the nodes that `me` may fetch `stream` from, best first; the second is the standby.

    Who is a candidate: nodes with a relay URL in a layer strictly below `me`, and the stream's owner in whatever layer.
    Never `me`, never one of `avoid`, never an ingress or any other node that is no higher than the owner and does not
    carry the stream, for it could not get it. The owner has no candidates: it has the source.

    A stream without a record has no known owner. Then only nodes that say they carry it are candidates: they hold its
    recent past and will be first to go on when it returns. When there are none the list is empty: wait until the
    registry changes (`Registry.watchers`) and ask again.

    Their order, each rule deciding only between those that are equal by the rules before it:

    1. not draining, and room left, before draining or full ones, which are taken only when there is nothing else: so a
       healthy owner comes before a draining intermediate;
    2. the highest layer first and the owner last: it is asked by the first layer above it, or when no intermediate is
       there;
    3. the region of `me`;
    4. carries the stream already: a hot stream shares the feed that is there, until that node is full;
    5. load, in quarters of the capacity;
    6. a stable pseudo-random number of (me, candidate), weighted by capacity (rendezvous hashing): children spread
       over equals, and when one node comes or goes only the children that win or lose it move.
    """
    record = streams.get(stream)
    if record is not None and record.node == me.node:
        return []
    by_node = {node.node: node for node in nodes}
    owner = by_node.get(record.node) if record is not None else None
    able = [n for n in by_node.values() if _able(n, me, stream, record, owner) and NodeId(n.node) not in avoid]
    views = [_View(me, node, stream, node is owner) for node in able]
    return [view.candidate() for view in sorted(views, key=_View.order)]


def _able(
    node: NodeRecord, me: NodeRecord, stream: StreamName, record: StreamRecord | None, owner: NodeRecord | None
) -> bool:
    """Return whether `me` could get `stream` from `node` without a loop."""
    if node.node == me.node or not node.relay_url:
        return False
    if node is owner:
        return True
    if node.layer >= me.layer:
        return False
    if stream in node.streams:
        return True
    floor = owner.layer if owner is not None and owner.layer < me.layer else INGRESS_LAYER
    return record is not None and node.layer > floor


@dataclass(frozen=True, slots=True)
class _View:
    """One candidate as `me` sees it."""

    me: NodeRecord
    node: NodeRecord
    stream: StreamName
    owner: bool

    @property
    def full(self) -> bool:
        return self.node.load >= 1.0 or self.node.capacity == 0

    @property
    def near(self) -> bool:
        return self.node.region == self.me.region

    @property
    def carries(self) -> bool:
        return self.stream in self.node.streams

    def order(self) -> tuple[float | str, ...]:
        """Return what candidates are sorted by; see `rank_parents` for the rules."""
        node = self.node
        return (
            node.draining + self.full,
            self.owner,
            -node.layer,
            not self.near,
            not self.carries,
            min(int(node.load * LOAD_STEPS), LOAD_STEPS),
            -_weight(self.me.node, node.node, node.capacity),
            node.node,
        )

    def candidate(self) -> Candidate:
        node = self.node
        parts = [
            "the stream's owner" if self.owner else f"{node.role} in layer {node.layer}",
            f"{'same' if self.near else 'other'} region{f' {node.region}' if node.region else ''}",
            "carries the stream" if self.carries or self.owner else "does not carry the stream yet",
            f"load {node.load:.0%}",
        ]
        parts += ["full"] * self.full + ["draining"] * node.draining
        return Candidate(NodeId(node.node), node.relay_url, ", ".join(parts))


def _weight(me: str, node: str, capacity: int) -> float:
    """Return the rendezvous weight of `node` for `me`: the winner of each pair depends on that pair alone."""
    digest = hashlib.blake2b(f"{me}\0{node}".encode(), digest_size=8).digest()
    unit = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52  # strictly between 0 and 1, exact as a double
    return -max(capacity, 1) / math.log(unit)
