"""Nodes that join, carry one hot stream, and die, as far as choosing parents goes.

What a node knows of others is what they told last: all ingresses and intermediates, and of edges a random sample, as
the registry gives it. What a node refuses by is the truth. So choices are made on old records, as in life.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import msgspec

from headrace.identifiers import NodeId, StreamName
from headrace.registry.leases import EDGES_FOLLOWED, EDGES_SAMPLED
from headrace.registry.placement import EDGE_CHILDREN, Candidate, has_room, pick_displaced, rank_parents
from headrace.registry.records import LAYER_MAX, NodeRecord, StreamRecord
from headrace.session.aims import Aims
from sim.traffic import Traffic

CAM = StreamName("cam1")
OWNER = NodeId("ingress-0")
TRIES = 8
"""How often a node looks at a fresh sample before it counts as homeless."""


@dataclass
class Sim:
    """One cluster.

    Attributes:
        seed: everything random comes from it.
        truth: every living node as it is.
        told: as others know it.
        parents: who feeds whom; the owner has none.
        refusals: how often a parent had no room though its record said so.
        homeless: those that found no parent; they try again at each tick.
        displaced: those that were sent elsewhere so that a senior found room.
        returned: how often each node went back to its layer.
        homeless_seconds: how long they were that, all together.
    """

    seed: int
    intermediates: int = 8
    intermediate_capacity: int = 100
    ingress_capacity: int = 100
    edge_capacity: int = 1000
    regions: tuple[str, ...] = ("eu", "us")
    truth: dict[NodeId, NodeRecord] = field(default_factory=dict)
    told: dict[NodeId, NodeRecord] = field(default_factory=dict)
    parents: dict[NodeId, NodeId] = field(default_factory=dict)
    children: dict[NodeId, set[NodeId]] = field(default_factory=dict)
    refusals: int = 0
    homeless: set[NodeId] = field(default_factory=set)
    homeless_seconds: float = 0.0
    displaced: set[NodeId] = field(default_factory=set)
    returned: Counter[NodeId] = field(default_factory=Counter)
    aims: dict[NodeId, Aims] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.traffic = Traffic()
        self.now = 0.0
        self._born = 0
        self._core: list[NodeId] = []
        self._edges: list[NodeId] = []
        self._places: dict[NodeId, int] = {}
        self.streams = {CAM: StreamRecord(stream=CAM, node=OWNER, epoch=1, state="live")}
        self.join("ingress", OWNER)
        for number in range(self.intermediates):
            self.join("intermediate", NodeId(f"mid-{number}"))

    # -- what happens ------------------------------------------------------------------------------

    def join(self, role: str, name: NodeId) -> None:
        """One more node comes, and fetches the stream if it is an edge."""
        self._born += 1
        layer = {"ingress": 0, "intermediate": 1, "edge": LAYER_MAX}[role]
        capacity = {0: self.ingress_capacity, 1: self.intermediate_capacity, LAYER_MAX: self.edge_capacity}[layer]
        record = NodeRecord(
            node=name,
            role=role,
            relay_url=f"ws://{name}/relay",
            region=self.random.choice(self.regions),
            layer=layer,
            capacity=capacity,
            children_max=EDGE_CHILDREN if role == "edge" else 0,
            streams=(CAM,) if role == "ingress" else (),
            started_us=self._born,
        )
        self.truth[name] = self.told[name] = record
        self.children[name] = set()
        if role == "edge":
            self._places[name] = len(self._edges)
            self._edges.append(name)
        else:
            self._core.append(name)
        self.traffic.joined(record, self)
        if role == "edge":
            self.fetch(name)

    def kill(self, name: NodeId) -> int:
        """A node dies; return how many had to move."""
        self._remove(name)
        orphans = self.children.pop(name)
        self.leave_parent(name)
        for orphan in orphans:
            del self.parents[orphan]
        for orphan in self.random.sample(sorted(orphans), len(orphans)):
            if orphan not in self.parents:  # another orphan may have made it fetch already
                self.fetch(orphan, lost=True)
        return len(orphans)

    def set_viewers(self, name: NodeId, share: float) -> None:
        """So much of an edge's capacity is taken by viewers."""
        self._become(name, load=round(share, 3))

    def tick(self, seconds: float) -> None:
        """Let time pass: what waited is told, leases are renewed."""
        self.now += seconds
        self.homeless &= self.truth.keys()
        for name in sorted(self.homeless):
            self.homeless_seconds += seconds
            self.fetch(name, lost=True)
        for name in [name for name, parent in sorted(self.parents.items()) if self._may_return(name, parent)]:
            self.return_to_layer(name)
        self.traffic.tick(seconds, self)

    # -- choosing ----------------------------------------------------------------------------------

    def fetch(self, name: NodeId, lost: bool = False) -> bool:
        """Find a parent; return whether there is one."""
        self.homeless.discard(name)
        avoid: set[NodeId] = set()
        for _ in range(TRIES):
            for candidate in self.rank(name, avoid, lost):
                if candidate.node in self.truth and self._subscribe(name, candidate.node):
                    return True
                avoid.add(candidate.node)
                self.refusals += 1
            self.traffic.refreshed(self)
        if self._displace(name, lost):
            return True
        self.homeless.add(name)
        return False

    def return_to_layer(self, name: NodeId) -> None:
        """Go to a parent that is nearer than the one there is, if it has been for long enough."""
        ranked = self.rank(name, set(), lost=False)
        present = next((one for one in ranked if one.node == self.parents[name]), None)
        aims = self.aims.setdefault(name, Aims())
        if present is None or not aims.is_time_to_return(present, ranked[0], self.now, self.random.random()):
            return
        best = ranked[0].node
        aims.begin(best)
        if best in self.truth and self._subscribe(name, best):
            aims.reached(best, self.now)
            self.returned[name] += 1
        else:
            aims.missed(self.now, self.random.random())

    def _may_return(self, name: NodeId, parent: NodeId) -> bool:
        """Return whether a node is fed by the owner though there is a layer between; looking closer takes long."""
        return parent == OWNER and self.truth[name].layer == LAYER_MAX and name not in self.homeless

    def rank(self, name: NodeId, avoid: set[NodeId], lost: bool) -> list[Candidate]:
        """Return what the node makes of what it knows; it knows itself as it is."""
        me = self.truth[name]
        known = [self.told[one] for one in self._core if one in self.told]
        if me.layer == LAYER_MAX:
            known += [self.told[one] for one in self.sample() if one != name]
        return rank_parents(me, CAM, known, self.streams, avoid, lost=lost)

    def sample(self) -> list[NodeId]:
        """Return the edges that a node knows of."""
        if len(self._edges) <= EDGES_FOLLOWED:
            return self._edges
        return self.random.sample(self._edges, EDGES_SAMPLED)

    def _subscribe(self, name: NodeId, parent: NodeId) -> bool:
        """Take `parent` if it has room, and has the stream or can fetch it itself."""
        if not has_room(self.truth[parent]):
            return False
        if parent != OWNER and parent not in self.parents and not self.fetch(parent, bool(self.children[parent])):
            return False
        if not has_room(self.truth[parent]):  # who made room for the parent may have come here
            return False
        self.leave_parent(name)  # make before break: until here it was fed by the one before, if there is one
        self.parents[name] = parent
        self.children[parent].add(name)
        self._counted(parent)
        self._carries(name)
        return True

    def _displace(self, name: NodeId, lost: bool) -> bool:
        """Take the place of a junior at a parent without room; the junior goes elsewhere."""
        for candidate in self.rank(name, set(), lost):
            feeds = [self.truth[one] for one in self.children.get(candidate.node, ())]
            junior = pick_displaced(self.truth[name], feeds, lost)
            if junior is not None and (candidate.node == OWNER or candidate.node in self.parents):
                self.displaced.add(junior)
                self.leave_parent(junior)
                taken = self._subscribe(name, candidate.node)
                self.fetch(junior, lost=True)
                return taken
        return False

    def leave_parent(self, name: NodeId) -> None:
        """The node fetches from nobody."""
        parent = self.parents.pop(name, None)
        if parent in self.children:
            self.children[parent].discard(name)
            self._counted(parent)

    def _carries(self, name: NodeId) -> None:
        self._become(name, streams=(CAM,), depth=min(self.depth(name), 64))

    def _counted(self, name: NodeId) -> None:
        children = len(self.children[name])
        record = self.truth[name]
        if record.layer == LAYER_MAX:
            self._become(name, children=children)
        else:
            self._become(name, children=children, load=round(children / record.capacity, 3))

    def _become(self, name: NodeId, **changes: object) -> None:
        self.truth[name] = msgspec.structs.replace(self.truth[name], **changes)
        self.traffic.changed(name, self)

    def _remove(self, name: NodeId) -> None:
        del self.truth[name]
        del self.told[name]
        if name in self._places:
            place, last = self._places.pop(name), self._edges.pop()
            if last != name:
                self._edges[place], self._places[last] = last, place
        else:
            self._core.remove(name)

    # -- what came of it ---------------------------------------------------------------------------

    @property
    def edges(self) -> list[NodeId]:
        """The living edges."""
        return self._edges

    @property
    def core(self) -> list[NodeId]:
        """The living ingresses and intermediates."""
        return self._core

    def route(self, name: NodeId) -> list[NodeId]:
        """Return the nodes from `name` up to the owner.

        Raises:
            AssertionError: when they form a loop.
        """
        route = [name]
        while route[-1] in self.parents:
            route.append(self.parents[route[-1]])
            assert len(route) <= len(self.truth), f"a loop: {route[:10]}"
        return route

    def depth(self, name: NodeId) -> int:
        """Return how many nodes the stream passes before `name`."""
        return len(self.route(name)) - 1

    def check(self) -> None:
        """Hold everything that must always hold against what is."""
        for name in self.truth:
            route = self.route(name)
            if name in self.parents and not self.homeless & set(route):
                assert route[-1] == OWNER
        for name, children in self.children.items():
            record = self.truth[name]
            limit = record.children_max or record.capacity
            assert len(children) <= limit, f"{name} has {len(children)} children, its limit is {limit}"
