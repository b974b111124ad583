"""Boxes: what is read is checked, what is combined stays apart."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.media.boxes import (
    BoxError,
    combine_headers,
    find_box,
    make_box,
    media_timescale,
    read_boxes,
    rewrite_header,
    strip_prft,
    track_id,
)
from support.fragments import write_fragment


def header(number: int, timescale: int = 90_000, version: int = 0) -> bytes:
    """Return a header with the boxes that combining looks at, and an edit list."""
    times = bytes(16 if version else 8)
    full = struct.pack(">I", version << 24)
    tkhd = make_box("tkhd", full, times, struct.pack(">I", 1), bytes(60))
    mdhd = make_box("mdhd", full, times, struct.pack(">II", timescale, 0), bytes(4))
    trak = make_box("trak", tkhd, make_box("edts", make_box("elst", bytes(20))), make_box("mdia", mdhd))
    trex = make_box("trex", bytes(4), struct.pack(">IIIII", 1, 1, 0, 0, 0))
    mvhd = make_box("mvhd", bytes(96), struct.pack(">I", 2))
    moov = make_box("moov", mvhd, trak, make_box("mvex", trex), make_box("udta", b"libav"))
    return rewrite_header(make_box("ftyp", b"mp42" + bytes(4)) + moov, number)


@pytest.mark.parametrize("version", [0, 1])
def test_rewriting_sets_the_track_and_drops_the_edit_list(version: int) -> None:
    """A rewritten header has its track_ID in tkhd and trex, CMAF brands, and nothing that shifts time."""
    made = header(7, version=version)
    assert track_id(made) == 7
    assert media_timescale(made) == 90_000
    assert bytes(find_box(made, "moov", "mvex", "trex").contents[4:8]) == struct.pack(">I", 7)
    assert b"cmfc" in bytes(find_box(made, "ftyp").contents)
    assert b"elst" not in made
    assert b"udta" not in made


def test_combining_keeps_every_track() -> None:
    """A combined header has one moov with each track's trak and trex, and the next free track_ID."""
    combined = combine_headers([header(1), header(2, 48_000), header(9)])
    boxes = list(read_boxes(combined))
    assert [box.type for box in boxes] == ["ftyp", "moov"]
    inside = [box.type for box in read_boxes(boxes[1].contents)]
    assert inside == ["mvhd", "trak", "trak", "trak", "mvex"]
    trexes = list(read_boxes(find_box(combined, "moov", "mvex").contents))
    assert [int.from_bytes(box.contents[4:8], "big") for box in trexes] == [1, 2, 9]
    assert find_box(combined, "moov", "mvhd").bytes[-4:] == struct.pack(">I", 10)


def test_combining_refuses_equal_numbers() -> None:
    """Two tracks of the same number cannot share a moov."""
    with pytest.raises(BoxError, match="track_IDs"):
        combine_headers([header(1), header(1)])
    with pytest.raises(BoxError, match="no header"):
        combine_headers([])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x00\x00\x00", "3 bytes"),
        (b"\x00\x00\x00\x09moov", "claims 9"),
        (b"\x00\x00\x00\x07moov", "claims 7"),
        (b"\x00\x00\x00\x01moov\x00\x00", "64-bit"),
        (b"\x00\x00\x00\x01moov" + b"\xff" * 8, "claims"),
        (b"\x00\x00\x00\x08free" * 5000, "more than"),
    ],
)
def test_malformed_boxes_are_told(data: bytes, problem: str) -> None:
    """A length that cannot be is an error that names it."""
    with pytest.raises(BoxError, match=problem):
        list(read_boxes(data))


def test_sizes_of_all_kinds_are_read() -> None:
    """A box may have a 32-bit size, a 64-bit size, or reach to the end."""
    data = make_box("free", b"abc") + b"\x00\x00\x00\x01wide" + struct.pack(">Q", 18) + b"de" + bytes(4) + b"lastfg"
    assert [(box.type, bytes(box.contents)) for box in read_boxes(data)] == [
        ("free", b"abc"),
        ("wide", b"de"),
        ("last", b"fg"),
    ]


def test_only_a_leading_prft_is_stripped() -> None:
    """Media without prft stays as it is."""
    media = write_fragment(1, 1, 0, [10], [1], [True], [0], 0, 0) + b"x"
    assert bytes(strip_prft(media)) == media[32:]
    assert bytes(strip_prft(media[32:])) == media[32:]
    assert bytes(strip_prft(b"")) == b""


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_box_error_or_not_at_all(data: bytes) -> None:
    """Nothing that a peer can send raises anything but BoxError."""
    for read in (track_id, media_timescale, strip_prft, lambda data: combine_headers([data])):
        with contextlib.suppress(BoxError):
            read(data)


@given(st.data())
def test_a_damaged_chunk_ends_in_a_box_error_or_not_at_all(data: st.DataObject) -> None:
    """The same for bytes that are nearly a chunk."""
    media = bytearray(write_fragment(1, 1, 0, [10, 20], [1, 2], [True, False], [5, -5], 0, 0) + b"abc")
    for _ in range(data.draw(st.integers(1, 4))):
        media[data.draw(st.integers(0, len(media) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BoxError):
        list(read_boxes(strip_prft(bytes(media[: data.draw(st.integers(0, len(media)))]))))
