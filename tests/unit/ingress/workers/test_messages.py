"""Frames between ingress and its workers: what is written is read, and what is not well-formed is an error by name."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.media.samples import PackagerOptions
from headrace.registry.feed_uri import parse_uri
from headrace.wire.chunk import CHUNK_MAX_BYTES, Flag, make_chunk
from headrace.wire.stream import Track
from headrace_ingress.events import Chunks, Closed, EpochOpened, Event, Held, Noted, Numbers, Ready
from headrace_ingress.jobs import Job, ReaderOptions
from headrace_ingress.slate import Slate
from headrace_ingress.workers.messages import (
    CHUNK_FRAME_MAX_BYTES,
    FRAME,
    NUMBERS,
    ORDERS,
    PAYLOAD_MAX_BYTES,
    SAID_BY_WORKERS,
    TEXT_MAX_CHARACTERS,
    Beat,
    Begun,
    Cost,
    Frame,
    FrameReader,
    Kind,
    MessageError,
    Opened,
    Setup,
    read_order,
    read_said,
    write_beat,
    write_begun,
    write_event,
    write_file,
    write_files_end,
    write_go_on,
    write_hold,
    write_open,
    write_setup,
    write_stop,
)

CAM = StreamName("cam1")
EPOCH = Epoch(1_763_600_000_000)
VIDEO = Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=b"header")
AT = Numbers(EPOCH, 7, 12.5, 3)
ONE = make_chunk(ChunkId(EPOCH, 1, 7, 0), Flag.RANDOM_ACCESS, 100, 9000, 0, 2, 17, b"media")
TWO = make_chunk(ChunkId(EPOCH, 1, 7, 1), Flag(0), 9100, 9000, 0, 2, 18, b"more")


def said(data: bytes) -> list[Event | Begun | Beat]:
    """Read what a worker wrote."""
    return [read_said(frame) for frame in FrameReader(SAID_BY_WORKERS).take(data)]


def ordered(data: bytes) -> tuple[Frame, Setup | Opened | Numbers | str | None]:
    """Read the one order that was written."""
    (frame,) = FrameReader(ORDERS).take(data)
    return frame, read_order(frame)


@pytest.mark.parametrize(
    "event",
    [
        EpochOpened(EPOCH, (VIDEO,)),
        Noted("a backup is carried"),
        Closed("the plug was pulled", False, AT, "broken"),
        Closed("", True, AT),
        Chunks((ONE,), AT),
        Chunks((ONE,), AT, True),
        Held(AT),
        Ready(),
    ],
)
def test_events(event: Event) -> None:
    """Each comes out as it went in."""
    assert said(b"".join(write_event(5, event))) == [event]


def test_chunks_are_a_frame_each() -> None:
    """So the longest frame is known; the numbers stand behind each."""
    assert said(b"".join(write_event(5, Chunks((ONE, TWO), AT)))) == [Chunks((ONE,), AT), Chunks((TWO,), AT)]


def test_signs_of_life() -> None:
    """What a worker costs, and each of its attempts; which thread reads."""
    beat = Beat(60_000_000, 1.5, {5: Cost(0.5, 0.01), 6: Cost(0.0, 44.0)})
    assert said(write_beat(beat) + write_begun(5, 2**47)) == [beat, Begun(2**47)]


def test_orders() -> None:
    """URIs travel whole, with paths, fractions and credentials."""
    uris = [
        parse_uri("rtsp://user:password@192.0.2.1/1#transport=udp", trusted=False),
        parse_uri("file:/media/a%20clip.mp4?loop=no", trusted=True),
        parse_uri("test:?rate=30000/1001", trusted=True),
    ]
    for uri in uris:
        job = Job(CAM, uri, uris[0], "udp", False, 5.0)
        assert ordered(write_open(9, job, AT))[1] == Opened(job, AT)
    assert ordered(write_open(9, Job(CAM), AT))[1] == Opened(Job(CAM), AT)
    slate = Job(CAM, is_held=True, slate=Slate("built-in", (VIDEO,)))
    assert ordered(write_open(9, slate, AT))[1] == Opened(slate, AT)
    assert ordered(write_go_on(9, AT)) == (Frame(Kind.GO_ON, 9, msgspec.msgpack.encode(AT)), AT)
    assert ordered(write_hold(9)) == (Frame(Kind.HOLD, 9, b""), None)
    options = ReaderOptions(PackagerOptions(chunk_seconds=0.2), (Path("/media"),), 7.0, ("10.0.0.0/8", "fd00::/8"))
    assert ordered(write_setup(Setup(options, "info", "json")))[1] == Setup(options, "info", "json")
    frame, format = ordered(write_file(9, "mpegts"))
    assert (frame.kind, frame.attempt, format) == (Kind.FILE, 9, "mpegts")
    assert ordered(write_stop(9)) == (Frame(Kind.STOP, 9, b""), None)
    assert ordered(write_files_end(9)) == (Frame(Kind.FILES_END, 9, b""), None)
    assert parse_uri("test:?rate=30000/1001", trusted=True).pattern.rate == Fraction(30000, 1001)


def test_credentials_are_not_in_what_is_shown() -> None:
    """An order in a log line or traceback names no password."""
    job = Job(CAM, parse_uri("rtsp://user:password@192.0.2.1/1", trusted=False))
    assert "password" not in repr(Opened(job, AT))


def test_long_words_are_cut() -> None:
    """What a library says may be long; no frame becomes too long by it."""
    (note,) = said(b"".join(write_event(1, Noted("x" * 5000))))
    (closed,) = said(b"".join(write_event(1, Closed("y" * 5000, False, AT))))
    assert note == Noted("x" * TEXT_MAX_CHARACTERS)
    assert closed == Closed("y" * TEXT_MAX_CHARACTERS, False, AT)


@given(st.lists(st.integers(1, 400), max_size=40))
def test_whatever_pieces_it_comes_in(cuts: list[int]) -> None:
    """Frames are the same wherever the socket cuts them."""
    events: list[Event] = [EpochOpened(EPOCH, (VIDEO,)), Chunks((ONE,), AT), Noted("a"), Chunks((TWO,), AT)]
    data = b"".join(piece for event in events for piece in write_event(3, event))
    reader, found, at = FrameReader(SAID_BY_WORKERS), list[Frame](), 0
    for cut in cuts:
        found += reader.take(data[at : at + cut])
        at += cut
    found += reader.take(data[at:])
    reader.end()
    assert [read_said(frame) for frame in found] == events


def error(data: bytes) -> str:
    """Return the code of the error that reading leads to."""
    with pytest.raises(MessageError) as caught:
        said(data)
    return caught.value.code


def test_unknown_kinds() -> None:
    """A kind that is none, and one that is the other side's to say."""
    assert error(FRAME.pack(99, 1, 0)) == "bad_kind"
    assert error(write_stop(1)) == "bad_kind"
    with pytest.raises(MessageError, match="kind 6"):
        FrameReader(ORDERS).take(write_beat(Beat(1, 1.0, {})))
    with pytest.raises(MessageError, match="no worker's"):
        read_said(Frame(Kind.STOP, 1, b""))


@pytest.mark.parametrize(
    ("kind", "length"),
    [(Kind.CHUNK, CHUNK_FRAME_MAX_BYTES + 1), (Kind.EPOCH, PAYLOAD_MAX_BYTES + 1), (Kind.BEAT, 2**32 - 1)],
)
def test_bad_lengths(kind: Kind, length: int) -> None:
    """A length beyond its kind's is refused before anything of it is kept."""
    assert error(FRAME.pack(kind, 1, length)) == "too_long"


def test_the_longest_chunk_passes() -> None:
    """What the wire allows, this border allows."""
    longest = make_chunk(ChunkId(EPOCH, 1, 7, 0), Flag(0), 0, 1, 0, 1, 1, bytes(CHUNK_MAX_BYTES - len(ONE.record) + 5))
    assert len(longest.record) == CHUNK_MAX_BYTES
    assert said(b"".join(write_event(1, Chunks((longest,), AT)))) == [Chunks((longest,), AT)]


def test_truncated() -> None:
    """An end in the middle of a frame is told from one between two."""
    data = write_begun(1, 5)
    for cut in range(1, len(data)):
        reader = FrameReader(SAID_BY_WORKERS)
        assert reader.take(data[:cut]) == []
        with pytest.raises(MessageError) as caught:
            reader.end()
        assert caught.value.code == "truncated"


def framed(kind: Kind, payload: bytes) -> bytes:
    return FRAME.pack(kind, 1, len(payload)) + payload


@pytest.mark.parametrize(
    "data",
    [
        framed(Kind.CHUNK, b""),
        framed(Kind.CHUNK, bytes(NUMBERS.size - 1)),
        framed(Kind.CHUNK, bytes(NUMBERS.size)),
        framed(Kind.CHUNK, bytes(NUMBERS.size) + b"\x01\x00" + ONE.record[2:]),
        framed(Kind.CHUNK, bytes(NUMBERS.size) + b"\x02" + ONE.record[1:]),
        framed(Kind.EPOCH, msgspec.msgpack.encode((EPOCH, ()))),
        framed(Kind.EPOCH, msgspec.msgpack.encode((EPOCH, (VIDEO, VIDEO)))),
        framed(Kind.EPOCH, b"\xc1"),
        framed(Kind.NOTE, b"\x01"),
        framed(Kind.CLOSED, b"\x80"),
        framed(Kind.BEGUN, b"\xa1x"),
        framed(Kind.BEAT, b"\x93\x01\x02"),
        framed(Kind.BEAT, b""),
    ],
)
def test_bad_payloads(data: bytes) -> None:
    """Of the right kind and length, and yet nothing."""
    assert error(data) == "bad_payload"


@given(st.sampled_from(sorted(SAID_BY_WORKERS)), st.binary(max_size=200))
def test_arbitrary_payloads(kind: Kind, payload: bytes) -> None:
    """Whatever a worker says is an event or a documented error."""
    with contextlib.suppress(MessageError):
        said(framed(kind, payload))
