"""A node's place among others: whom it may fetch from, whom it feeds, and whether it was asked to leave."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from typing import Protocol

import msgspec

from headrace.clock import Clock
from headrace.identifiers import NodeId, StreamName
from headrace.registry.claimants import is_leaving, preferred_parent
from headrace.registry.desired import DesiredEntry, DesiredKey, DesiredKind
from headrace.registry.placement import INGRESS_LAYER, Candidate, has_room, pick_displaced, rank_parents
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.session.link import Link
from headrace.session.upstreams import offering
from headrace.wire.relay import Alternative

REFRESH_SECONDS = 5.0
"""How often the registry is read again, at most, while all the parents that are known have no room."""

MOVE_SECONDS = 30.0
"""How long a child that is sent elsewhere is promised to be fed; as long as it stays, it is fed."""

OFFERED = (-1, 0)
"""The distance of a peer that offers the stream over its own link: none is nearer."""

Refusal = tuple[str, str]
"""Code and reason of a subscription that is not taken."""


class Cluster(Protocol):
    """The part of a registry that a node needs."""

    @property
    def nodes(self) -> Mapping[NodeId, NodeRecord]: ...

    @property
    def streams(self) -> Mapping[StreamName, StreamRecord]: ...

    @property
    def desired(self) -> Mapping[DesiredKey, DesiredEntry]: ...

    @property
    def watchers(self) -> set[Callable[[], None]]: ...

    def keep_node(self, record: NodeRecord) -> None: ...

    def refresh(self) -> None: ...


def moved_to(stream: StreamName, child: NodeId, cluster: Cluster) -> NodeId | None:
    """Return where `stream` was moved to for `child`.

    A move of a stream for all to an ingress tells who runs its source, and not whom everybody is to ask.
    """
    parent = preferred_parent(stream, child, cluster.desired)
    if parent is None or DesiredKey(DesiredKind.MOVE, f"{stream}@{child}") in cluster.desired:
        return parent
    node = cluster.nodes.get(parent)
    return parent if node is not None and node.layer != INGRESS_LAYER else None


class Placing:
    """What a node makes of the last known view of its cluster.

    Args:
        me: returns the node's own record as it was last announced.
        cluster: the view.
        links: returns the links that are open.
    """

    def __init__(
        self, me: Callable[[], NodeRecord], cluster: Cluster, links: Callable[[], Iterable[Link]], clock: Clock
    ) -> None:
        self._me = me
        self._cluster = cluster
        self._links = links
        self._clock = clock
        self._refreshed_at = clock.monotonic() - REFRESH_SECONDS

    def rank(self, stream: StreamName, avoid: Collection[NodeId], lost: bool) -> list[Candidate]:
        """Return whom to fetch `stream` from, best first: peers that offer it over a link that is open, then others."""
        peers = [node for node in offering(self._links(), stream) if node not in avoid]
        nearest = [Candidate(node, "", "offers the stream", distance=OFFERED) for node in peers]
        cluster, preferred = self._cluster, self.preferred(stream)
        known = rank_parents(self._me(), stream, cluster.nodes.values(), cluster.streams, avoid, preferred, lost=lost)
        return nearest + [candidate for candidate in known if candidate.node not in peers]

    def carriers(self, stream: StreamName, parent: NodeId | None) -> list[Candidate]:
        """Return who carries `stream` beside its owner and `parent`, the oldest first."""
        aside = {self._me().node, self.owner(stream), parent}
        found = [
            node
            for node in self._cluster.nodes.values()
            if stream in node.streams and node.relay_url and node.node not in aside
        ]
        found.sort(key=lambda node: (node.started_us, node.node))
        return [Candidate(NodeId(node.node), node.relay_url, "carries the stream") for node in found]

    def known(self) -> Set[str]:
        """Return the streams that somebody has or offers: all that `rank` could know candidates for."""
        carried = (node.streams for node in self._cluster.nodes.values())
        return set(self._cluster.streams).union(*carried, *(link.offers for link in self._links()))

    def preferred(self, stream: StreamName) -> NodeId | None:
        """Return where `stream` was moved to for this node; see `moved_to`."""
        return moved_to(stream, NodeId(self._me().node), self._cluster)

    def owner(self, stream: StreamName) -> NodeId | None:
        """Return the node that has the stream's source, as far as is known."""
        record = self._cluster.streams.get(stream)
        return None if record is None else NodeId(record.node)

    def is_draining(self, node: NodeId) -> bool:
        """Return whether `node` says of itself that it goes away."""
        record = self._cluster.nodes.get(node)
        return record is not None and record.draining

    @property
    def is_asked_to_leave(self) -> bool:
        """Whether somebody asked this node to drain."""
        return is_leaving(msgspec.structs.replace(self._me(), draining=False), self._cluster.desired)

    def look_for_room(self) -> None:
        """Have the registry read again: every parent that is known has none."""
        now = self._clock.monotonic()
        if now - self._refreshed_at >= REFRESH_SECONDS:
            self._refreshed_at = now
            self._cluster.refresh()

    def alternatives(self) -> list[Alternative]:
        """Return the nodes that could do what this one does: those of its layer, else those of lower ones."""
        me = self._me()
        others = [
            node
            for node in self._cluster.nodes.values()
            if node.layer <= me.layer and node.node != me.node and node.relay_url and not node.draining
        ]
        equals = [node for node in others if node.layer == me.layer]
        return [Alternative(node=node.node, relay_url=node.relay_url) for node in equals or others]

    def admit(
        self, me: NodeRecord, link: Link, fetched_from: NodeId | None, children: Collection[Link], lost: bool
    ) -> Refusal | None:
        """Return why a peer is not to be fed, `None` when it is.

        Without room a child is sent elsewhere for it, if one has more nodes to ask than the newcomer.

        Args:
            me: the node's own record, as busy as it is at this moment.
            link: to the peer.
            fetched_from: where this node itself gets the stream.
            children: links that feed somebody now.
            lost: the peer had the stream from another parent.
        """
        if fetched_from is not None and fetched_from == link.peer:
            return "loop", "this node fetches the stream from the one that asks"
        if link in children:
            me = msgspec.structs.replace(me, children=max(0, me.children - 1))
        if has_room(me) or self._make_room(link, children, lost):
            return None
        return "full", f"{me.node} has no room: {me.children} children, load {me.load:.0%}"

    def _make_room(self, newcomer: Link, children: Collection[Link], lost: bool) -> bool:
        nodes = self._cluster.nodes
        record = nodes.get(newcomer.peer) if newcomer.peer is not None else None
        alternatives = self.alternatives()
        if record is None or not alternatives:
            return False
        busy = [link for link in children if link is not newcomer and not link.sent_away]
        able = {link.peer: link for link in busy if link.peer is not None and link.peer in nodes}
        displaced = pick_displaced(record, [nodes[peer] for peer in able], lost)
        if displaced is None:
            return False
        able[displaced].going_away(alternatives, int(MOVE_SECONDS * 1000))
        return True
