"""headrace.play.v1 against the golden vectors, and against anything at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.identifiers import ChunkId, Epoch
from headrace.wire import play
from headrace.wire.chunk import Flag, make_chunk, parse_chunk
from headrace.wire.errors import WireError
from headrace.wire.stream import RouteHop, StreamState
from support.tracks import audio_track, video_track

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "play.json").read_text())

EPOCH = 1_790_000_000_000

VIDEO = video_track(bandwidth=2_000_000, chunk_seconds=0.12, part_seconds=0.5)
AUDIO = audio_track(language="de")
INGRESS, MIDDLE, EDGE = (
    RouteHop("ingress-1", "ingress"),
    RouteHop("middle-1", "intermediate"),
    RouteHop("edge-1", "edge"),
)

FROM_PLAYER: dict[str, play.PlayerMessage] = {
    "play, to join": play.Play(session="0b1c-2d3e"),
    "play, to resume": play.Play(session="0b1c-2d3e", after={1: (EPOCH, 895_000_000, 7), 2: (EPOCH, 895_000_000, 9)}),
    "time": play.AskTime(sent=1234.5),
    "report": play.Report(latency_ms=243.5, buffer_ms=180.0, dropped_frames=2.0, stalls=1.0),
    "report of one figure": play.Report(latency_ms=250.0),
    "pong": play.Pong(id=42),
}

FROM_EDGE: dict[str, play.EdgeMessage] = {
    "welcome": play.Welcome(
        edge="edge-1",
        stream="site7/gate",
        edges=("ws://127.0.0.1:8088", "wss://two.example"),
        heartbeat_ms=1000,
        utc_us=EPOCH * 1000 + 5,
    ),
    "state live": play.State(state=StreamState.LIVE, route=(INGRESS, MIDDLE, EDGE)),
    "state interrupted": play.State(state=StreamState.INTERRUPTED, reason="the camera is silent", route=(INGRESS,)),
    "state ended": play.State(state=StreamState.ENDED, reason="the programme is over"),
    "tracks": play.Tracks(epoch=EPOCH, tracks=(VIDEO, AUDIO)),
    "gap": play.GapNotice(track=1, next=(EPOCH, 895_000_001, 0)),
    "skipped": play.Skipped(entries=120),
    "ping": play.Ping(id=42, utc_us=EPOCH * 1000 + 7),
    "time": play.TellTime(sent=1234.5, utc_us=EPOCH * 1000 + 9),
    "edges": play.Edges(edges=("ws://127.0.0.1:8088",)),
    "going_away": play.GoingAway(edges=("wss://two.example",)),
    "refused": play.Refused(code="bad_name", reason="stream name 'a b': use letters"),
}


def vectors(group: str) -> dict[str, str]:
    return {vector["name"]: vector["text"] for vector in VECTORS[group]}


def test_messages_of_players() -> None:
    """Each text of the vectors is the message of that name, both ways."""
    assert {name: play.encode(message).decode() for name, message in FROM_PLAYER.items()} == vectors("player_to_edge")
    assert {name: play.decode_from_player(text) for name, text in vectors("player_to_edge").items()} == FROM_PLAYER


def test_messages_of_edges() -> None:
    """Each text of the vectors is the message of that name, both ways."""
    assert {name: play.encode(message).decode() for name, message in FROM_EDGE.items()} == vectors("edge_to_player")
    assert {name: play.decode_from_edge(text) for name, text in vectors("edge_to_player").items()} == FROM_EDGE


@pytest.mark.parametrize("vector", VECTORS["chunks"], ids=lambda vector: vector["name"])
def test_chunk_records(vector: dict[str, Any]) -> None:
    """Each record of the vectors has the fields beside it, both ways."""
    epoch, segment, number = vector["position"]
    named = {
        Flag.RANDOM_ACCESS: "random_access",
        Flag.END_OF_PART: "end_of_part",
        Flag.END_OF_SEGMENT: "end_of_segment",
    }
    flags = Flag(sum(flag for flag, name in named.items() if vector[name]))
    expected = make_chunk(
        ChunkId(Epoch(epoch), vector["track"], segment, number),
        flags,
        vector["decode_time"],
        vector["duration"],
        vector["part"],
        vector["samples"],
        vector["capture_us"],
        bytes.fromhex(vector["media_hex"]),
    )
    assert parse_chunk(bytes.fromhex(vector["hex"])) == expected


@pytest.mark.parametrize("text", VECTORS["ignored"])
def test_unknown_types_are_ignored(text: str) -> None:
    """Messages of a newer version decode to nothing, in both directions."""
    assert play.decode_from_player(text) is None
    assert play.decode_from_edge(text) is None


def test_unknown_members_are_ignored() -> None:
    """A newer version may add members."""
    assert play.decode_from_player('{"type":"pong","id":1,"more":{"a":[]}}') == play.Pong(id=1)


@pytest.mark.parametrize("vector", VECTORS["bad_from_player"], ids=lambda vector: vector["text"][:60])
def test_bad_messages_of_players(vector: dict[str, str]) -> None:
    """What breaks the rules is refused with the code that the vectors name."""
    with pytest.raises(WireError) as error:
        play.decode_from_player(vector["text"])
    assert error.value.code == vector["code"]


def test_long_messages_of_players() -> None:
    """The limit is in bytes and is checked before anything is read."""
    padding = play.PLAYER_TEXT_MAX_BYTES - len('{"type":"pong","id":1}')
    assert play.decode_from_player('{"type":"pong","id":1}' + " " * padding) == play.Pong(id=1)
    with pytest.raises(WireError, match="too_large"):
        play.decode_from_player('{"type":"pong","id":1}' + " " * (padding + 1))
    with pytest.raises(WireError, match="too_large"):
        play.decode_from_player('"' + "é" * play.PLAYER_TEXT_MAX_BYTES)


def test_too_many_tracks() -> None:
    """A player cannot have had more tracks than a stream may have."""
    after = {str(track): [1, 1, 1] for track in range(1, 18)}
    with pytest.raises(WireError, match="17 tracks"):
        play.decode_from_player(json.dumps({"type": "play", "session": "a", "after": after}))


def test_tracks_of_edges_are_checked() -> None:
    """Who plays as a client does not believe tracks that nobody could have."""
    with pytest.raises(WireError, match="bad_tracks"):
        play.decode_from_edge('{"type":"tracks","epoch":1,"tracks":[]}')


def test_what_was_had() -> None:
    """The places of a resuming player are chunk identities."""
    resume = play.Play(session="a", after={2: (5, 6, 7)})
    assert resume.had() == {2: ChunkId(Epoch(5), 2, 6, 7)}
    assert play.Play(session="a").had() is None


@given(st.text() | st.binary())
def test_anything_from_a_player_is_a_message_or_an_error(data: str | bytes) -> None:
    """Only the documented error ends the reading of arbitrary input."""
    assert outcome(play.decode_from_player, data) in {"", "too_large", "bad_json", "bad_message"}


def outcome(decode: Callable[[Any], object], data: str | bytes) -> str:
    """Return the code of the error that reading ends with, or nothing."""
    try:
        decode(data)
    except WireError as error:
        return error.code
    return ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
MEMBERS = st.sampled_from(
    ["session", "after", "sent", "latency_ms", "stalls", "id", "epoch", "tracks", "next", "edges"]
)


@given(st.sampled_from(["play", "time", "report", "pong", "tracks", "gap", "state"]), st.dictionaries(MEMBERS, JSON))
def test_anything_of_a_known_type_is_a_message_or_an_error(kind: str, members: dict[str, Any]) -> None:
    """Members of any type and value are read or refused, in both directions, and what was read can be written."""
    text = json.dumps({"type": kind, **members})
    for decode in (play.decode_from_player, play.decode_from_edge):
        code = outcome(decode, text)
        assert code in {"", "too_large", "bad_json", "bad_message", "bad_tracks"}
        message = None if code else decode(text)
        assert message is None or decode(play.encode(message)) == message


@pytest.mark.parametrize("text", ["[" * 10_000, '{"type": "pong", "more": ' + "[" * 10_000 + "]" * 5 + "}"])
def test_what_is_nested_too_deeply_is_an_error_as_any(text: str) -> None:
    """A stranger may send it, where a member is expected or one that nobody knows."""
    for decode in (play.decode_from_player, play.decode_from_edge):
        assert outcome(decode, text.encode()) in {"bad_json", "bad_message"}
