"""What is said between ingress and its workers: frames on a stream socket. Pure.

A frame is nine bytes and a payload; all numbers are big-endian:

| offset | size | field |
|---|---|---|
| 0 | 1 | kind, see `Kind` |
| 1 | 4 | number of the attempt that it is about, 0 for the worker itself |
| 5 | 4 | length of the payload |
| 9 | … | payload: by kind a chunk with its numbers, or MessagePack |

What a worker says is checked as what a stranger says: libav may have written anything anywhere in it. Ingress is
believed.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from headrace.identifiers import Epoch
from headrace.wire.chunk import CHUNK_MAX_BYTES, parse_chunk
from headrace.wire.errors import WireError
from headrace.wire.stream import Track, check_tracks
from headrace_ingress.events import Chunks, Closed, EpochOpened, Event, Held, Noted, Numbers, Ready
from headrace_ingress.jobs import Job, ReaderOptions

FRAME: Final = struct.Struct(">BII")
"""Kind, number of the attempt, length of the payload."""

NUMBERS: Final = struct.Struct(">QQdI?")
"""Where the numbers stand after a chunk: epoch, next segment, end of the timeline in seconds, epochs; and whether it is
the rest of its epoch."""

CHUNK_FRAME_MAX_BYTES: Final = NUMBERS.size + CHUNK_MAX_BYTES
PAYLOAD_MAX_BYTES: Final = 2 * 1024 * 1024
"""Longest payload but for a chunk's: sixteen tracks with headers of 64 KiB have half of it."""

TEXT_MAX_CHARACTERS: Final = 1000
"""Longest note or reason; what is longer is cut by who says it."""


class Kind(enum.IntEnum):
    """What a frame is. Those below 16 are said by workers, the others to them."""

    BEGUN = 1
    """An attempt has its thread."""
    CHUNK = 2
    """A finished chunk, and where the numbers stand after it."""
    EPOCH = 3
    NOTE = 4
    CLOSED = 5
    """The last of an attempt."""
    BEAT = 6
    """The worker is alive; what it and its attempts cost."""
    HELD = 7
    READY = 8
    SETUP = 16
    """The first: what all attempts have in common."""
    OPEN = 17
    STOP = 18
    FILE = 19
    """A publisher's next file; a descriptor comes with the frame."""
    FILES_END = 20
    HOLD = 21
    GO_ON = 22


class MessageError(Exception):
    """What was said is none of the above.

    Attributes:
        code: `bad_kind`, `too_long`, `bad_payload` or `truncated`.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Frame(NamedTuple):
    """One frame, its payload copied out of what was received; of a chunk that is its record, and the numbers apart."""

    kind: Kind
    attempt: int
    payload: bytes
    numbers: Numbers | None = None
    is_rest: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt has its thread; `thread` is `threading.get_ident` of it."""

    thread: int


class Cost(msgspec.Struct, frozen=True, array_like=True):
    """What an attempt costs.

    Attributes:
        cpu_seconds: of its thread, so far.
        busy_seconds: since when its source has not returned from what it was last asked for.
    """

    cpu_seconds: float
    busy_seconds: float


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """A sign of life.

    Attributes:
        memory_bytes: resident memory of the worker.
        cpu_seconds: of all its threads, so far.
        costs: by attempt.
    """

    memory_bytes: int
    cpu_seconds: float
    costs: dict[int, Cost]


class Setup(msgspec.Struct, frozen=True, array_like=True):
    """What all attempts of a worker have in common."""

    options: ReaderOptions
    log_level: str
    log_format: str


class Opened(msgspec.Struct, frozen=True, array_like=True):
    """An order to read a feed, its numbers going on from `numbers`."""

    job: Job
    numbers: Numbers


class FrameReader:
    """Cuts what a socket brings into frames, whatever pieces it comes in.

    Args:
        kinds: those that the other side may say.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds = {int(kind): kind for kind in kinds}
        self._buffer = bytearray()

    def take(self, data: bytes | memoryview) -> list[Frame]:
        """Return the frames that are complete with `data`, which may be used again afterwards.

        Raises:
            MessageError: `bad_kind` for what the other side may not say, `too_long` for a length beyond its kind's,
                `bad_payload` for a chunk without its numbers.
        """
        if self._buffer:
            self._buffer += data
            with memoryview(self._buffer) as view:
                frames, at = self._cut(view)
            del self._buffer[:at]
            return frames
        frames, at = self._cut(data)
        if at < len(data):
            self._buffer += memoryview(data)[at:]
        return frames

    def _cut(self, view: bytes | memoryview) -> tuple[list[Frame], int]:
        """Return whole frames, and where the rest begins."""
        frames, at, there = [], 0, len(view)
        while there - at >= FRAME.size:
            number, attempt, length = FRAME.unpack_from(view, at)
            kind = self._kinds.get(number)
            if kind is None:
                raise MessageError("bad_kind", f"a frame of kind {number}")
            if length > (CHUNK_FRAME_MAX_BYTES if kind is Kind.CHUNK else PAYLOAD_MAX_BYTES):
                raise MessageError("too_long", f"a frame of kind {kind.name} with {length} bytes")
            begin, end = at + FRAME.size, at + FRAME.size + length
            if end > there:
                break
            if kind is Kind.CHUNK:
                frames.append(_chunk_frame(attempt, view, begin, end))
            else:
                frames.append(Frame(kind, attempt, bytes(view[begin:end])))
            at = end
        return frames, at

    def end(self) -> None:
        """Nothing more comes.

        Raises:
            MessageError: `truncated` when that is in the middle of a frame.
        """
        if self._buffer:
            raise MessageError("truncated", f"the end after {len(self._buffer)} bytes of a frame")


def _chunk_frame(attempt: int, view: bytes | memoryview, begin: int, end: int) -> Frame:
    if end - begin < NUMBERS.size:
        raise MessageError("bad_payload", f"CHUNK: {end - begin} bytes")
    epoch, segment, seconds, epochs, is_rest = NUMBERS.unpack_from(view, begin)
    record = bytes(view[begin + NUMBERS.size : end])  # the one copy
    return Frame(Kind.CHUNK, attempt, record, Numbers(Epoch(epoch), segment, seconds, epochs), is_rest)


# -- said by workers --------------------------------------------------------------------------------------------------

SAID_BY_WORKERS: Final = frozenset(kind for kind in Kind if kind < Kind.SETUP)
ORDERS: Final = frozenset(Kind) - SAID_BY_WORKERS


def write_event(attempt: int, event: Event) -> Sequence[bytes]:
    """Return an event as pieces of bytes, to be sent one after the other; chunks are not copied."""
    match event:
        case Chunks(chunks, at, is_rest):
            numbers = NUMBERS.pack(at.epoch, at.next_segment, at.end_seconds, at.epochs, is_rest)
            pieces = []
            for chunk in chunks:
                length = NUMBERS.size + len(chunk.record)
                pieces += [FRAME.pack(Kind.CHUNK, attempt, length) + numbers, chunk.record]
            return pieces
        case EpochOpened(epoch, tracks):
            return [_packed(Kind.EPOCH, attempt, (epoch, tracks))]
        case Noted(text):
            return [_packed(Kind.NOTE, attempt, text[:TEXT_MAX_CHARACTERS])]
        case Held(at):
            return [_packed(Kind.HELD, attempt, at)]
        case Ready():
            return [FRAME.pack(Kind.READY, attempt, 0)]
        case Closed(reason, ended, at, code):
            cut = Closed(reason[:TEXT_MAX_CHARACTERS], ended, at, code[:TEXT_MAX_CHARACTERS])
            return [_packed(Kind.CLOSED, attempt, cut)]


def write_begun(attempt: int, thread: int) -> bytes:
    """Return the frame that says which thread an attempt has."""
    return _packed(Kind.BEGUN, attempt, thread)


def write_beat(beat: Beat) -> bytes:
    """Return a sign of life as a frame."""
    return _packed(Kind.BEAT, 0, beat)


def read_said(frame: Frame) -> Event | Begun | Beat:
    """Return what a worker said.

    Raises:
        MessageError: `bad_payload`.
    """
    try:
        match frame.kind:
            case Kind.CHUNK if frame.numbers is not None:
                return Chunks((parse_chunk(frame.payload),), frame.numbers, frame.is_rest)
            case Kind.EPOCH:
                epoch, tracks = _EPOCH.decode(frame.payload)
                check_tracks(tracks)
                return EpochOpened(Epoch(epoch), tracks)
            case Kind.NOTE:
                return Noted(_TEXT.decode(frame.payload)[:TEXT_MAX_CHARACTERS])
            case Kind.CLOSED:
                return _CLOSED.decode(frame.payload)
            case Kind.HELD:
                return Held(_NUMBERS.decode(frame.payload))
            case Kind.READY:
                return Ready()
            case Kind.BEGUN:
                return Begun(_THREAD.decode(frame.payload))
            case Kind.BEAT:
                return _BEAT.decode(frame.payload)
    except (msgspec.MsgspecError, WireError, ValueError) as error:
        raise MessageError("bad_payload", f"{frame.kind.name}: {error}") from None
    raise MessageError("bad_kind", f"{frame.kind.name} is no worker's to say")


# -- said to workers --------------------------------------------------------------------------------------------------


def write_setup(setup: Setup) -> bytes:
    """Return the first frame of all."""
    return _packed(Kind.SETUP, 0, setup)


def write_open(attempt: int, job: Job, numbers: Numbers) -> bytes:
    """Return the order to begin an attempt."""
    return _packed(Kind.OPEN, attempt, Opened(job, numbers))


def write_stop(attempt: int) -> bytes:
    """Return the order to end one."""
    return FRAME.pack(Kind.STOP, attempt, 0)


def write_hold(attempt: int) -> bytes:
    """Return the order to finish the epoch of one whose source is silent."""
    return FRAME.pack(Kind.HOLD, attempt, 0)


def write_go_on(attempt: int, numbers: Numbers) -> bytes:
    """Return the order to go on from `numbers`."""
    return _packed(Kind.GO_ON, attempt, numbers)


def write_file(attempt: int, format: str) -> bytes:
    """Return the frame that a publisher's file comes with."""
    return _packed(Kind.FILE, attempt, format)


def write_files_end(attempt: int) -> bytes:
    """Return the frame that says that no more files will come."""
    return FRAME.pack(Kind.FILES_END, attempt, 0)


def read_order(frame: Frame) -> Setup | Opened | Numbers | str | None:
    """Return what comes with an order: by its kind a setup, an attempt, numbers, a file's format or nothing.

    Raises:
        MessageError: `bad_payload`.
    """
    try:
        match frame.kind:
            case Kind.SETUP:
                return _SETUP.decode(frame.payload)
            case Kind.OPEN:
                return _OPEN.decode(frame.payload)
            case Kind.GO_ON:
                return _NUMBERS.decode(frame.payload)
            case Kind.FILE:
                return _TEXT.decode(frame.payload)
    except msgspec.MsgspecError as error:
        raise MessageError("bad_payload", f"{frame.kind.name}: {error}") from None
    return None


# -- MessagePack ------------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction | Path):
        return str(value)
    raise NotImplementedError


def _as(wanted: Any, value: Any) -> Any:
    if wanted in {Fraction, Path}:
        return wanted(value)
    raise NotImplementedError


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
_EPOCH = msgspec.msgpack.Decoder(tuple[int, tuple[Track, ...]])
_TEXT = msgspec.msgpack.Decoder(str)
_THREAD = msgspec.msgpack.Decoder(int)
_NUMBERS = msgspec.msgpack.Decoder(Numbers)
_CLOSED = msgspec.msgpack.Decoder(Closed)
_BEAT = msgspec.msgpack.Decoder(Beat)
_SETUP = msgspec.msgpack.Decoder(Setup, dec_hook=_as)
_OPEN = msgspec.msgpack.Decoder(Opened, dec_hook=_as)


def _packed(kind: Kind, attempt: int, value: Any) -> bytes:
    payload = _ENCODER.encode(value)
    return FRAME.pack(kind, attempt, len(payload)) + payload
