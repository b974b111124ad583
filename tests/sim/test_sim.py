"""A simulated cluster keeps its promises however it grows and whatever dies."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.identifiers import NodeId
from headrace.registry.placement import EDGE_CHILDREN, has_room, rank_parents
from sim.cluster import CAM, OWNER, Sim
from sim.scenario import live


def test_thousand_edges() -> None:
    """A thousand edges on few intermediates: shallow, nobody without a parent, only children of the dead move."""
    result = live(1000, seed=7, kills=20, load_seconds=10)
    assert result.homeless == 0
    assert result.strangers_moved == 0
    assert result.depth_most <= 8
    assert result.depth_mean < 4
    assert result.fan_out_most <= EDGE_CHILDREN
    assert result.moves_most <= 100
    assert result.returned <= result.kills * result.moves_mean, "nobody goes back who was not driven past its layer"
    assert result.per_node < 5


def test_operations_for_each_node_do_not_grow() -> None:
    """What one node costs the store is the same in a cluster five times the size."""
    small, large = (live(size, seed=3, kills=4, load_seconds=10) for size in (400, 2000))
    assert large.per_node < small.per_node * 1.2
    assert large.deliveries <= small.deliveries + 1000


def test_same_seed_same_life() -> None:
    """A run is told again by its seed alone."""
    assert live(300, seed=5, kills=10, load_seconds=5) == live(300, seed=5, kills=10, load_seconds=5)


lives = st.lists(st.one_of(st.just("join"), st.just("mid"), st.integers(0, 50)), max_size=60)


@settings(max_examples=100, deadline=None)
@given(lives, st.integers(0, 1000), st.integers(1, 4), st.integers(1, 6))
def test_whatever_happens(events: list[str | int], seed: int, intermediates: int, capacity: int) -> None:
    """Never a loop, never beyond capacity, always a parent when one can be had, and only children of the dead move."""
    sim = Sim(seed, intermediates=intermediates, intermediate_capacity=capacity, ingress_capacity=2)
    for number, event in enumerate(events):
        before, returned = dict(sim.parents), sim.returned.total()
        gone: NodeId | None = None
        if event == "join":
            sim.join("edge", NodeId(f"edge-{number}"))
        elif event == "mid":
            sim.join("intermediate", NodeId(f"late-{number}"))
        else:
            assert isinstance(event, int)
            victims = sorted(name for name in sim.truth if name != OWNER)
            if victims:
                gone = victims[event % len(victims)]
                sim.kill(gone)
        sim.tick(1.0)
        sim.check()
        moved = {name for name, parent in before.items() if name in sim.parents and sim.parents[name] != parent}
        back = {name for name in moved if before[name] == OWNER and sim.parents[name] in sim.core}
        assert all(before[name] == gone for name in moved - sim.displaced - back)
        assert len(back) <= sim.returned.total() - returned + len(sim.displaced)
    for name in sorted(sim.homeless & sim.truth.keys()):
        assert sim.fetch(name, lost=True) or not _can_be_had(sim, name)


def test_all_go_back_to_their_layer_and_stay_there() -> None:
    """Every intermediate dies; edges ask the ingress, and go back one after the other when intermediates are there."""
    sim = Sim(1, intermediates=2)
    for number in range(40):
        sim.join("edge", NodeId(f"edge-{number}"))
    for number in range(2):
        sim.kill(NodeId(f"mid-{number}"))
    assert all(sim.route(name)[-1] == OWNER for name in sim.edges)
    assert not sim.homeless
    driven = len(sim.children[OWNER])
    for number in range(2):
        sim.join("intermediate", NodeId(f"mid-{number}"))
    most = 0
    for _ in range(60):
        before = sim.returned.total()
        sim.tick(1.0)
        sim.check()
        most = max(most, sim.returned.total() - before)
    assert sim.children[OWNER] <= set(sim.core)
    assert sim.returned.total() == driven, "each once"
    assert most <= driven / 2, "not all at once"


def _can_be_had(sim: Sim, name: NodeId) -> bool:
    """Return whether a node that knew everything would find a parent with room that gets the stream."""
    ranked = rank_parents(sim.truth[name], CAM, sim.truth.values(), sim.streams, lost=True)
    return any(has_room(sim.truth[one.node]) and sim.route(one.node)[-1] == OWNER for one in ranked)
