"""Desired records: what somebody asked for. They outlive every node, and they are how an order reaches one.

Each is written by whoever takes orders and read by all; who carries one out holds its claim (`ClaimRecord`). A record
has a revision that only grows, so that of two writers who saw the same one only the first succeeds. In the store a
record is `<revision> <JSON>`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from headrace.identifiers import NODE_ID_MAX_BYTES, STREAM_NAME_MAX_BYTES, InvalidName, node_id, stream_name
from headrace.registry.records import MILLISECONDS_MAX, WHOLE_MAX, InvalidRecord
from headrace.registry.sealing import SealError, Uri, Vault

DESIRED_MAX_BYTES: Final = 64 * 1024
"""Largest desired record, in bytes of JSON: the most and longest addresses that one may have fit."""

DESIRED_MAX: Final = 10_000
"""Most desired records of one kind: every node holds them all, some 1 KiB each."""

URIS_MAX: Final = 4
"""Most addresses of one source: the first that works is used."""

OPTIONS_MAX: Final = 32
"""Most options of one record."""

TRANSFER_ID_MAX_BYTES: Final = 64
"""Longest id of a transfer: a UUID is 36."""

_Name = Annotated[str, Meta(max_length=NODE_ID_MAX_BYTES)]
_StreamText = Annotated[str, Meta(max_length=STREAM_NAME_MAX_BYTES)]
_Word = Annotated[str, Meta(max_length=64)]
_Text = Annotated[str, Meta(max_length=512)]
_Options = Annotated[dict[_Word, _Text], Meta(max_length=OPTIONS_MAX)]
_Whole = Annotated[int, Meta(ge=0, le=WHOLE_MAX)]

_TRANSFER_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{TRANSFER_ID_MAX_BYTES - 1}}}", re.ASCII)
_KEY = re.compile(r"(source|drain|move|transfer):([\x21-\x7e]{1,200})", re.ASCII)


class DesiredKind(enum.Enum):
    """What a desired record is about."""

    SOURCE = "source"
    DRAIN = "drain"
    MOVE = "move"
    TRANSFER = "transfer"


class DesiredKey(NamedTuple):
    """The identity of a desired record, and of the claim on it."""

    kind: DesiredKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}"


class DesiredSource(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that an ingress is to fetch and publish; its name is the stream's.

    Attributes:
        stream: what it is published as.
        uris: where it comes from, the preferred address first.
        transport: how RTSP media travels.
        loop: begin a file again when it ends.
        region: where it had better be fetched; empty for anywhere.
        options: whatever else the ingress understands.
        by: who asked for it, for people.
        since_us: when, UTC in microseconds since 1970.
    """

    stream: _StreamText
    uris: Annotated[tuple[Uri, ...], Meta(min_length=1, max_length=URIS_MAX)]
    transport: Literal["tcp", "udp"] = "tcp"
    loop: bool = True
    region: _Word = ""
    options: _Options = {}
    by: _Word = ""
    since_us: _Whole = 0


class DesiredDrain(msgspec.Struct, frozen=True, kw_only=True):
    """A node that is to give everything to others and take nothing new; its name is the node's."""

    node: _Name
    by: _Word = ""
    since_us: _Whole = 0


class DesiredMove(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that is to come from a certain node, while that one is there and may be asked; `stream@child`.

    Attributes:
        stream: which stream.
        child: who is to fetch it there; empty for all who can. With an ingress as the parent: who runs its source.
        parent: where it is to be fetched.
        by: who asked for it, for people.
        since_us: when, UTC in microseconds since 1970.
    """

    stream: _StreamText
    parent: _Name
    child: _Name = ""
    by: _Word = ""
    since_us: _Whole = 0


class DesiredTransfer(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that is to come from or go to another server; its name is its id.

    How it does stands on its claim (`ClaimRecord.status`, `detail`, `facts`).

    Attributes:
        id: its name.
        kind: `pull` fetches it here, `push` brings it there.
        uri: the other server.
        local_name: the stream's name here.
        remote_name: its name there.
        region: where it had better run; empty for anywhere.
        options: whatever else it takes.
        by: who asked for it, for people.
        since_us: when, UTC in microseconds since 1970.
    """

    id: Annotated[str, Meta(max_length=TRANSFER_ID_MAX_BYTES)]
    kind: Literal["pull", "push"]
    uri: Uri
    local_name: _StreamText
    remote_name: Annotated[str, Meta(max_length=256)] = ""
    region: _Word = ""
    options: _Options = {}
    by: _Word = ""
    since_us: _Whole = 0


Desired = DesiredSource | DesiredDrain | DesiredMove | DesiredTransfer

_TYPES: Final[Mapping[DesiredKind, type[Desired]]] = {
    DesiredKind.SOURCE: DesiredSource,
    DesiredKind.DRAIN: DesiredDrain,
    DesiredKind.MOVE: DesiredMove,
    DesiredKind.TRANSFER: DesiredTransfer,
}


@dataclass(frozen=True, slots=True)
class DesiredEntry:
    """A desired record as the registry knows it.

    Attributes:
        record: what is desired.
        revision: grows with every change of it; to be given back when it is changed.
        stored: as it stands in the store, to be written again if the store loses it.
    """

    record: Desired
    revision: int
    stored: bytes = field(repr=False, compare=False)


class DesiredConflict(Exception):
    """Somebody else changed the record first.

    Attributes:
        key: which record.
        revision: the one that is there now; 0 when there is none.
    """

    def __init__(self, key: DesiredKey, revision: int) -> None:
        self.key = key
        self.revision = revision
        super().__init__(f"{key} has revision {revision} by now" if revision else f"{key} is not there")


class DesiredLimit(Exception):
    """There are as many desired records of a kind as there may be."""

    def __init__(self, kind: DesiredKind) -> None:
        self.kind = kind
        super().__init__(f"{DESIRED_MAX} desired records of kind {kind.value} are there: no more are allowed")


def desired_key(record: Desired) -> DesiredKey:
    """Return the key that `record` stands under."""
    match record:
        case DesiredSource():
            return DesiredKey(DesiredKind.SOURCE, record.stream)
        case DesiredDrain():
            return DesiredKey(DesiredKind.DRAIN, record.node)
        case DesiredMove():
            return DesiredKey(DesiredKind.MOVE, f"{record.stream}@{record.child}")
        case DesiredTransfer():
            return DesiredKey(DesiredKind.TRANSFER, record.id)


def parse_key(text: str) -> DesiredKey | None:
    """Return the key that `str` made `text` of; `None` when it is none that is known here."""
    match = _KEY.fullmatch(text)
    return DesiredKey(DesiredKind(match[1]), match[2]) if match else None


def encode_desired(record: Desired, vault: Vault) -> bytes:
    """Return `record` as JSON, its addresses sealed.

    Raises:
        InvalidRecord: when others would refuse it, or when it holds credentials and there is no secret to seal with.
    """
    key = desired_key(record)
    try:
        data = msgspec.json.Encoder(enc_hook=_sealing(vault, str(key))).encode(record)
    except SealError as error:
        raise InvalidRecord(f"desired {key}: {error}") from None
    _decode(data, key, vault)
    return data


def decode_desired(stored: bytes, key: DesiredKey, vault: Vault) -> DesiredEntry:
    """Return the entry that stands as `stored` under `key`.

    Raises:
        InvalidRecord: when it is too long, no JSON, not of that shape, out of range or under another's name.
    """
    revision, data = split_stored(stored)
    if revision <= 0:
        raise InvalidRecord(f"desired {str(key)[:200]!r} has no revision")
    return DesiredEntry(_decode(data, key, vault), revision, stored)


def split_stored(stored: bytes) -> tuple[int, bytes]:
    """Return the revision and the JSON of what is stored; revision 0 when there is none."""
    number, _, data = stored.partition(b" ")
    if not number.isdigit() or len(number) > 16:
        return 0, b""
    revision = int(number)
    return (revision, data) if revision <= MILLISECONDS_MAX else (0, b"")


def _decode(data: bytes, key: DesiredKey, vault: Vault) -> Desired:
    what = f"desired {key}"
    if len(data) > DESIRED_MAX_BYTES:
        raise InvalidRecord(f"{what} has {len(data)} bytes, at most {DESIRED_MAX_BYTES} are allowed")
    hook = _opening(vault, str(key))
    try:
        record = msgspec.json.Decoder(_TYPES[key.kind], dec_hook=hook).decode(data)
        _check_names(record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidName, SealError) as error:
        raise InvalidRecord(f"{what}: {error}") from None
    if desired_key(record) != key:
        raise InvalidRecord(f"{what} is about {desired_key(record)}")
    return record


def _check_names(record: Desired) -> None:
    match record:
        case DesiredSource():
            stream_name(record.stream)
        case DesiredDrain():
            node_id(record.node)
        case DesiredMove():
            stream_name(record.stream)
            node_id(record.parent)
            if record.child:
                node_id(record.child)
        case DesiredTransfer():
            stream_name(record.local_name)
            if not _TRANSFER_ID.fullmatch(record.id):
                raise InvalidName(f"transfer id {record.id[:TRANSFER_ID_MAX_BYTES]!r}: use letters, digits and _ . -")


def _sealing(vault: Vault, context: str) -> Callable[[Any], Any]:
    def seal(value: Any) -> Any:
        if isinstance(value, Uri):
            return vault.seal(value, context)
        raise NotImplementedError(f"no JSON for {type(value).__name__}")

    return seal


def _opening(vault: Vault, context: str) -> Callable[[type, Any], Any]:
    def open_(kind: type, value: Any) -> Any:
        if kind is Uri and isinstance(value, str):
            return vault.open(value, context)
        raise NotImplementedError(f"no {kind.__name__} of {type(value).__name__}")

    return open_
