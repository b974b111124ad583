"""Records: what is believed of one that somebody else wrote."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.registry.desired import DesiredKey, DesiredKind, decode_desired
from headrace.registry.records import (
    NODE_STREAMS_MAX,
    RECORD_MAX_BYTES,
    WHOLE_MAX,
    InvalidRecord,
    NodeRecord,
    StreamNumbers,
    StreamRecord,
    TrackSummary,
    decode_claim,
    decode_node,
    decode_stream,
    encode_record,
)
from headrace.registry.sealing import Vault

NODE = NodeRecord(node="n1", role="edge", relay_url="ws://10.0.0.7:8088/relay", streams=("cam1", "site7/gate"))
STREAM = StreamRecord(
    stream="cam1",
    node="n1",
    epoch=1_795_000_000_000,
    state="live",
    next_segment=4,
    end_seconds=1.5,
    tracks=(TrackSummary(track=1, kind="video", codec="avc1.64001f", width=640, height=360, frame_rate=25.0),),
)


def with_member(record: msgspec.Struct, **members: object) -> bytes:
    """Return the JSON of `record` with some members replaced."""
    return json.dumps({**msgspec.to_builtins(record), **members}).encode()


def test_records_survive_the_trip() -> None:
    """What is encoded decodes to the same record."""
    assert decode_node(encode_record(NODE), "n1") == NODE
    assert decode_stream(encode_record(STREAM), "cam1") == STREAM


def test_unknown_members_are_ignored() -> None:
    """A later version's record is read, without what is new in it."""
    assert decode_node(with_member(NODE, colour="red"), "n1") == NODE
    assert decode_stream(with_member(STREAM, colour="red"), "cam1") == STREAM


def test_missing_members_have_defaults() -> None:
    """Only what identifies a node must be there."""
    assert decode_node(b'{"node":"n1","role":"edge"}', "n1") == NodeRecord(node="n1", role="edge")


@pytest.mark.parametrize(
    "members",
    [
        {"node": "n2"},
        {"node": "n 1"},
        {"role": "r" * 65},
        {"relay_url": "ftp://host/"},
        {"relay_url": "ws://user:secret@host/"},
        {"relay_url": "javascript:alert(1)"},
        {"relay_url": "ws://host:99999/relay"},
        {"relay_url": "ws://host:notaport/relay"},
        {"relay_url": "ws://host:0/relay"},
        {"reach": ["10.0.0.0/99"]},
        {"reach": ["10.0.0.0/8"] * 65},
        {"public_url": "http://host:99999"},
        {"relay_url": "ws://host/" + "x" * 600},
        {"public_url": "http://host/\nSet-Cookie: x"},
        {"layer": -1},
        {"layer": 1001},
        {"capacity": -1},
        {"load": -0.1},
        {"load": None},
        {"load": "heavy"},
        {"streams": ["bad name"]},
        {"streams": ["../../etc"]},
        {"streams": "cam1"},
        {"streams": ["cam1"] * (NODE_STREAMS_MAX + 1)},
        {"started_us": 2**53},
        {"generation": -1},
        {"draining": "yes"},
    ],
    ids=str,
)
def test_bad_node_records_are_refused(members: dict[str, object]) -> None:
    """Each rule of a node record is kept, and the sentence names the node."""
    with pytest.raises(InvalidRecord, match="n1"):
        decode_node(with_member(NODE, **members), "n1")


@pytest.mark.parametrize(
    "members",
    [
        {"stream": "cam2"},
        {"stream": "cam 1"},
        {"node": ""},
        {"epoch": WHOLE_MAX},
        {"next_segment": WHOLE_MAX},
        {"epochs": WHOLE_MAX},
        {"end_seconds": 9e15},
        {"epoch": -1},
        {"epoch": 1.5},
        {"state": "resting"},
        {"next_segment": -1},
        {"end_seconds": -1.0},
        {"end_seconds": 1e300},
        {"tracks": [{"track": 0, "kind": "video"}]},
        {"tracks": [{"track": 1, "kind": "smell"}]},
        {"tracks": [{"track": 1, "kind": "video"}] * 17},
    ],
    ids=str,
)
def test_bad_stream_records_are_refused(members: dict[str, object]) -> None:
    """Each rule of a stream record is kept, and the sentence names the stream."""
    with pytest.raises(InvalidRecord, match="cam1"):
        decode_stream(with_member(STREAM, **members), "cam1")


def test_too_long_a_record_is_not_even_parsed() -> None:
    """The limit on the whole comes first."""
    with pytest.raises(InvalidRecord, match="at most"):
        decode_node(b" " * (RECORD_MAX_BYTES + 1), "n1")


def test_largest_node_record_fits() -> None:
    """A node with the most streams of the longest names can be told."""
    names = tuple(f"{number:0128d}" for number in range(NODE_STREAMS_MAX))
    assert len(encode_record(NodeRecord(node="n1", role="edge", streams=names))) <= RECORD_MAX_BYTES


def test_own_bad_record_is_refused_when_written() -> None:
    """A mistake is told to who makes it, not to who reads it."""
    with pytest.raises(InvalidRecord):
        encode_record(NodeRecord(node="n1", role="edge", load=float("nan")))
    with pytest.raises(InvalidRecord):
        encode_record(StreamRecord(stream="cam 1", node="n1", epoch=1, state="live"))


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.builds(json.dumps, st.from_type(dict)).map(str.encode)
)
def test_any_bytes_give_a_record_or_the_documented_error(data: bytes) -> None:
    """Nothing but `InvalidRecord` comes out of bytes that are no record."""
    for decode in (decode_node, decode_stream):
        with pytest.raises(InvalidRecord):
            decode(data, "x")


@given(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10), st.integers(0, 10))
def test_numbers_only_grow(a: int, b: int, c: int, d: int) -> None:
    """Each number is the greater of both."""
    first, second = StreamNumbers(next_segment=a, epoch=b), StreamNumbers(next_segment=c, epoch=d)
    assert first.grown(second) == second.grown(first) == StreamNumbers(next_segment=max(a, c), epoch=max(b, d))


def test_what_is_nested_too_deeply_is_no_record() -> None:
    """Whoever reads it goes on with the others."""
    nested = b'{"node": "n1", "more": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    for decode in (decode_node, decode_stream, decode_claim):
        with pytest.raises(InvalidRecord):
            decode(nested, "n1")
    with pytest.raises(InvalidRecord):
        decode_desired(b"1 " + nested, DesiredKey(DesiredKind.DRAIN, "n1"), Vault())
