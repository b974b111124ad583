"""The messages of headrace.relay.v1, between nodes (docs/protocol.md, section 4).

Every WebSocket message begins with one byte that says what it is. Control messages go on with one MessagePack map and
are the structs of this module: `encode` and `decode` are each other's inverse. A chunk goes on with eleven bytes of
prefix and the chunk record, which is carried as it is: `chunk_prefix` and `decode_chunk`.

Adding a member with a default, or a message type, is a minor version: whoever does not know it ignores it.
"""

from __future__ import annotations

import struct
from typing import Annotated, ClassVar, TypeVar

import msgspec

from headrace.identifiers import (
    NODE_ID_MAX_BYTES,
    STREAM_NAME_MAX_BYTES,
    TRACK_MAX,
    ChunkId,
    Epoch,
    InvalidName,
    node_id,
    stream_name,
)
from headrace.wire.chunk import CHUNK_MAX_BYTES, Chunk, parse_chunk
from headrace.wire.errors import WireError
from headrace.wire.stream import ROUTE_MAX_NODES, TRACKS_MAX, RouteHop, StreamState, Track, check_tracks

VERSION = 1
SUBPROTOCOL = "headrace.relay.v1"

CONTROL_MAX_BYTES = 256 * 1024
"""Largest control message, in bytes: sixteen tracks with their headers fit."""

MESSAGE_MAX_BYTES = CHUNK_MAX_BYTES + 12
"""Largest message of any kind, in bytes: a chunk with its prefix."""

HANDLE_MAX = 65_535
"""Largest handle of a subscription: it is two bytes in front of each chunk."""

STREAMS_MAX = 1000
"""Most streams in one offer or withdraw: with the longest names they fit into a control message; send several."""

REASON_MAX_CHARACTERS = 500
"""Longest reason: it is shown to people."""

ALTERNATIVES_MAX = 16
"""Most alternatives in a going-away: a child tries one or two."""

URL_MAX_CHARACTERS = 2048
"""Longest URL, as browsers and proxies agree."""

NONCE_BYTES = 16
MAC_BYTES = 32

CHUNK_TYPE = 16
_CHUNK_PREFIX = struct.Struct(">BxHQ")
CHUNK_PREFIX_BYTES = _CHUNK_PREFIX.size

# MessagePack integers that Python code may calculate with; msgspec's bounds are signed 64 bit.
_Number = Annotated[int, msgspec.Meta(ge=0)]
_Handle = Annotated[int, msgspec.Meta(ge=1, le=HANDLE_MAX)]
_TrackNumber = Annotated[int, msgspec.Meta(ge=1, le=TRACK_MAX)]
_ChunkNumber = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
_Word = Annotated[str, msgspec.Meta(max_length=64)]
_Reason = Annotated[str, msgspec.Meta(max_length=REASON_MAX_CHARACTERS)]
_Url = Annotated[str, msgspec.Meta(max_length=URL_MAX_CHARACTERS)]
_Node = Annotated[str, msgspec.Meta(max_length=NODE_ID_MAX_BYTES)]
_Stream = Annotated[str, msgspec.Meta(max_length=STREAM_NAME_MAX_BYTES)]

Place = tuple[_Number, _Number, _ChunkNumber]
"""Where a track is: epoch, segment, chunk."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A control message; `type` is its first byte."""

    type: ClassVar[int] = 0

    def check(self) -> None:
        """Check what the types of the members do not say.

        Raises:
            WireError: when a member breaks a rule of docs/protocol.md.
        """


class Hello(Message, frozen=True, kw_only=True):
    """Who is speaking; the first message of each side.

    Attributes:
        version: major version of the protocol.
        node: the sender's node id.
        role: what it is: ingress, intermediate, edge, standalone, or the role of its credential.
        key: the name of the credential that `Proof` proves.
        nonce: 16 bytes, fresh for each connection.
        software: name and version for people, for example `headrace 0.1.0`.
    """

    type: ClassVar[int] = 1
    version: int
    node: _Node
    role: _Word
    key: _Word
    nonce: Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
    software: Annotated[str, msgspec.Meta(max_length=128)] = ""

    def check(self) -> None:
        _check_node(self.node)


class Proof(Message, frozen=True, kw_only=True, omit_defaults=True):
    """That the sender knows its credential's secret (section 4.2)."""

    type: ClassVar[int] = 2
    mac: Annotated[bytes, msgspec.Meta(min_length=MAC_BYTES, max_length=MAC_BYTES)]
    host_mac: Annotated[bytes, msgspec.Meta(max_length=MAC_BYTES)] = b""


class OfferedStream(msgspec.Struct, frozen=True, kw_only=True):
    """One stream that the sender can deliver."""

    stream: _Stream
    epoch: _Number = 0


class Offer(Message, frozen=True, kw_only=True):
    """Streams that the sender can deliver now; adds to what it offered before."""

    type: ClassVar[int] = 3
    streams: Annotated[tuple[OfferedStream, ...], msgspec.Meta(max_length=STREAMS_MAX)]

    def check(self) -> None:
        for offered in self.streams:
            _check_stream(offered.stream)


class Withdraw(Message, frozen=True, kw_only=True):
    """Streams offered before that the sender can deliver no longer."""

    type: ClassVar[int] = 4
    streams: Annotated[tuple[_Stream, ...], msgspec.Meta(max_length=STREAMS_MAX)]

    def check(self) -> None:
        for name in self.streams:
            _check_stream(name)


class Subscribe(Message, frozen=True, kw_only=True):
    """Send me this stream under this handle.

    Attributes:
        handle: chosen by the sender, not in use by it on this link.
        stream: its name.
        after: the last chunk had of each track, to go on after it; `None` to begin at a random access point.
        history_ms: without `after`, how far behind the newest chunk that point should lie, in milliseconds.
    """

    type: ClassVar[int] = 5
    handle: _Handle
    stream: _Stream
    after: Annotated[dict[_TrackNumber, Place], msgspec.Meta(max_length=TRACKS_MAX)] | None = None
    history_ms: _Number = 0

    def check(self) -> None:
        _check_stream(self.stream)

    @property
    def places(self) -> dict[int, ChunkId] | None:
        """`after` as chunk identities."""
        if self.after is None:
            return None
        return {
            track: ChunkId(Epoch(epoch), track, segment, chunk) for track, (epoch, segment, chunk) in self.after.items()
        }


class Recall(Message, frozen=True, kw_only=True):
    """Send me what you can get of this stream's past, once, under this handle; `Refused` with `done` ends it.

    Attributes:
        handle: as in `Subscribe`, and of the same numbers.
        stream: its name.
        history_ms: how far it is to reach behind the newest chunk, in milliseconds.
    """

    type: ClassVar[int] = 17
    handle: _Handle
    stream: _Stream
    history_ms: _Number

    def check(self) -> None:
        _check_stream(self.stream)


class Unsubscribe(Message, frozen=True, kw_only=True):
    """Stop sending what has this handle."""

    type: ClassVar[int] = 6
    handle: _Handle


class Tracks(Message, frozen=True, kw_only=True):
    """The tracks of an epoch, before its first chunk."""

    type: ClassVar[int] = 7
    handle: _Handle
    epoch: _Number
    tracks: tuple[Track, ...]

    def check(self) -> None:
        check_tracks(self.tracks)


class State(Message, frozen=True, kw_only=True):
    """How the stream is doing, and the nodes it came through: ingress first, the sender last."""

    type: ClassVar[int] = 8
    handle: _Handle
    state: StreamState
    reason: _Reason = ""
    route: Annotated[tuple[RouteHop, ...], msgspec.Meta(max_length=ROUTE_MAX_NODES)] = ()

    def check(self) -> None:
        for hop in self.route:
            _check_node(hop.node)


class Gap(Message, frozen=True, kw_only=True):
    """Chunks of `track` before `next` that were not had will not come."""

    type: ClassVar[int] = 9
    handle: _Handle
    track: _TrackNumber
    next: Place

    @property
    def chunk_id(self) -> ChunkId:
        """The first chunk of the track that may come."""
        epoch, segment, chunk = self.next
        return ChunkId(Epoch(epoch), self.track, segment, chunk)


class Refused(Message, frozen=True, kw_only=True):
    """The subscription is over, or never began."""

    type: ClassVar[int] = 10
    handle: _Handle
    code: _Word
    reason: _Reason = ""


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """A node that can take over."""

    node: _Node
    relay_url: _Url


class GoingAway(Message, frozen=True, kw_only=True):
    """The sender stops: take a stream elsewhere first, then let go here.

    Attributes:
        alternatives: where to go, best first; may be empty.
        deadline_ms: how long the sender goes on, in milliseconds.
    """

    type: ClassVar[int] = 11
    alternatives: Annotated[tuple[Alternative, ...], msgspec.Meta(max_length=ALTERNATIVES_MAX)] = ()
    deadline_ms: _Number = 0

    def check(self) -> None:
        for alternative in self.alternatives:
            _check_node(alternative.node)


class Ping(Message, frozen=True, kw_only=True):
    """Are you there, and what is your UTC? Times in microseconds since 1970."""

    type: ClassVar[int] = 12
    id: _Number
    sent_us: _Number


class Pong(Message, frozen=True, kw_only=True):
    """The answer to a ping: its id and stamp, and when it came and was answered by the sender's UTC."""

    type: ClassVar[int] = 13
    id: _Number
    sent_us: _Number
    received_us: _Number
    answered_us: _Number


M = TypeVar("M", bound=Message)

MESSAGES: tuple[type[Message], ...] = (
    Hello,
    Proof,
    Offer,
    Withdraw,
    Subscribe,
    Unsubscribe,
    Tracks,
    State,
    Gap,
    Refused,
    GoingAway,
    Ping,
    Pong,
    Recall,
)

_ENCODER = msgspec.msgpack.Encoder()
_DECODERS = {message.type: msgspec.msgpack.Decoder(message) for message in MESSAGES}


class _Version(msgspec.Struct):
    version: int


_VERSION_DECODER = msgspec.msgpack.Decoder(_Version)


def encode(message: Message) -> bytes:
    """Return a control message as it travels.

    Raises:
        WireError: `too_large` when it exceeds `CONTROL_MAX_BYTES`; then the peer would refuse it.
    """
    data = bytes((message.type,)) + _ENCODER.encode(message)
    if len(data) > CONTROL_MAX_BYTES:
        raise WireError("too_large", f"{type(message).__name__} of {len(data)} bytes, at most {CONTROL_MAX_BYTES}")
    return data


def decode(data: bytes) -> Message | None:
    """Return the control message in `data`, or `None` for a type that this version does not know.

    Raises:
        WireError: `truncated` for nothing at all, `too_large` beyond `CONTROL_MAX_BYTES`, `bad_version` for a hello of
            another version, `bad_message` for anything that is not the map which its type promises, and the codes of
            the members' own rules: `bad_name`, `bad_tracks`.
    """
    if not data:
        raise WireError("truncated", "empty message")
    if len(data) > CONTROL_MAX_BYTES:
        raise WireError("too_large", f"control message of {len(data)} bytes, at most {CONTROL_MAX_BYTES} are allowed")
    decoder = _DECODERS.get(data[0])
    if decoder is None:
        return None
    body = memoryview(data)[1:]
    try:
        if data[0] == Hello.type:
            _check_version(body)
        message = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise WireError("bad_message", f"message of type {data[0]}: {error}") from error
    message.check()
    return message


def chunk_prefix(handle: int, sent_us: int) -> bytes:
    """Return the twelve bytes that stand before a chunk record.

    Args:
        handle: of the subscription.
        sent_us: UTC in microseconds, now.
    """
    return _CHUNK_PREFIX.pack(CHUNK_TYPE, handle, sent_us)


def decode_chunk(data: bytes) -> tuple[int, int, Chunk]:
    """Return handle, send stamp (UTC in microseconds) and chunk of a message whose first byte is `CHUNK_TYPE`.

    Raises:
        WireError: `truncated` when it is shorter than its prefix, `bad_handle` for handle 0, or as `parse_chunk`.
    """
    if len(data) < CHUNK_PREFIX_BYTES:
        raise WireError("truncated", f"chunk message of {len(data)} bytes, its prefix alone has {CHUNK_PREFIX_BYTES}")
    _, handle, sent_us = _CHUNK_PREFIX.unpack_from(data)
    if handle == 0:
        raise WireError("bad_handle", "chunk with handle 0: handles count from 1")
    return handle, sent_us, parse_chunk(data[CHUNK_PREFIX_BYTES:])


def places(after: dict[int, ChunkId] | None) -> dict[int, Place] | None:
    """Return chunk identities as the `after` of a subscribe message."""
    return None if after is None else {track: had.position for track, had in after.items()}


def _check_version(body: memoryview) -> None:
    """Refuse another version before its members are looked at, which may be different ones."""
    version = _VERSION_DECODER.decode(body).version
    if version != VERSION:
        raise WireError("bad_version", f"peer speaks version {version} of {SUBPROTOCOL}, this node speaks {VERSION}")


def _check_node(text: str) -> None:
    try:
        node_id(text)
    except InvalidName as error:
        raise WireError("bad_name", str(error)) from error


def _check_stream(text: str) -> None:
    try:
        stream_name(text)
    except InvalidName as error:
        raise WireError("bad_name", str(error)) from error
