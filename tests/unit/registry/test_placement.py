"""Choosing a parent: rules one by one, then what holds in every cluster."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.identifiers import NodeId, StreamName
from headrace.registry.placement import Candidate, explain_parents, has_room, pick_displaced, pick_standby, rank_parents
from headrace.registry.records import LAYER_MAX, NodeRecord, StreamRecord

CAM = StreamName("cam1")
OTHER = StreamName("cam2")


def make(name: str, layer: int, **more: object) -> NodeRecord:
    role = "ingress" if layer == 0 else "edge" if layer == LAYER_MAX else "intermediate"
    return NodeRecord(node=name, role=role, layer=layer, relay_url=f"ws://{name}/relay", **more)  # type: ignore[arg-type]


def owned(owner: str, name: StreamName = CAM) -> dict[StreamName, StreamRecord]:
    return {name: StreamRecord(stream=name, node=owner, epoch=1, state="live")}


def names(candidates: Iterable[Candidate]) -> list[str]:
    return [candidate.node for candidate in candidates]


INGRESS = make("in", 0)
EDGE = make("e1", LAYER_MAX)


def rank(*nodes: NodeRecord, me: NodeRecord = EDGE, avoid: Iterable[str] = ()) -> list[str]:
    return names(rank_parents(me, CAM, [INGRESS, *nodes], owned("in"), {NodeId(name) for name in avoid}))


def test_highest_layer_first_owner_last() -> None:
    """An edge asks the highest layer of intermediates, then lower ones, then the owner."""
    assert rank(make("m1", 1), make("m2", 2)) == ["m2", "m1", "in"]


def test_first_layer_asks_the_owner() -> None:
    """The first layer above the ingress has only the owner, never its neighbours."""
    me = make("m1", 1)
    assert rank(make("m1b", 1), make("m2", 2), make("e2", LAYER_MAX), me=me) == ["in"]


def test_owner_alone_is_enough() -> None:
    """Without intermediates an edge asks the ingress itself."""
    assert rank() == ["in"]


def test_other_ingresses_are_no_parents() -> None:
    """An ingress carries its own streams only, unless it says otherwise."""
    assert rank(make("in2", 0)) == ["in"]
    assert rank(make("in2", 0, streams=(CAM,))) == ["in2", "in"]


def test_ingress_asks_another_ingress_for_its_stream() -> None:
    """A node may ask the owner even in its own layer: the owner asks nobody."""
    assert rank(make("m1", 1), me=make("in2", 0)) == ["in"]


def test_owner_has_no_parents() -> None:
    """Who has the source fetches it from nobody."""
    assert rank(make("m1", 1), me=INGRESS) == []


def test_never_itself_nor_whom_to_avoid_nor_whom_nobody_reaches() -> None:
    """Some are no candidates however well they would do."""
    hidden = msgspec.structs.replace(make("hidden", 2), relay_url="")
    me = make("m3", 3)
    assert rank(me, make("bad", 1), hidden, make("m1", 1), me=me, avoid=["bad"]) == ["m1", "in"]


def test_region_then_carrying_then_load() -> None:
    """Within a layer: same region, carries the stream, less load."""
    me = msgspec.structs.replace(EDGE, region="eu")
    nodes = [
        make("far", 1, region="us", streams=(CAM,)),
        make("busy", 1, region="eu", load=0.85),
        make("idle", 1, region="eu", load=0.1),
        make("carries", 1, region="eu", load=0.8, streams=(CAM,)),
        make("other", 1, region="eu", load=0.3, streams=(OTHER,)),
    ]
    assert rank(*nodes, me=me) == ["carries", "idle", "other", "busy", "far", "in"]


def test_draining_and_full_come_last() -> None:
    """A healthy owner is asked before a draining or full intermediate; those are still better than nothing."""
    assert rank(make("goes", 1, draining=True, streams=(CAM,))) == ["in", "goes"]
    assert rank(make("full", 1, load=1.0)) == ["in", "full"]
    assert rank(make("closed", 1, capacity=0)) == ["in", "closed"]
    both = make("both", 2, draining=True, load=1.5)
    assert rank(make("full", 1, load=1.0), both, make("fine", 1), avoid=["in"]) == ["fine", "full", "both"]


def test_stream_without_a_record() -> None:
    """Nobody is asked for a stream that nobody knows; who still carries it is asked when its owner is gone."""
    nodes = [INGRESS, make("m1", 1), make("m2", 1, streams=(CAM,)), make("e2", LAYER_MAX, streams=(CAM,))]
    assert rank_parents(EDGE, OTHER, nodes, owned("in")) == []
    assert names(rank_parents(EDGE, CAM, nodes, {})) == ["m2"]


def test_owner_whose_node_is_unknown() -> None:
    """The stream's record alone makes its owner no candidate: nobody knows where it is."""
    assert names(rank_parents(EDGE, CAM, [make("m1", 1)], owned("gone"))) == ["m1"]


def test_why_is_for_people() -> None:
    """Each candidate says in words what was seen."""
    me = msgspec.structs.replace(EDGE, region="eu")
    nodes = [INGRESS, make("m1", 1, region="eu", load=1.2, draining=True, streams=(CAM,))]
    ranked = {one.node: one for one in rank_parents(me, CAM, nodes, owned("in"))}
    assert ranked[NodeId("m1")] == Candidate(
        NodeId("m1"),
        "ws://m1/relay",
        "intermediate in layer 1, same region eu, carries the stream, load 120%, full, draining",
        region="eu",
        poor=2,
        distance=(0, -1),
    )
    assert ranked[NodeId("in")].why == "the stream's owner, other region, carries the stream, load 0%"


def test_equals_share_the_children() -> None:
    """Children spread over equal parents, by their capacity."""
    parents = [make("m1", 1), make("m2", 1), make("m3", 1, capacity=2000)]
    first = [
        names(rank_parents(make(f"edge-{number}", LAYER_MAX), CAM, [INGRESS, *parents], owned("in")))[0]
        for number in range(2000)
    ]
    assert {name: round(first.count(name) / 500) for name in ("m1", "m2", "m3")} == {"m1": 1, "m2": 1, "m3": 2}


@pytest.mark.parametrize("gone", range(8))
def test_one_that_goes_moves_its_own_children_only(gone: int) -> None:
    """When one of equal parents goes, or comes, only the children that it had, or has, have another."""
    parents = [make(f"m{number}", 1) for number in range(8)]
    moved = 0
    for number in range(500):
        me = make(f"edge-{number}", LAYER_MAX)
        before = names(rank_parents(me, CAM, [INGRESS, *parents], owned("in")))
        after = names(rank_parents(me, CAM, [INGRESS, *parents[:gone], *parents[gone + 1 :]], owned("in")))
        assert after == [name for name in before if name != f"m{gone}"]
        moved += before[0] != after[0]
    assert 20 < moved < 125


def peer(name: str, started: int, **more: object) -> NodeRecord:
    return make(name, LAYER_MAX, started_us=started, **{"children_max": 8, "streams": (CAM,), **more})


def test_peers_when_the_layers_below_are_full() -> None:
    """An edge that finds the intermediates full asks its seniors, the shallow ones first, before the owner."""
    me = make("e9", LAYER_MAX, started_us=9)
    full = make("m1", 1, load=1.0, streams=(CAM,))
    peers = [peer("deep", 1, depth=4), peer("flat", 2, depth=2), peer("junior", 10), peer("full", 3, children=8)]
    assert rank(full, *peers, me=me) == ["flat", "deep", "in", "m1", "full"]
    assert rank(make("m1", 1), *peers, me=me)[0] == "m1"


def test_owner_before_peers_without_layers_between() -> None:
    """Where there is nothing but an ingress and edges, it feeds as many as it can; then they feed each other."""
    me, senior = make("e9", LAYER_MAX, started_us=9), peer("senior", 1)
    assert rank(senior, me=me) == ["in", "senior"]
    busy = msgspec.structs.replace(INGRESS, load=0.9)
    assert names(rank_parents(me, CAM, [busy, senior], owned("in"))) == ["senior", "in"]


def test_edges_that_feed_nobody_or_carry_nothing_are_no_peers() -> None:
    """A peer says how many it feeds, and has the stream already."""
    me = make("e9", LAYER_MAX, started_us=9)
    assert rank(peer("silent", 1, children_max=0), peer("cold", 1, streams=()), me=me) == ["in"]


def test_reserve_is_for_those_that_lost_their_parent() -> None:
    """The last eighth of a node's room is not for who comes new, unless there is nothing else."""
    nodes = [INGRESS, make("scarce", 2, load=0.9, streams=(CAM,)), make("idle", 1)]
    assert names(rank_parents(EDGE, CAM, nodes, owned("in"))) == ["idle", "in", "scarce"]
    assert names(rank_parents(EDGE, CAM, nodes, owned("in"), lost=True)) == ["scarce", "idle", "in"]


def test_moved_streams_come_from_where_they_were_moved() -> None:
    """`prefer` comes first while it can, also an owner that would be last."""
    nodes = [INGRESS, make("m1", 1), make("m2", 2), make("goes", 1, draining=True)]
    for prefer, first in (("m1", "m1"), ("in", "in"), ("goes", "m2"), ("unknown", "m2")):
        assert names(rank_parents(EDGE, CAM, nodes, owned("in"), prefer=NodeId(prefer)))[0] == first


def test_standby_does_not_share_the_fate_of_the_parent() -> None:
    """The standby is on another host if it can be; being well counts more than that."""

    def candidate(name: str, host: str, poor: int = 0, region: str = "eu") -> Candidate:
        return Candidate(NodeId(name), "", "", host, region, poor)

    a, b, c = candidate("a", "h1"), candidate("b", "h1"), candidate("c", "h2")
    assert pick_standby([a, b, c]) is c
    assert pick_standby([a, b, candidate("c", "h2", poor=1)]) is b
    assert pick_standby([c, a, b], NodeId("a")) is c
    assert pick_standby([a]) is None
    assert pick_standby([]) is None
    far = candidate("far", "h9", region="us")
    assert pick_standby([a, candidate("near", "h3"), far, candidate("us2", "h8", region="us")], NodeId("far")) is a


def test_who_gives_its_place_to_a_senior() -> None:
    """The most junior child of the newcomer's layer, if it is junior to the newcomer; else nobody."""
    senior, late = peer("senior", 2), make("m9", 1, started_us=9)
    assert pick_displaced(senior, [peer("a", 5), peer("b", 7), peer("c", 1), late]) == "b"
    assert pick_displaced(senior, [peer("b", 7), late], lost=False) is None
    assert pick_displaced(senior, [peer("c", 1), late]) is None
    assert pick_displaced(late, [peer("c", 1), make("m1", 1)], lost=False) == "c"


def test_an_owner_that_nobody_can_dial_is_reached_by_those_it_dials() -> None:
    """They say that they carry the stream; layers above them pass it on, and those beside them cannot have it."""
    site = msgspec.structs.replace(INGRESS, relay_url="")
    nodes = [site, make("gate", 1, streams=(CAM,)), make("other", 1, streams=(OTHER,)), make("upper", 2)]
    assert names(rank_parents(EDGE, CAM, nodes, owned("in"))) == ["upper", "gate"]
    assert names(rank_parents(make("upper", 2), CAM, nodes, owned("in"))) == ["gate"]
    assert names(rank_parents(make("gate", 1, streams=(CAM,)), CAM, nodes, owned("in"))) == []
    away = [site, make("gate", 1), make("upper", 2)]
    assert names(rank_parents(EDGE, CAM, away, owned("in"))) == [], "nobody was offered it yet"


def test_everything_is_explained() -> None:
    """Each node has its place, or the reason why it has none."""
    me = make("e5", LAYER_MAX, started_us=5)
    nodes = [
        *(me, INGRESS, make("in2", 0), make("m1", 1), make("tried", 1), peer("junior", 6), peer("senior", 1)),
        msgspec.structs.replace(make("hidden", 1), relay_url=""),
    ]
    verdicts = {
        one.node: (one.place, one.why) for one in explain_parents(me, CAM, nodes, owned("in"), {NodeId("tried")})
    }
    places = {name: place for name, (place, _) in verdicts.items() if place is not None}
    assert places == {"m1": 0, "senior": 1, "in": 2}
    reasons = {name: why for name, (place, why) in verdicts.items() if place is None}
    assert reasons == {
        "e5": "it is this node",
        "in2": "it could not get the stream: it is no higher than the owner",
        "tried": "it failed a moment ago, or refused",
        "junior": "it is in this node's own layer and started later",
        "hidden": "it tells no relay URL",
    }


regions = st.sampled_from(["", "eu", "us"])
node_records = st.builds(
    NodeRecord,
    node=st.sampled_from([f"n{number}" for number in range(12)]),
    role=st.just("intermediate"),
    relay_url=st.sampled_from(["ws://host/relay", "ws://host/relay", ""]),
    region=regions,
    layer=st.sampled_from([0, 0, 1, 2, 3, LAYER_MAX, LAYER_MAX]),
    capacity=st.sampled_from([0, 1, 1000, 10_000_000]),
    load=st.floats(0, 2),
    streams=st.sampled_from([(), (CAM,), (OTHER,)]),
    draining=st.booleans(),
    children=st.sampled_from([0, 7, 8]),
    children_max=st.sampled_from([0, 8]),
    started_us=st.integers(0, 3),
    host=st.sampled_from(["", "h1", "h2"]),
    depth=st.integers(0, 4),
)
clusters = st.lists(node_records, min_size=1, max_size=12, unique_by=lambda record: record.node)


@given(clusters, st.data())
def test_no_choice_of_parents_makes_a_loop(cluster: list[NodeRecord], data: st.DataObject) -> None:
    """Whichever candidate each node takes, following parents ends: with the owner, or with one that has none."""
    owner = data.draw(st.sampled_from(cluster)).node
    parents = {}
    for me in cluster:
        candidates = rank_parents(me, CAM, cluster, owned(owner))
        if candidates:
            parents[me.node] = data.draw(st.sampled_from(candidates)).node
    for start in cluster:
        at: str | None = start.node
        for _ in cluster:
            at = parents.get(NodeId(at)) if at is not None else None
        assert at is None


@given(clusters, st.data())
def test_there_is_a_parent_when_one_can_be_had(cluster: list[NodeRecord], data: st.DataObject) -> None:
    """Everybody but the owner has the owner as a candidate while it can be reached, whatever state all are in."""
    owner = data.draw(st.sampled_from(cluster))
    for me in cluster:
        ranked = names(rank_parents(me, CAM, cluster, owned(owner.node)))
        assert me.node not in ranked
        assert len(set(ranked)) == len(ranked)
        assert (owner.node in ranked) == bool(owner.relay_url and me.node != owner.node)


@given(clusters, st.data())
def test_draining_or_full_only_when_nothing_else(cluster: list[NodeRecord], data: st.DataObject) -> None:
    """The first candidate drains or is full only if all of them do."""
    owner = data.draw(st.sampled_from(cluster)).node
    by_name = {record.node: record for record in cluster}
    for me in cluster:
        states = [
            by_name[name].draining or not has_room(by_name[name], lost=False)
            for name in names(rank_parents(me, CAM, cluster, owned(owner)))
        ]
        assert states == sorted(states)


@given(clusters, st.data())
def test_order_depends_on_nothing_but_the_records(cluster: list[NodeRecord], data: st.DataObject) -> None:
    """The order in which nodes are listed plays no part."""
    me, owner = data.draw(st.sampled_from(cluster)), data.draw(st.sampled_from(cluster))
    shuffled = data.draw(st.permutations(cluster))
    assert rank_parents(me, CAM, cluster, owned(owner.node)) == rank_parents(me, CAM, shuffled, owned(owner.node))


@given(clusters, st.data())
def test_losing_one_candidate_leaves_the_others_as_they_were(cluster: list[NodeRecord], data: st.DataObject) -> None:
    """Avoiding one node changes nothing about the rest, so failover goes to the standby that was known."""
    me, owner = data.draw(st.sampled_from(cluster)), data.draw(st.sampled_from(cluster))
    ranked = names(rank_parents(me, CAM, cluster, owned(owner.node)))
    for lost in ranked:
        rest = names(rank_parents(me, CAM, cluster, owned(owner.node), {NodeId(lost)}))
        assert rest == [name for name in ranked if name != lost]
