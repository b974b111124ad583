"""A cluster's life: it grows, its viewers come and go, nodes die and come back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from headrace.identifiers import NodeId
from sim.cluster import OWNER, Sim

JOINS_PER_SECOND = 50
LOAD_SECONDS = 60
CHANGING_SHARE = 0.1
"""The share of edges whose viewers come or go in a second."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one life. Operations are a second, in the minute in which viewers come and go and nobody dies."""

    edges: int
    depth_most: int
    depth_mean: float
    fan_out_most: int
    kills: int
    moves_mean: float
    moves_most: int
    strangers_moved: int
    displaced: int
    returned: int
    homeless: int
    homeless_seconds: float
    refusals_per_join: float
    told_per_death: float
    renewals: float
    puts: float
    reads: float
    deliveries: float
    delivered_mbytes: float

    @property
    def per_node(self) -> float:
        """Return the operations that one node costs the store, a second."""
        return (self.renewals + self.puts + self.reads) / self.edges


def live(edges: int, seed: int, kills: int = 40, load_seconds: int = LOAD_SECONDS) -> Result:
    """Let a cluster grow to `edges`, and live; everything that must hold is checked on the way."""
    sim = Sim(seed)
    grow(sim, edges)
    joins, refusals = edges, sim.refusals
    sim.check()
    shift_load(sim, load_seconds)
    traffic = sim.traffic
    rates = {name: traffic.per_second(name) for name in ("renewal", "put", "read", "delivery")}
    mbytes = traffic.delivered_bytes / traffic.seconds / 1e6
    traffic.begin()
    moves, strangers = kill_some(sim, kills)
    sim.check()
    depths = [sim.depth(name) for name in sim.edges if name in sim.parents]
    return Result(
        edges=edges,
        depth_most=max(depths),
        depth_mean=sum(depths) / len(depths),
        fan_out_most=max(len(sim.children[name]) for name in sim.edges),
        kills=kills,
        moves_mean=sum(moves) / max(len(moves), 1),
        moves_most=max(moves, default=0),
        strangers_moved=strangers,
        displaced=len(sim.displaced),
        returned=sim.returned.total(),
        homeless=len(sim.homeless),
        homeless_seconds=sim.homeless_seconds,
        refusals_per_join=refusals / joins,
        told_per_death=traffic.operations["delivery"] / max(kills, 1),
        renewals=rates["renewal"],
        puts=rates["put"],
        reads=rates["read"],
        deliveries=rates["delivery"],
        delivered_mbytes=mbytes,
    )


def grow(sim: Sim, edges: int) -> None:
    """Edges come, some at a time."""
    for number in range(edges):
        sim.join("edge", NodeId(f"edge-{number}"))
        if number % JOINS_PER_SECOND == 0:
            sim.tick(1.0)


def shift_load(sim: Sim, seconds: int) -> None:
    """Viewers come and go everywhere."""
    sim.tick(60.0)
    sim.traffic.begin()
    for _ in range(seconds):
        for name in sim.random.sample(sim.edges, round(len(sim.edges) * CHANGING_SHARE)):
            sim.set_viewers(name, sim.random.random() * 0.8)
        sim.tick(1.0)


def kill_some(sim: Sim, kills: int) -> tuple[list[int], int]:
    """Nodes die, an intermediate now and then, and come back later; return moves of each, and who moved without need.

    Who moved without need: anybody whose parent neither died nor had anything to do with it, but for those that went
    back to their layer.
    """
    moves, strangers = [], 0
    gone: list[tuple[str, NodeId]] = []
    for number in range(kills):
        victim = _victim(sim, number)
        before, returned = dict(sim.parents), Counter(sim.returned)
        gone.append((sim.truth[victim].role, victim))
        moves.append(sim.kill(victim))
        sim.tick(1.0)
        strangers += _strangers(before, sim, victim, returned)
        if len(gone) > 1:
            role, name = gone.pop(0)
            before, returned = dict(sim.parents), Counter(sim.returned)
            sim.join(role, name)
            sim.tick(5.0)
            strangers += _strangers(before, sim, name, returned)
    return moves, strangers


def _victim(sim: Sim, number: int) -> NodeId:
    if number % 4 == 0:
        return sim.random.choice([name for name in sim.core if name != OWNER])
    feeding = [name for name in sim.edges if sim.children[name]]
    return sim.random.choice(feeding or sim.edges)


def _strangers(before: dict[NodeId, NodeId], sim: Sim, victim: NodeId, returned: Counter[NodeId]) -> int:
    expected = {victim} | sim.displaced | (sim.returned - returned).keys()
    moved = Counter(
        name
        for name, parent in before.items()
        if parent != victim and name not in expected and sim.parents.get(name, parent) != parent
    )
    return sum(moved.values())
