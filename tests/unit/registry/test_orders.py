"""Desired records: what is believed of one that somebody else wrote, and who carries it out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.identifiers import NodeId, StreamName
from headrace.registry.claimants import (
    preferred_parent,
    rank_claimants,
    should_hand_over,
    turn_seconds,
)
from headrace.registry.desired import (
    DESIRED_MAX_BYTES,
    OPTIONS_MAX,
    Desired,
    DesiredDrain,
    DesiredEntry,
    DesiredKey,
    DesiredKind,
    DesiredMove,
    DesiredSource,
    DesiredTransfer,
    decode_desired,
    desired_key,
    encode_desired,
    parse_key,
)
from headrace.registry.records import InvalidRecord, NodeRecord
from headrace.registry.sealing import Uri, Vault

VAULT = Vault(["secret"])
URI = Uri("rtsp://u:p@h/1")
SOURCE = DesiredSource(stream="site7/gate", uris=(URI,), region="eu", options={"stall": "5"})
KEY = desired_key(SOURCE)
RECORDS: list[Desired] = [
    SOURCE,
    DesiredDrain(node="edge-1", by="ops", since_us=7),
    DesiredMove(stream="cam1", parent="mid-1", child="edge-1"),
    DesiredMove(stream="cam1", parent="mid-1"),
    DesiredTransfer(id="0b5c-1", kind="pull", uri=URI, local_name="cam1", remote_name="Kamera ü"),
]


@pytest.mark.parametrize("record", RECORDS)
def test_round_trip(record: Desired) -> None:
    """What is written is read, under its own key only."""
    key = desired_key(record)
    stored = b"17 " + encode_desired(record, VAULT)
    assert decode_desired(stored, key, VAULT) == DesiredEntry(record, 17, b"")
    assert parse_key(str(key)) == key
    with pytest.raises(InvalidRecord):
        decode_desired(stored, DesiredKey(key.kind, "other"), VAULT)


@pytest.mark.parametrize(
    "record",
    [
        DesiredSource(stream="bad name", uris=(URI,)),
        DesiredSource(stream="cam1", uris=()),
        DesiredSource(stream="cam1", uris=(URI,) * 5),
        DesiredSource(stream="cam1", uris=(URI,), options={str(number): "" for number in range(OPTIONS_MAX + 1)}),
        DesiredSource(stream="cam1", uris=(URI,), options={"x": "y" * 513}),
        DesiredDrain(node=""),
        DesiredDrain(node="edge-1", by="x" * 65),
        DesiredMove(stream="cam1", parent="no node"),
        DesiredMove(stream="cam1", parent="mid-1", child="no node"),
        DesiredTransfer(id="no id!", kind="pull", uri=URI, local_name="cam1"),
        DesiredTransfer(id="t", kind="pull", uri=URI, local_name="cam1\0"),
    ],
)
def test_bad_records_are_refused_to_their_maker(record: Desired) -> None:
    """What others would ignore is an error at once, whose text holds no credentials."""
    with pytest.raises(InvalidRecord) as caught:
        encode_desired(record, VAULT)
    assert "u:p" not in str(caught.value)


def test_credentials_without_a_secret_are_refused() -> None:
    """Nothing is stored in clear by mistake."""
    with pytest.raises(InvalidRecord, match=r"relay\.secret"):
        encode_desired(SOURCE, Vault())


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda data: b"5 " + data)))
def test_whatever_is_stored(stored: bytes) -> None:
    """Anything is a record or refused."""
    for kind in DesiredKind:
        with pytest.raises(InvalidRecord):
            decode_desired(stored, DesiredKey(kind, "x"), VAULT)


def test_too_long_is_refused() -> None:
    """A length is looked at before anything else."""
    with pytest.raises(InvalidRecord, match="at most"):
        decode_desired(b"5 " + b" " * DESIRED_MAX_BYTES + b"{}", KEY, VAULT)


# -- claimants -------------------------------------------------------------------------------------

INGRESS = frozenset({"ingress"})


def known(*records: Desired) -> dict[DesiredKey, DesiredEntry]:
    return {desired_key(record): DesiredEntry(record, 1, b"") for record in records}


def node(name: str, **more: object) -> NodeRecord:
    return NodeRecord(node=name, **{"role": "ingress", **more})  # type: ignore[arg-type]


def test_who_is_first() -> None:
    """Where it was moved; the region asked for; room; never the draining, the full last, never other roles."""
    nodes = [
        node("eu-1", region="eu"),
        node("eu-full", region="eu", load=1.0),
        node("us-1", region="us"),
        node("leaving", region="eu", draining=True),
        node("drained", region="eu"),
        node("closed", region="eu", capacity=0),
        node("edge", role="edge", region="eu"),
    ]
    desired = known(SOURCE, DesiredDrain(node="drained"))
    assert rank_claimants(KEY, desired, nodes, INGRESS) == ["eu-1", "eu-full", "us-1"]
    moved = desired | known(DesiredMove(stream="site7/gate", parent="us-1"))
    assert rank_claimants(KEY, moved, nodes, INGRESS)[0] == "us-1"


def test_holder_keeps_what_it_has() -> None:
    """It hands over when moved or going away, and not for a better place in the order alone."""
    desired = known(SOURCE)
    assert not should_hand_over(KEY, NodeId("b"), desired, [NodeId("a"), NodeId("b")])
    assert should_hand_over(KEY, NodeId("gone"), desired, [NodeId("a")])
    assert not should_hand_over(KEY, NodeId("gone"), desired, [])
    moved = desired | known(DesiredMove(stream="site7/gate", parent="a"))
    assert should_hand_over(KEY, NodeId("b"), moved, [NodeId("a"), NodeId("b")])
    assert not should_hand_over(KEY, NodeId("a"), moved, [NodeId("a"), NodeId("b")])


@given(st.sets(st.integers(0, 30), min_size=1, max_size=12), st.data())
def test_one_that_goes_changes_its_own_share_only(numbers: set[int], data: st.DataObject) -> None:
    """Without one node the others stay in their order."""
    nodes = [node(f"in-{number}") for number in numbers]
    gone = data.draw(st.sampled_from(nodes))
    before = rank_claimants(KEY, known(SOURCE), nodes, INGRESS)
    after = rank_claimants(KEY, known(SOURCE), [one for one in nodes if one is not gone], INGRESS)
    assert after == [name for name in before if name != gone.node]


def test_work_is_spread() -> None:
    """Sources spread over equal nodes, by capacity."""
    nodes = [node("a"), node("b"), node("big", capacity=2000)]
    firsts = [
        rank_claimants(DesiredKey(DesiredKind.SOURCE, f"cam{number}"), {}, nodes, INGRESS)[0] for number in range(2000)
    ]
    assert {name: round(firsts.count(NodeId(name)) / 500) for name in ("a", "b", "big")} == {"a": 1, "b": 1, "big": 2}


def test_turns_do_not_overlap() -> None:
    """The first waits not at all, each next one longer than any before it could have."""
    assert turn_seconds(0, 3.0, 1.0) == 0.0
    for place in range(1, 8):
        assert turn_seconds(place, 3.0, 1.0) < turn_seconds(place + 1, 3.0, 0.0)


def test_move_of_one_child_counts_before_that_of_all() -> None:
    """A child's own move is preferred; others follow the general one; without any there is no preference."""
    desired = known(
        DesiredMove(stream="cam1", parent="mid-1"), DesiredMove(stream="cam1", parent="mid-2", child="edge-1")
    )
    assert preferred_parent(StreamName("cam1"), NodeId("edge-1"), desired) == "mid-2"
    assert preferred_parent(StreamName("cam1"), NodeId("edge-2"), desired) == "mid-1"
    assert preferred_parent(StreamName("cam2"), NodeId("edge-1"), desired) is None
