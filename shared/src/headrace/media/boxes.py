"""ISO BMFF boxes: reading them with care, and what is done with CMAF headers.

Clauses are those of ISO/IEC 14496-12:2022. Chunks are written by `headrace.media.fragment`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BOX_HEADER = struct.Struct(">I4s")

BOXES_MAX = 4096
"""Most boxes read side by side: a header has tens, a crafted one could have millions of empty ones."""


class BoxError(Exception):
    """Bytes that are not well-formed boxes, or not the boxes that were due; the writer's fault."""


@dataclass(frozen=True, slots=True)
class Box:
    """One box inside `data`.

    Attributes:
        type: four characters, for example `moof`.
        data: what it stands in.
        start: where its size field begins.
        body: where its contents begin.
        end: where the next box begins.
    """

    type: str
    data: memoryview
    start: int
    body: int
    end: int

    @property
    def contents(self) -> memoryview:
        """The bytes after the box's header."""
        return self.data[self.body : self.end]

    @property
    def bytes(self) -> bytes:
        """The whole box."""
        return bytes(self.data[self.start : self.end])


def read_boxes(data: bytes | memoryview, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Yield the boxes that stand side by side in `data[start:end]`.

    Raises:
        BoxError: when a box is shorter than its header, reaches beyond `end`, or there are more than `BOXES_MAX`.
    """
    view = memoryview(data)
    end = len(view) if end is None else end
    for _ in range(BOXES_MAX):
        if start == end:
            return
        box = _read_box(view, start, end)
        yield box
        start = box.end
    raise BoxError(f"more than {BOXES_MAX} boxes side by side")


def _read_box(view: memoryview, start: int, end: int) -> Box:
    if end - start < 8:
        raise BoxError(f"{end - start} bytes at {start} where a box of at least 8 was due")
    size, name = BOX_HEADER.unpack_from(view, start)
    header = 8
    if size == 1:
        if end - start < 16:
            raise BoxError(f"box at {start} ends inside its 64-bit size")
        size = int.from_bytes(view[start + 8 : start + 16], "big")
        header = 16
    elif size == 0:
        size = end - start
    if not header <= size <= end - start:
        raise BoxError(f"box {name!r} at {start} claims {size} bytes, {end - start} are there")
    return Box(name.decode("latin-1"), view, start, start + header, start + size)


def find_box(data: bytes | memoryview, *path: str) -> Box:
    """Return the first box at `path`, for example `find_box(header, "moov", "mvhd")`.

    Raises:
        BoxError: when there is none, or on the way to it bytes are not well-formed boxes.
    """
    view = memoryview(data)
    start, end = 0, len(view)
    box: Box | None = None
    for name in path:
        box = next((inner for inner in read_boxes(view, start, end) if inner.type == name), None)
        if box is None:
            raise BoxError(f"no box {'/'.join(path)}")
        start, end = box.body, box.end
    if box is None:
        raise BoxError("an empty path names no box")
    return box


def make_box(name: str, *contents: bytes) -> bytes:
    """Return a box around `contents`."""
    body = b"".join(contents)
    return BOX_HEADER.pack(8 + len(body), name.encode("latin-1")) + body


def strip_prft(media: bytes | memoryview) -> memoryview:
    """Return a chunk's media without the prft box before its moof.

    Raises:
        BoxError: when the first box is malformed.
    """
    view = memoryview(media)
    first = next(read_boxes(view), None)
    return view[first.end :] if first is not None and first.type == "prft" else view


# -- headers: ftyp and moov of one track -------------------------------------------------------------------------------

FTYP = make_box("ftyp", b"iso6", struct.pack(">I", 0), b"iso6cmfcmp41")
"""Brands of every header: ISO base media with fragments (iso6) and CMAF (cmfc), ISO/IEC 23000-19, 7.2."""


def combine_headers(headers: Sequence[bytes]) -> bytes:
    """Merge CMAF headers of one track each into one ftyp and moov; track_IDs stay as they are.

    The chunks of all these tracks may then follow in one byte stream.

    Raises:
        BoxError: when a header is malformed, lacks a box, or two have the same track_ID.
    """
    if not headers:
        raise BoxError("no header to combine")
    traks, trexs, numbers = [], [], set()
    for header in headers:
        moov = find_box(header, "moov")
        trak = _only(moov.contents, "trak")
        traks.append(trak.bytes)
        trexs.append(_only(find_box(moov.contents, "mvex").contents, "trex").bytes)
        numbers.add(track_id(header))
    if len(numbers) != len(headers):
        raise BoxError(f"{len(headers)} headers with track_IDs {sorted(numbers)}")
    mvhd = bytearray(find_box(headers[0], "moov", "mvhd").bytes)
    mvhd[-4:] = struct.pack(">I", max(numbers) + 1)
    return FTYP + make_box("moov", bytes(mvhd), *traks, make_box("mvex", *trexs))


def track_id(header: bytes) -> int:
    """Return the track_ID of a single-track header.

    Raises:
        BoxError: when it is malformed or has no tkhd.
    """
    tkhd = find_box(header, "moov", "trak", "tkhd")
    return _number(tkhd, _tkhd_offset(tkhd))


def media_timescale(header: bytes) -> int:
    """Return the timescale of a single-track header's media, from mdhd.

    Raises:
        BoxError: when it is malformed or has no mdhd.
    """
    mdhd = find_box(header, "moov", "trak", "mdia", "mdhd")
    return _number(mdhd, 20 if _version(mdhd) else 12)


def rewrite_header(header: bytes, number: int) -> bytes:
    """Return a single-track header with CMAF brands, track_ID `number`, and only what fragments need.

    Edit lists are left out: they would shift this track's presentation against the others', and composition offsets
    are written into the chunks. So is user data.

    Raises:
        BoxError: when the header is malformed or lacks a box.
    """
    moov = find_box(header, "moov")
    mvhd = bytearray(find_box(moov.contents, "mvhd").bytes)
    mvhd[-4:] = struct.pack(">I", number + 1)
    trak = make_box("trak", *(_rewrite(box, number) for box in read_boxes(_only(moov.contents, "trak").contents)))
    trex = bytearray(_only(find_box(moov.contents, "mvex").contents, "trex").bytes)
    trex[12:16] = struct.pack(">I", number)
    return FTYP + make_box("moov", bytes(mvhd), trak, make_box("mvex", bytes(trex)))


def sample_entry(header: bytes) -> Box:
    """Return the first sample entry (avc1, mp4a, …) of a single-track header.

    Raises:
        BoxError: when it is malformed or has none.
    """
    stsd = find_box(header, "moov", "trak", "mdia", "minf", "stbl", "stsd").contents
    entry = next(read_boxes(stsd, min(8, len(stsd))), None)
    if entry is None:
        raise BoxError("stsd without a sample entry")
    return entry


def _rewrite(box: Box, number: int) -> bytes:
    """Return one child of trak as it stays: tkhd with the new track_ID, edts and udta not at all."""
    if box.type in {"edts", "udta"}:
        return b""
    data = bytearray(box.bytes)
    if box.type == "tkhd":
        at = 8 + _tkhd_offset(box)
        data[at : at + 4] = struct.pack(">I", number)
    return bytes(data)


def _tkhd_offset(tkhd: Box) -> int:
    """Return where track_ID stands in tkhd's contents: its times have 64 bits in version 1 (8.3.2)."""
    return 20 if _version(tkhd) else 12


def _number(box: Box, offset: int) -> int:
    if offset + 4 > len(box.contents):
        raise BoxError(f"box {box.type} of {len(box.contents)} bytes ends before its number at {offset}")
    return int.from_bytes(box.contents[offset : offset + 4], "big")


def _only(data: memoryview, name: str) -> Box:
    found = [box for box in read_boxes(data) if box.type == name]
    if len(found) != 1:
        raise BoxError(f"{len(found)} boxes {name} where one was due")
    return found[0]


def _version(box: Box) -> int:
    """Return a full box's version, 0 when it is too short to have one."""
    return box.contents[0] if len(box.contents) else 0
