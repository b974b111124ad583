"""Choosing whom to fetch a stream from: a pure function of the last known records.

Chains are made of layers: ingress 0, intermediates from 1, edges highest. A node fetches from a lower layer, from the
stream's owner, who fetches it from nobody, or from a *peer*: a node of its own layer that is its senior, carries the
stream, and feeds others. So whatever each node knows at the moment, following parents goes down in layers, and within
one up in seniority, until it ends: parents never form a loop. Seniority is `(started_us, node)`; it changes when a
node starts again, and then somebody's old record of it may be wrong. Only for that is there a second guard, the route
that travels with the stream's state (headrace.relay.protocol).

Peers are what lets a tree grow beyond the capacity of its intermediates: those who come find the layers below full and
hang themselves below seniors, which were there before and have room for some.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.identifiers import NodeId, StreamName
from headrace.registry.records import LAYER_MAX, NodeRecord, StreamRecord

INGRESS_LAYER: Final = 0
"""The layer of nodes that take feeds in; they carry their own streams only."""

LOAD_STEPS: Final = 4
"""Loads are compared in quarters of the capacity: finer differences pass quickly and are not worth a move."""

EDGE_CHILDREN: Final = 8
"""How many other edges an edge had better feed, for who announces `children_max`: with 8, each more layer of edges has
eight times the edges of the one above it, and an edge sends eight streams beside those of its viewers."""


RESERVE: Final = 1 / 8
"""The share of its room that a node keeps for those that lose their parent: with eight equal parents the children of
one that dies fit on the others."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that a stream may be fetched from.

    Attributes:
        node: its node id.
        relay_url: where to reach it.
        why: for people: what speaks for it and against it, as the ranking saw it.
        host, region: where it runs, for who wants a standby that does not share its fate.
        poor: how much speaks against it: 1 each for draining and for having no room.
        distance: how far it is from the node that asks, by the third rule of `rank_parents`: compares as that orders.
        is_peer: it is in the layer of the node that asks.
    """

    node: NodeId
    relay_url: str
    why: str
    host: str = ""
    region: str = ""
    poor: int = 0
    distance: tuple[int, int] = (0, 0)
    is_peer: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was thought of one node when a parent was chosen.

    Attributes:
        node: its node id.
        place: its place among the candidates, 0 the best; `None` when it is none.
        why: for people: what speaks for it and against it, or why it is none.
    """

    node: NodeId
    place: int | None
    why: str


def rank_parents(
    me: NodeRecord,
    stream: StreamName,
    nodes: Iterable[NodeRecord],
    streams: Mapping[StreamName, StreamRecord],
    avoid: Collection[NodeId] = (),
    prefer: NodeId | None = None,
    *,
    lost: bool = False,
) -> list[Candidate]:
    """Return the nodes that `me` may fetch `stream` from, best first; `pick_standby` chooses the standby among them.

    Who is a candidate: nodes with a relay URL in a layer strictly below `me`; peers, which are nodes of the layer of
    `me` that started before it, carry the stream and feed others; and the stream's owner in whatever layer. Never `me`,
    never one of `avoid`, never an ingress or any other node that is no higher than the owner and does not carry the
    stream, for it could not get it. The owner has no candidates: it has the source.

    An owner without a relay URL dials others and offers the stream there (docs/protocol.md, 4.8). Those say that they
    carry it; the lowest of their layers stands for the owner's.

    A stream without a record has no known owner. Then only nodes that say they carry it are candidates: they hold its
    recent past and will be first to go on when it returns. When there are none the list is empty: wait until the
    registry changes (`Registry.watchers`) and ask again.

    Their order, each rule deciding only between those that are equal by the rules before it:

    1. not draining, and room left, before draining or full ones, which are taken only when there is nothing else: so a
       healthy owner comes before a draining intermediate. The last eighth of a node's room counts only for who is
       `lost`: it had a parent and goes on elsewhere;
    2. `prefer`, where somebody moved the stream to, unless it is draining or full;
    3. lower layers, the highest first; then peers; then the owner, which is to be spared: it is asked by the first
       layer above it. It comes before peers only when there is no layer between;
    4. the region of `me`;
    5. carries the stream already: a hot stream shares the feed that is there, until that node is full;
    6. less depth: the tree grows wide before it grows deep;
    7. load, in quarters of the capacity;
    8. a stable pseudo-random number of (me, candidate), weighted by capacity (rendezvous hashing): children spread
       over equals, and when one node comes or goes only the children that win or lose it move.
    """
    cluster = _Cluster.of(me, stream, nodes, streams, lost)
    able = [node for node in cluster.nodes.values() if cluster.objection(node) is None and node.node not in avoid]
    return [cluster.candidate(node, prefer) for node in sorted(able, key=lambda node: cluster.order(node, prefer))]


def explain_parents(
    me: NodeRecord,
    stream: StreamName,
    nodes: Iterable[NodeRecord],
    streams: Mapping[StreamName, StreamRecord],
    avoid: Collection[NodeId] = (),
    prefer: NodeId | None = None,
    *,
    lost: bool = False,
) -> list[Verdict]:
    """Return what `rank_parents` thinks of every node, candidates first and in their order, then the others by name."""
    cluster = _Cluster.of(me, stream, nodes, streams, lost)
    ranked = rank_parents(me, stream, cluster.nodes.values(), streams, avoid, prefer, lost=lost)
    verdicts = [Verdict(one.node, place, one.why) for place, one in enumerate(ranked)]
    chosen = {one.node for one in ranked}
    for name in sorted(cluster.nodes.keys() - chosen):
        why = cluster.objection(cluster.nodes[name]) or "it failed a moment ago, or refused"
        verdicts.append(Verdict(NodeId(name), None, why))
    return verdicts


def pick_standby(ranked: Sequence[Candidate], parent: NodeId | None = None) -> Candidate | None:
    """Return the best of `ranked` to go on from when `parent` (by default the first) dies; `None` when there is none.

    One that is well before one that drains or is full; then one on another host, for what kills the parent may kill its
    host; then, when the parent is in another region than the best ranked, one of another region than the parent; then
    the better ranked.
    """
    if not ranked:
        return None
    first = next((one for one in ranked if one.node == parent), ranked[0])
    rest = [(place, one) for place, one in enumerate(ranked) if one.node != first.node]
    away = first.region != ranked[0].region

    def fate(pair: tuple[int, Candidate]) -> tuple[int, bool, bool, int]:
        place, one = pair
        return one.poor, bool(one.host) and one.host == first.host, away and one.region == first.region, place

    return min(rest, key=fate)[1] if rest else None


def has_room(node: NodeRecord, lost: bool = True) -> bool:
    """Return whether `node` may take one more child; what a parent refuses by, and what children choose by.

    Without `lost` the share that is kept in reserve does not count.
    """
    used = 1.0 if lost else 1.0 - RESERVE
    return (
        node.load < used and node.capacity > 0 and (not node.children_max or node.children < node.children_max * used)
    )


def pick_displaced(newcomer: NodeRecord, children: Iterable[NodeRecord], lost: bool = True) -> NodeId | None:
    """Return which child a parent without room had better send elsewhere, so that `newcomer` can take its place.

    It is one of a higher layer, so that edges do not keep an intermediate from the owner; or, for a newcomer that
    `lost` its parent and found no room anywhere, the most junior child of its own layer, if that is junior to it. So
    the child has more nodes to ask than the newcomer had. `None`: refuse. The child is asked to go elsewhere
    (Going-away), and is fed until it has, so it misses nothing either.
    """
    able = [
        one
        for one in children
        if one.layer > newcomer.layer or (lost and one.layer == newcomer.layer and is_senior(newcomer, one))
    ]
    last = max(able, key=lambda one: (one.layer, one.started_us, one.node), default=None)
    return NodeId(last.node) if last is not None else None


def is_senior(node: NodeRecord, other: NodeRecord) -> bool:
    """Return whether `node` comes before `other` in the order in which peers may feed each other."""
    return (node.started_us, node.node) < (other.started_us, other.node)


@dataclass(frozen=True, slots=True)
class _Cluster:
    """A cluster as `me` sees it when it wants `stream`."""

    me: NodeRecord
    stream: StreamName
    nodes: Mapping[str, NodeRecord]
    owner: str | None
    floor: int
    layered: bool
    lost: bool

    @classmethod
    def of(
        cls,
        me: NodeRecord,
        stream: StreamName,
        nodes: Iterable[NodeRecord],
        streams: Mapping[StreamName, StreamRecord],
        lost: bool,
    ) -> _Cluster:
        by_node = {node.node: node for node in nodes}
        record = streams.get(stream)
        owner = record.node if record is not None else None
        node = by_node.get(owner) if owner is not None else None
        floor = node.layer if node is not None and node.layer < me.layer else INGRESS_LAYER
        if node is not None and not node.relay_url:
            first = [one for one in by_node.values() if stream in one.streams and one.relay_url and one.node != me.node]
            floor = min((one.layer for one in first), default=LAYER_MAX)
        between = any(floor < one.layer < me.layer and one.relay_url and one.node != owner for one in by_node.values())
        return cls(me, stream, by_node, owner, floor, between, lost)

    def objection(self, node: NodeRecord) -> str | None:
        """Return why `me` cannot get the stream from `node` without a loop; `None` when it can."""
        if self.owner == self.me.node:
            return "this node has the source itself"
        if node.node == self.me.node:
            return "it is this node"
        if not node.relay_url:
            return "it tells no relay URL"
        if node.node == self.owner:
            return None
        if node.layer > self.me.layer:
            return f"it is in layer {node.layer}, above this node's {self.me.layer}"
        if node.layer == self.me.layer:
            return self._objection_to_peer(node)
        if self.stream in node.streams:
            return None
        if self.owner is None:
            return "it does not carry the stream, and who owns that is not known"
        return None if node.layer > self.floor else "it could not get the stream: it is no higher than the owner"

    def _objection_to_peer(self, node: NodeRecord) -> str | None:
        if node.layer == INGRESS_LAYER:
            carries = self.stream in node.streams
            return "it is an ingress as this node is" if carries else "it is an ingress without the stream"
        if self.stream not in node.streams:
            return "it is in this node's own layer and does not carry the stream"
        if not is_senior(node, self.me):
            return "it is in this node's own layer and started later"
        if node.layer == LAYER_MAX and not node.children_max:
            return "it is an edge that feeds no others"
        return None

    def order(self, node: NodeRecord, prefer: NodeId | None) -> tuple[float | str, ...]:
        """Return what candidates are sorted by; see `rank_parents` for the rules."""
        poor = self.poor(node)
        return (
            poor,
            not has_room(node),
            bool(poor) or node.node != prefer,
            *self._distance(node),
            node.region != self.me.region,
            not self._carries(node),
            node.depth,
            min(int(node.load * LOAD_STEPS), LOAD_STEPS),
            -_weight(self.me.node, node.node, node.capacity),
            node.node,
        )

    def _distance(self, node: NodeRecord) -> tuple[int, int]:
        if node.node == self.owner:
            return 2 if self.layered else 0, -node.layer
        return int(self._is_peer(node)), -node.layer

    def _is_peer(self, node: NodeRecord) -> bool:
        return node.layer == self.me.layer and node.node != self.owner

    def poor(self, node: NodeRecord) -> int:
        """Return how much speaks against a candidate."""
        return node.draining + (not has_room(node, self.lost))

    def _carries(self, node: NodeRecord) -> bool:
        return self.stream in node.streams

    def candidate(self, node: NodeRecord, prefer: NodeId | None) -> Candidate:
        """Return `node` as a candidate, with words for people."""
        owner = node.node == self.owner
        near = node.region == self.me.region
        peer = "a peer" if node.layer == self.me.layer else f"{node.role} in layer {node.layer}"
        parts = [
            "the stream's owner" if owner else peer,
            f"{'same' if near else 'other'} region{f' {node.region}' if node.region else ''}",
            "carries the stream" if owner or self._carries(node) else "does not carry the stream yet",
            f"load {node.load:.0%}",
        ]
        parts += ["the stream was moved here"] * (node.node == prefer)
        if not has_room(node):
            parts.append("full")
        elif not has_room(node, self.lost):
            parts.append("the room left is kept for those that lose their parent")
        parts += ["draining"] * node.draining
        return Candidate(
            NodeId(node.node),
            node.relay_url,
            ", ".join(parts),
            node.host,
            node.region,
            self.poor(node),
            self._distance(node),
            self._is_peer(node),
        )


def _weight(me: str, node: str, capacity: int) -> float:
    """Return the rendezvous weight of `node` for `me`: the winner of each pair depends on that pair alone."""
    digest = hashlib.blake2b(f"{me}\0{node}".encode(), digest_size=8).digest()
    unit = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52  # strictly between 0 and 1, exact as a double
    return -max(capacity, 1) / math.log(unit)
