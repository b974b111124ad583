"""The records of a cluster, as JSON, and what is believed of one that somebody else wrote (docs/registry.md).

A record is written by the process that it is about and read by all others. Whoever reads checks it here first: names,
lengths and ranges. Unknown members are ignored, so that a later version can add some; missing ones have defaults.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Final, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from headrace.identifiers import NODE_ID_MAX_BYTES, STREAM_NAME_MAX_BYTES, InvalidName, node_id, stream_name
from headrace.wire.stream import TRACKS_MAX

RECORD_MAX_BYTES: Final = 1024 * 1024
"""Largest record, in bytes of JSON: a node that carries `NODE_STREAMS_MAX` streams with the longest names fits."""

NODE_STREAMS_MAX: Final = 4096
"""Most streams told in a node's record: the list only helps others to choose a parent, so the rest may go untold."""

CAPACITY_MAX: Final = 10_000_000
"""Largest capacity of a node: beyond what one machine's sockets allow."""

LAYER_MAX: Final = 1000
"""The highest layer, that of edges."""

WHOLE_MAX: Final = 2**53 - 1
"""Largest whole number in a record: Lua and JavaScript read JSON numbers as doubles, which are exact up to here. As
milliseconds since 1970 that is the year 287396."""

MILLISECONDS_MAX: Final = 2**43
"""Greatest epoch, revision and generation of a claim: they are milliseconds since 1970 or a little more, and this is
the year 2248. No clock is asked, for a wrong one must not refuse what is right; whatever is greater is a mistake, which
nobody could go on from."""

SECONDS_MAX: Final = 2**33
"""Greatest end of a timeline, in seconds since 1970: the year 2242."""

SEGMENT_MAX: Final = 2**37
"""Greatest segment number: they begin at the UTC second, and sixteen in every second since 1970 end in the year
2242."""

EPOCHS_MAX: Final = 2**31
"""Most epochs of a stream: one in every second for 68 years."""

CLAIM_MAX_BYTES: Final = 208
"""Longest name of a claim, in bytes: the kind, and a move's stream and child."""

DEPTH_MAX: Final = 64
"""Greatest depth in a record; routes are far shorter."""

REACH_MAX: Final = 64
"""Most networks in a node's record; one that may reach more does not tell them."""

FACTS_MAX: Final = 16
"""Most facts on a claim."""

_URL = r"^((https?|wss?)://[^\s@]+)?$"
_Name = Annotated[str, Meta(max_length=NODE_ID_MAX_BYTES)]
_StreamText = Annotated[str, Meta(max_length=STREAM_NAME_MAX_BYTES)]
_Word = Annotated[str, Meta(max_length=64)]
_Url = Annotated[str, Meta(max_length=512, pattern=_URL)]
_Whole = Annotated[int, Meta(ge=0, le=WHOLE_MAX)]
_Small = Annotated[int, Meta(ge=0, le=2**31)]
_Amount = Annotated[float, Meta(ge=0.0, le=1e15)]
_Milliseconds = Annotated[int, Meta(ge=0, le=MILLISECONDS_MAX)]
_Seconds = Annotated[float, Meta(ge=0.0, le=SECONDS_MAX)]
_Segment = Annotated[int, Meta(ge=0, le=SEGMENT_MAX)]
_Epochs = Annotated[int, Meta(ge=0, le=EPOCHS_MAX)]


class InvalidRecord(ValueError):
    """A record that breaks a rule of this module; the sentence says which."""


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the mesh: where it is reached and how busy it is.

    Attributes:
        node: its node id.
        role: ingress, intermediate, edge, control-api or standalone.
        relay_url: where nodes reach it, for example `ws://10.0.0.7:8082/relay`; empty when it cannot be a parent. Never
            holds credentials.
        public_url: where browsers reach it; empty when they do not.
        region: where it stands, in the operator's words.
        layer: its place in chains: ingress 0, intermediates from 1, edges `LAYER_MAX`.
        capacity: how much it may carry, in the unit of its own choice (children, viewers); weighs it against others.
        load: the share of its capacity in use: 0 idle, 1 full, more than 1 overloaded.
        host: the machine that it runs on, in the operator's words; nodes of one host die together.
        children: how many nodes fetch from it now.
        children_max: how many nodes it feeds beside its own work; 0 when its capacity alone says. An edge with 0 feeds
            no others.
        depth: how many nodes its streams have passed before it, at most; 0 for who has the source, or when unknown.
        streams: names of the streams that it carries now, at most `NODE_STREAMS_MAX`.
        software: name and version of the program.
        started_us: when it started, UTC in microseconds since 1970.
        draining: it goes away soon and takes no new children.
        reach: private networks that it may reach for what is asked for by API; `None` when it does not tell.
        generation: orders the processes that ever used this node id, older start first; filled in by the registry
            when 0.
    """

    node: _Name
    role: _Word
    relay_url: _Url = ""
    public_url: _Url = ""
    region: _Word = ""
    layer: Annotated[int, Meta(ge=0, le=LAYER_MAX)] = 0
    capacity: Annotated[int, Meta(ge=0, le=CAPACITY_MAX)] = 1000
    load: _Amount = 0.0
    host: _Word = ""
    children: _Small = 0
    children_max: _Small = 0
    depth: Annotated[int, Meta(ge=0, le=DEPTH_MAX)] = 0
    streams: Annotated[tuple[_StreamText, ...], Meta(max_length=NODE_STREAMS_MAX)] = ()
    software: Annotated[str, Meta(max_length=128)] = ""
    started_us: _Whole = 0
    draining: bool = False
    reach: Annotated[tuple[_Word, ...], Meta(max_length=REACH_MAX)] | None = None
    generation: _Whole = 0


class TrackSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a track in lists of streams; the header and the rest travel in-band.

    Attributes are those of `headrace.wire.stream.Track`; unknown numbers are 0.
    """

    track: Annotated[int, Meta(ge=1, le=255)]
    kind: Literal["video", "audio", "data"]
    codec: _Word = ""
    width: _Small = 0
    height: _Small = 0
    frame_rate: _Amount = 0.0
    sample_rate: _Small = 0
    channels: _Small = 0
    bandwidth: _Whole = 0
    language: _Word = "und"


class StreamRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One publication of a stream and the node whose source it is.

    Attributes:
        stream: its name.
        node: the node that owns it.
        epoch: the publication; of two owners the one with the greater epoch is right.
        state: live, interrupted or ended.
        next_segment: the number after the last segment that was given out.
        end_seconds: where the timeline ends so far, in seconds of decode time.
        epochs: how many epochs the stream had, this one included.
        tracks: what it is made of.
        generation: the owner's, as in its node record.
    """

    stream: _StreamText
    node: _Name
    epoch: _Milliseconds
    state: Literal["live", "interrupted", "ended"]
    next_segment: _Segment = 0
    end_seconds: _Seconds = 0.0
    epochs: _Epochs = 0
    tracks: Annotated[tuple[TrackSummary, ...], Meta(max_length=TRACKS_MAX)] = ()
    generation: _Whole = 0

    def numbers(self) -> StreamNumbers:
        """Return the part of this record that outlives its owner."""
        return StreamNumbers(
            next_segment=self.next_segment, end_seconds=self.end_seconds, epoch=self.epoch, epochs=self.epochs
        )


class StreamNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a stream that must never be given out again, whoever publishes it next.

    A store's are believed up to half of what a record may say, so that whoever goes on from them has room.

    Attributes:
        next_segment: the number after the last segment known to be given out.
        end_seconds: the latest known end of its timeline, in seconds of decode time.
        epoch: the greatest epoch known.
        epochs: how many epochs there were: the discontinuity number of the next one.
        overtaken: whether the store was away after these were written, so that their publisher, which went on, may have
            given out more than it could tell. Filled in when they are asked for; not stored.
    """

    next_segment: _Segment = 0
    end_seconds: _Seconds = 0.0
    epoch: _Milliseconds = 0
    epochs: _Epochs = 0
    overtaken: bool = False

    def grown(self, other: StreamNumbers) -> StreamNumbers:
        """Return the greater of each number."""
        return StreamNumbers(
            next_segment=max(self.next_segment, other.next_segment),
            end_seconds=max(self.end_seconds, other.end_seconds),
            epoch=max(self.epoch, other.epoch),
            epochs=max(self.epochs, other.epochs),
        )


class ClaimRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Who carries a desired record out, and how that goes.

    Attributes:
        generation: grows with every grant of this claim; filled in by the store. It must stand first, see `CLAIM`.
        claim: which desired record, `kind:name`.
        node: who carries it out.
        since_ms: since when, UTC in milliseconds since 1970.
        status: how it goes, in one word of the kind's own.
        detail: more of that for people; never credentials.
        facts: whatever else others need to know of it, for example the ids of sessions.
    """

    generation: _Milliseconds = 0
    claim: Annotated[str, Meta(max_length=CLAIM_MAX_BYTES)]
    node: _Name
    since_ms: _Whole = 0
    status: _Word = ""
    detail: Annotated[str, Meta(max_length=512)] = ""
    facts: Annotated[dict[_Word, Annotated[str, Meta(max_length=512)]], Meta(max_length=FACTS_MAX)] = {}


Record = NodeRecord | StreamRecord | ClaimRecord

_encoder = msgspec.json.Encoder()
_node_decoder = msgspec.json.Decoder(NodeRecord)
_stream_decoder = msgspec.json.Decoder(StreamRecord)
_claim_decoder = msgspec.json.Decoder(ClaimRecord)


def encode_record(record: Record) -> bytes:
    """Return `record` as JSON.

    Raises:
        InvalidRecord: when others would refuse it.
    """
    data = _encoder.encode(record)
    if isinstance(record, NodeRecord):
        decode_node(data, record.node)
    elif isinstance(record, StreamRecord):
        decode_stream(data, record.stream)
    else:
        decode_claim(data, record.claim)
    return data


def past_record(stream: str, owner: str, epoch: int) -> bytes:
    """Return the JSON that stands for a stream whose last owner, of a newer epoch than somebody's, is gone."""
    return encode_record(StreamRecord(stream=stream, node=owner, epoch=epoch, state="ended"))


def decode_node(data: bytes, name: str) -> NodeRecord:
    """Return the node record that `data` holds and that stands under `name`.

    Raises:
        InvalidRecord: when it is too long, no JSON, not of that shape, out of range or under another's name.
    """
    what = f"record of node {name[:NODE_ID_MAX_BYTES]!r}"
    record = _decode(data, _node_decoder, what)
    try:
        node_id(record.node)
        for stream in record.streams:
            stream_name(stream)
        for url in (record.relay_url, record.public_url):
            if urlsplit(url).port == 0:  # others that cannot be raise ValueError
                raise ValueError(f"{url}: nobody can dial port 0")
        for network in record.reach or ():
            ip_network(network)
    except (InvalidName, ValueError) as error:
        raise InvalidRecord(f"{what}: {error}") from None
    if record.node != name:
        raise InvalidRecord(f"{what} is about {record.node!r}")
    return record


def decode_stream(data: bytes, name: str) -> StreamRecord:
    """Return the stream record that `data` holds and that stands under `name`.

    Raises:
        InvalidRecord: as `decode_node`.
    """
    what = f"record of stream {name[:STREAM_NAME_MAX_BYTES]!r}"
    record = _decode(data, _stream_decoder, what)
    try:
        stream_name(record.stream)
        node_id(record.node)
    except InvalidName as error:
        raise InvalidRecord(f"{what}: {error}") from None
    if record.stream != name:
        raise InvalidRecord(f"{what} is about {record.stream!r}")
    return record


def decode_claim(data: bytes, name: str) -> ClaimRecord:
    """Return the claim that `data` holds and that stands under `name`.

    Raises:
        InvalidRecord: as `decode_node`.
    """
    what = f"claim on {name[:CLAIM_MAX_BYTES]!r}"
    record = _decode(data, _claim_decoder, what)
    try:
        node_id(record.node)
    except InvalidName as error:
        raise InvalidRecord(f"{what}: {error}") from None
    if record.claim != name:
        raise InvalidRecord(f"{what} is about {record.claim!r}")
    return record


_R = TypeVar("_R", NodeRecord, StreamRecord, ClaimRecord)


def _decode(data: bytes, decoder: msgspec.json.Decoder[_R], what: str) -> _R:
    if len(data) > RECORD_MAX_BYTES:
        raise InvalidRecord(f"{what} has {len(data)} bytes, at most {RECORD_MAX_BYTES} are allowed")
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecord(f"{what}: {error}") from None
