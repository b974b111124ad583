"""Messages of `headrace.play.v1`, between an edge and a player (docs/protocol.md, section 3).

Pure: text in, values out, and back. A message is a frozen struct whose tag is the member `type`. Binary messages are
chunk records (`headrace.wire.chunk`) and need nothing from here.

Unknown members are ignored and a message of an unknown type decodes to `None`, so that either side may be newer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from headrace.identifiers import TRACK_MAX, ChunkId, Epoch
from headrace.wire.errors import WireError
from headrace.wire.stream import TRACKS_MAX, RouteHop, StreamState, Track, check_tracks

SUBPROTOCOL = "headrace.play.v1"
"""What both sides name in the WebSocket handshake."""

PLAYER_TEXT_MAX_BYTES = 16 * 1024
"""Longest text message a player may send, in bytes: a `play` with sixteen tracks has less than one thousand."""

EDGE_TEXT_MAX_BYTES = 2 * 1024 * 1024
"""Longest text message an edge may send, in bytes: sixteen tracks with the longest headers, in base64."""

REASON_MAX_CHARACTERS = 500
"""Longest reason, in characters: it is shown to people."""

NUMBER_MAX = 2**63 - 1
"""Largest number in an identity that is believed: what JSON libraries with 64-bit integers can hold."""

T = TypeVar("T")

_SESSION = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)

Position = tuple[int, int, int]
"""A place in a track: epoch, segment, chunk."""


# -- player to edge -------------------------------------------------------------------------------------------------


class Play(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="play"):
    """The first message of a player.

    Attributes:
        session: text of up to 64 letters, digits and `-`, kept by the player when it connects again.
        after: the last chunk had of each track; `None` to join at the newest random access point.
    """

    session: str
    after: dict[int, Position] | None = None

    def had(self) -> dict[int, ChunkId] | None:
        """Return `after` as chunk identities."""
        if self.after is None:
            return None
        return {track: ChunkId(Epoch(at[0]), track, at[1], at[2]) for track, at in self.after.items()}


class AskTime(msgspec.Struct, frozen=True, kw_only=True, tag="time"):
    """The player asks for the edge's clock; `sent` comes back as it is."""

    sent: float


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="report"):
    """How it plays, at most once a second.

    Attributes:
        latency_ms: from capture to screen.
        buffer_ms: media ahead of the position played.
        dropped_frames, stalls: totals since the player began.
    """

    latency_ms: float | None = None
    buffer_ms: float | None = None
    dropped_frames: float | None = None
    stalls: float | None = None


class Pong(msgspec.Struct, frozen=True, kw_only=True, tag="pong"):
    """The answer to the `Ping` with this id."""

    id: int


PlayerMessage = Play | AskTime | Report | Pong


# -- edge to player -------------------------------------------------------------------------------------------------


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag="welcome"):
    """The first message of an edge.

    Attributes:
        edge: its node id.
        stream: the name it will play.
        edges: WebSocket base URLs of edges, this one first; `/play/{stream}` is appended to one.
        heartbeat_ms: how often it sends `Ping`.
        utc_us: its clock, in microseconds.
    """

    edge: str
    stream: str
    edges: tuple[str, ...]
    heartbeat_ms: int
    utc_us: int


class State(msgspec.Struct, frozen=True, kw_only=True, tag="state"):
    """How the stream is doing, why, and through which nodes it comes, ingress first."""

    state: StreamState
    reason: str = ""
    route: tuple[RouteHop, ...] = ()


class Tracks(msgspec.Struct, frozen=True, kw_only=True, tag="tracks"):
    """An epoch begins with these tracks; sent before its first chunk."""

    epoch: int
    tracks: tuple[Track, ...]


class GapNotice(msgspec.Struct, frozen=True, kw_only=True, tag="gap"):
    """Chunks of `track` before `next` that were not had will not come."""

    track: int
    next: Position


class Skipped(msgspec.Struct, frozen=True, kw_only=True, tag="skipped"):
    """The player was too slow: it was moved forward past this many entries."""

    entries: int


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag="ping"):
    """The heartbeat."""

    id: int
    utc_us: int


class TellTime(msgspec.Struct, frozen=True, kw_only=True, tag="time"):
    """The edge's clock, in microseconds of UTC, for the question with this `sent`."""

    sent: float
    utc_us: int


class Edges(msgspec.Struct, frozen=True, kw_only=True, tag="edges"):
    """The list of edges changed."""

    edges: tuple[str, ...]


class GoingAway(msgspec.Struct, frozen=True, kw_only=True, tag="going_away"):
    """The edge drains; the player connects to one of these with `after`, then closes."""

    edges: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """The edge will not play this; a close follows."""

    code: str
    reason: str


EdgeMessage = Welcome | State | Tracks | GapNotice | Skipped | Ping | TellTime | Edges | GoingAway | Refused


# -- text -----------------------------------------------------------------------------------------------------------


class _Kind(msgspec.Struct, frozen=True):
    type: str


_encoder = msgspec.json.Encoder()
_kind = msgspec.json.Decoder(_Kind)
_player: Mapping[str, msgspec.json.Decoder[PlayerMessage]] = {
    "play": msgspec.json.Decoder(Play),
    "time": msgspec.json.Decoder(AskTime),
    "report": msgspec.json.Decoder(Report),
    "pong": msgspec.json.Decoder(Pong),
}
_edge: Mapping[str, msgspec.json.Decoder[EdgeMessage]] = {
    "welcome": msgspec.json.Decoder(Welcome),
    "state": msgspec.json.Decoder(State),
    "tracks": msgspec.json.Decoder(Tracks),
    "gap": msgspec.json.Decoder(GapNotice),
    "skipped": msgspec.json.Decoder(Skipped),
    "ping": msgspec.json.Decoder(Ping),
    "time": msgspec.json.Decoder(TellTime),
    "edges": msgspec.json.Decoder(Edges),
    "going_away": msgspec.json.Decoder(GoingAway),
    "refused": msgspec.json.Decoder(Refused),
}


def encode(message: PlayerMessage | EdgeMessage) -> bytes:
    """Return `message` as the UTF-8 JSON of a text message."""
    return _encoder.encode(message)


def decode_from_player(text: str | bytes) -> PlayerMessage | None:
    """Return what a player said, or `None` when this version does not know the type.

    Raises:
        WireError: `too_large` beyond `PLAYER_TEXT_MAX_BYTES`, `bad_json` when it is no JSON object with a `type`,
            `bad_message` when members are missing, of a wrong type or out of range.
    """
    message = _decode(text, PLAYER_TEXT_MAX_BYTES, _player)
    if isinstance(message, Play):
        _check_play(message)
    return message


def decode_from_edge(text: str | bytes) -> EdgeMessage | None:
    """Return what an edge said, or `None` when this version does not know the type.

    Raises:
        WireError: as `decode_from_player`, with `EDGE_TEXT_MAX_BYTES`; `bad_tracks` as `check_tracks`.
    """
    message = _decode(text, EDGE_TEXT_MAX_BYTES, _edge)
    if isinstance(message, Tracks):
        check_tracks(message.tracks)
    return message


def _decode(text: str | bytes, limit: int, decoders: Mapping[str, msgspec.json.Decoder[T]]) -> T | None:
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    if len(data) > limit:
        raise WireError("too_large", f"text message of {len(data)} bytes, at most {limit} are allowed")
    try:
        decoder = decoders.get(_kind.decode(data).type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("bad_json", str(error)) from None
    if decoder is None:
        return None
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("bad_message", str(error)) from None


def _check_play(play: Play) -> None:
    if not _SESSION.fullmatch(play.session):
        raise WireError("bad_message", "session: 1 to 64 letters, digits and - are allowed")
    if play.after is None:
        return
    if len(play.after) > TRACKS_MAX:
        raise WireError("bad_message", f"after: {len(play.after)} tracks, at most {TRACKS_MAX} are allowed")
    for track, position in play.after.items():
        if not 1 <= track <= TRACK_MAX:
            raise WireError("bad_message", f"after: track number {track}")
        if not all(0 <= number <= NUMBER_MAX for number in position):
            raise WireError("bad_message", f"after: place {list(position)} of track {track}")
