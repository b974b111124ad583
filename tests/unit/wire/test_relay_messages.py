"""The messages of headrace.relay.v1 against the golden vectors, both ways, and everything that is not one."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.identifiers import ChunkId, Epoch
from headrace.wire import relay
from headrace.wire.chunk import Flag, make_chunk
from headrace.wire.errors import WireError
from headrace.wire.stream import RouteHop, StreamState, Track

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "relay.json").read_text())["messages"]
CONTROL = [vector for vector in VECTORS if vector["message"] != "chunk"]
CHUNK = next(vector for vector in VECTORS if vector["message"] == "chunk")
NAMES = [vector["name"] for vector in CONTROL]


def plain(value: Any) -> Any:
    """Return JSON of a vector as what MessagePack holds."""
    if isinstance(value, dict) and set(value) == {"hex"}:
        return bytes.fromhex(value["hex"])
    if isinstance(value, dict):
        return {int(key) if key.isdigit() else key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def packed(type: int, **members: Any) -> bytes:
    return bytes((type,)) + msgspec.msgpack.encode(members)


def message_of(vector: dict[str, Any]) -> relay.Message:
    kind: type[relay.Message] = getattr(relay, vector["message"])
    return msgspec.convert(plain(vector["members"]), kind)


# -- golden vectors --------------------------------------------------------------------------------


def test_every_message_has_a_vector() -> None:
    """A new message without one is noticed."""
    assert {vector["type"] for vector in CONTROL} == {message.type for message in relay.MESSAGES}


@pytest.mark.parametrize("vector", CONTROL, ids=NAMES)
def test_writing_a_message_gives_its_vector(vector: dict[str, Any]) -> None:
    """The bytes are those that other implementations expect."""
    assert relay.encode(message_of(vector)).hex() == vector["hex"]


@pytest.mark.parametrize("vector", CONTROL, ids=NAMES)
def test_reading_a_vector_gives_its_members(vector: dict[str, Any]) -> None:
    """Type byte, then one map."""
    data = bytes.fromhex(vector["hex"])
    assert relay.decode(data) == message_of(vector)
    assert data[0] == vector["type"]
    assert msgspec.msgpack.decode(data[1:]) == plain(vector["members"])


@pytest.mark.parametrize("vector", CONTROL, ids=NAMES)
def test_a_message_cut_short_anywhere_is_an_error(vector: dict[str, Any]) -> None:
    """No prefix of a message is one."""
    data = bytes.fromhex(vector["hex"])
    for length in range(len(data)):
        with pytest.raises(WireError):
            relay.decode(data[:length])


@pytest.mark.parametrize("vector", CONTROL, ids=NAMES)
def test_trailing_bytes_are_an_error(vector: dict[str, Any]) -> None:
    """A message is one map and nothing else."""
    with pytest.raises(WireError, match="bad_message"):
        relay.decode(bytes.fromhex(vector["hex"]) + b"\x00")


@pytest.mark.parametrize("vector", CONTROL, ids=NAMES)
def test_unknown_members_are_ignored(vector: dict[str, Any]) -> None:
    """A later minor version may add some."""
    members = {**plain(vector["members"]), "later": [1, {"deep": b"x"}]}
    assert relay.decode(packed(vector["type"], **members)) == message_of(vector)


def test_the_chunk_vector_both_ways() -> None:
    """Twelve bytes of prefix, then the record as it is."""
    members = plain(CHUNK["members"])
    data = bytes.fromhex(CHUNK["hex"])
    assert relay.chunk_prefix(members["handle"], members["sent_us"]) + members["record"] == data
    handle, sent_us, chunk = relay.decode_chunk(data)
    assert (handle, sent_us, chunk.record) == (members["handle"], members["sent_us"], members["record"])
    assert chunk.id == ChunkId(Epoch(1763632800000), 1, 881816400, 3)
    assert chunk.flags == Flag.RANDOM_ACCESS | Flag.END_OF_PART


def test_a_chunk_cut_short_in_its_headers_is_an_error() -> None:
    """Prefix and record header are needed whole."""
    data = bytes.fromhex(CHUNK["hex"])
    for length in range(12 + 48):
        with pytest.raises(WireError, match="truncated"):
            relay.decode_chunk(data[:length])


# -- what is no message ----------------------------------------------------------------------------

TRACK = msgspec.to_builtins(Track(track=1, kind="video", codec="avc1.640028", timescale=90_000, header=b"h"))
TRACK["header"] = b"h"
HOP = {"node": "a", "role": "edge"}
WRONG = {
    "no bytes": (b"", "truncated"),
    "no map": (b"\x06", "bad_message"),
    "a list": (b"\x06\x91\x01", "bad_message"),
    "another version": (packed(1, version=2, anything="else"), "bad_version"),
    "no version": (packed(1, node="a"), "bad_message"),
    "version as text": (packed(1, version="1"), "bad_message"),
    "bad node name": (packed(1, version=1, node="a b", role="edge", key="k", nonce=b"n" * 16), "bad_name"),
    "empty node name": (packed(1, version=1, node="", role="edge", key="k", nonce=b"n" * 16), "bad_name"),
    "short nonce": (packed(1, version=1, node="a", role="edge", key="k", nonce=b"n" * 15), "bad_message"),
    "nonce as text": (packed(1, version=1, node="a", role="edge", key="k", nonce="n" * 16), "bad_message"),
    "long key": (packed(1, version=1, node="a", role="edge", key="k" * 65, nonce=b"n" * 16), "bad_message"),
    "short mac": (packed(2, mac=b"m" * 31), "bad_message"),
    "offer of a bad name": (packed(3, streams=[{"stream": "../x"}]), "bad_name"),
    "offer of too many": (packed(3, streams=[{"stream": "a"}] * 1001), "bad_message"),
    "negative epoch": (packed(3, streams=[{"stream": "a", "epoch": -1}]), "bad_message"),
    "withdraw of a bad name": (packed(4, streams=["a", ""]), "bad_name"),
    "handle 0": (packed(5, handle=0, stream="a"), "bad_message"),
    "handle too large": (packed(6, handle=65_536), "bad_message"),
    "handle missing": (packed(6), "bad_message"),
    "stream with a bad name": (packed(5, handle=1, stream="a//b"), "bad_name"),
    "stream name too long": (packed(5, handle=1, stream="a" * 129), "bad_message"),
    "after with track 0": (packed(5, handle=1, stream="a", after={0: [1, 2, 3]}), "bad_message"),
    "after with too many tracks": (
        packed(5, handle=1, stream="a", after=dict.fromkeys(range(1, 18), (1, 2, 3))),
        "bad",
    ),
    "after with a huge chunk": (packed(5, handle=1, stream="a", after={1: [1, 2, 2**32]}), "bad_message"),
    "after with a short place": (packed(5, handle=1, stream="a", after={1: [1, 2]}), "bad_message"),
    "no tracks": (packed(7, handle=1, epoch=1, tracks=[]), "bad_tracks"),
    "a track twice": (packed(7, handle=1, epoch=1, tracks=[TRACK, TRACK]), "bad_tracks"),
    "track 0": (packed(7, handle=1, epoch=1, tracks=[{**TRACK, "track": 0}]), "bad_tracks"),
    "timescale 0": (packed(7, handle=1, epoch=1, tracks=[{**TRACK, "timescale": 0}]), "bad_tracks"),
    "header too long": (packed(7, handle=1, epoch=1, tracks=[{**TRACK, "header": b"h" * 65_537}]), "bad_tracks"),
    "header empty": (packed(7, handle=1, epoch=1, tracks=[{**TRACK, "header": b""}]), "bad_tracks"),
    "kind unknown": (packed(7, handle=1, epoch=1, tracks=[{**TRACK, "kind": "smell"}]), "bad_message"),
    "state unknown": (packed(8, handle=1, state="asleep"), "bad_message"),
    "route too long": (packed(8, handle=1, state="live", route=[HOP] * 17), "bad_message"),
    "route with a bad node": (packed(8, handle=1, state="live", route=[{"node": "-", "role": "x"}]), "bad_name"),
    "reason too long": (packed(8, handle=1, state="live", reason="r" * 501), "bad_message"),
    "gap in track 256": (packed(9, handle=1, track=256, next=[1, 2, 3]), "bad_message"),
    "too many alternatives": (packed(11, alternatives=[{"node": "a", "relay_url": "u"}] * 17), "bad_message"),
    "ping without stamp": (packed(12, id=1), "bad_message"),
    "text that is not UTF-8": (b"\x06\x81\xa6hand\xff\xff\x01", "bad_message"),
    "nested without end": (b"\x06\x82\xa6handle\x01\xa1x" + b"\x91" * 100_000 + b"\xc0", "bad_message"),
    "a length that is not there": (b"\x02\x81\xa3mac\xc6\xff\xff\xff\xff", "bad_message"),
    "longer than allowed": (packed(6, handle=1, filler=b"f" * relay.CONTROL_MAX_BYTES), "too_large"),
}


@pytest.mark.parametrize(("data", "code"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_message_is_an_error_with_its_code(data: bytes, code: str) -> None:
    """Limits and rules are checked before anything is believed."""
    with pytest.raises(WireError, match=code):
        relay.decode(data)


def test_unknown_types_are_not_an_error() -> None:
    """Later minor versions may add some; what they hold is not looked at."""
    for type in set(range(256)) - {message.type for message in relay.MESSAGES}:
        assert relay.decode(bytes((type,)) + b"\xc1 nonsense") is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x10\x00\x00\x00" + bytes(8) + bytes(48), "bad_handle"),
        (relay.chunk_prefix(1, 0) + b"\x02" + bytes(47), "bad_kind"),
        (relay.chunk_prefix(1, 0) + b"\x01" + bytes(47), "bad_track"),
        (relay.chunk_prefix(1, 0) + b"\x01\x01\x08" + bytes(45), "bad_flags"),
        (relay.chunk_prefix(1, 0) + b"\x01\x01" + bytes(16 * 1024 * 1024), "too_large"),
    ],
    ids=["handle 0", "kind 2", "track 0", "unknown flag", "too large"],
)
def test_what_is_no_chunk_is_an_error_with_its_code(data: bytes, code: str) -> None:
    """The prefix's and the record's own rules."""
    with pytest.raises(WireError, match=code):
        relay.decode_chunk(data)


def test_a_message_that_the_peer_would_refuse_is_not_written() -> None:
    """Sixteen tracks with the longest headers do not fit."""
    track = Track(track=1, kind="video", codec="c", timescale=1, header=b"h" * 65_536)
    tracks = tuple(msgspec.structs.replace(track, track=number) for number in range(1, 17))
    with pytest.raises(WireError, match="too_large"):
        relay.encode(relay.Tracks(handle=1, epoch=1, tracks=tracks))


def test_places_and_chunk_identities_are_each_others_inverse() -> None:
    """`after` on the wire is what a reader had."""
    had = {1: ChunkId(Epoch(5), 1, 6, 7), 2: ChunkId(Epoch(5), 2, 6, 8)}
    assert relay.Subscribe(handle=1, stream="a", after=relay.places(had)).places == had
    assert relay.Subscribe(handle=1, stream="a").places is None
    assert relay.places(None) is None


# -- properties ------------------------------------------------------------------------------------

numbers = st.integers(0, 2**63 - 1)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
hops = st.builds(RouteHop, names, st.text(max_size=10))


@given(
    st.one_of(
        st.builds(
            relay.Subscribe,
            handle=st.integers(1, 65_535),
            stream=names,
            after=st.none()
            | st.dictionaries(st.integers(1, 255), st.tuples(numbers, numbers, st.integers(0, 2**32 - 1)), max_size=16),
        ),
        st.builds(
            relay.State,
            handle=st.integers(1, 65_535),
            state=st.sampled_from(StreamState),
            reason=st.text(max_size=500),
            route=st.lists(hops, max_size=16).map(tuple),
        ),
        st.builds(relay.Pong, id=numbers, sent_us=numbers, received_us=numbers, answered_us=numbers),
    )
)
def test_what_is_written_is_read(message: relay.Message) -> None:
    """For members of any allowed value."""
    assert relay.decode(relay.encode(message)) == message


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_wire_error(data: bytes) -> None:
    """Nothing else ends reading."""
    for read in (relay.decode, relay.decode_chunk):
        with contextlib.suppress(WireError):
            read(data)


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=50))
def test_a_chunk_is_carried_as_it_is(handle: int, sent_us: int, media: bytes) -> None:
    """Whatever its media."""
    record = make_chunk(ChunkId(Epoch(1), 1, 2, 3), Flag(0), 4, 5, 6, 7, 8, media).record
    if handle:
        read = relay.decode_chunk(relay.chunk_prefix(handle, sent_us) + record)
        assert (read[0], read[1], read[2].record) == (handle, sent_us, record)
