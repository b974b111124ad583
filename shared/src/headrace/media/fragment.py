"""One chunk's prft, moof and mdat: written fast, read for tests and probes.

Clauses are those of ISO/IEC 14496-12:2022; what CMAF (ISO/IEC 23000-19, 7.3.2.3 and 7.5) asks of a chunk beyond them
is kept: one track fragment, `default-base-is-moof`, `tfdt`, and no data offset but into the chunk's own mdat.

Writing is the hot path of ingress: what fragments of one shape have in common is made once, the rest goes through one
`struct` call.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from headrace.media.boxes import Box, BoxError, find_box, read_boxes

PRFT_BYTES = 32

NTP_UNIX_SECONDS = 2_208_988_800
"""1970 in NTP's count of seconds since 1900 (RFC 5905, section 6)."""

SYNC_SAMPLE = 0x0200_0000
"""Sample flags of a random access point: depends on no other sample (8.8.3.1)."""
NON_SYNC_SAMPLE = 0x0101_0000
"""Sample flags of any other: depends on others, is a non-sync sample."""


def _fourcc(name: bytes) -> int:
    return int.from_bytes(name, "big")


_PRFT, _MOOF, _MFHD, _TRAF = _fourcc(b"prft"), _fourcc(b"moof"), _fourcc(b"mfhd"), _fourcc(b"traf")
_TFHD, _TFDT, _TRUN = _fourcc(b"tfhd"), _fourcc(b"tfdt"), _fourcc(b"trun")

_PRFT_CAPTURED = 0x0100_0018
"""Version 1 (64-bit media time), flags 24: the NTP time is that of the capture (8.16.5)."""
_TFDT_VERSION = 0x0100_0000
_TFHD_BASE_IS_MOOF = 0x02_0000
_TFHD_DEFAULT_DURATION = 0x08
_TFHD_DEFAULT_FLAGS = 0x20
_TRUN_VERSION = 0x0100_0000
_TRUN_DATA_OFFSET = 0x001
_TRUN_FIRST_FLAGS = 0x004
_TRUN_DURATION = 0x100
_TRUN_SIZE = 0x200
_TRUN_FLAGS = 0x400
_TRUN_OFFSET = 0x800

_TFHD_BYTES, _TRUN_BYTES = 20, 20
"""With the default sample flags, and without any sample."""
_TRAF_BYTES = 8 + _TFHD_BYTES + 20 + _TRUN_BYTES
_MOOF_BYTES = 8 + 16 + _TRAF_BYTES


class Sync(enum.IntEnum):
    """Which samples of a fragment are random access points."""

    ALL = enum.auto()
    NONE = enum.auto()
    FIRST = enum.auto()
    MIXED = enum.auto()


@dataclass(frozen=True, slots=True)
class FragmentShape:
    """What fragments of one kind have in common: the bytes between the numbers that change.

    Attributes:
        layout: of everything before the media: the numbers of `prefix`, then `prft`, NTP time, media time, `moof`,
            sequence, `traf`, decode time, `trun`, the words of the samples, size of the mdat, `mdat`.
        prft, moof, traf, trun, mdat: the bytes that never change.
    """

    layout: struct.Struct
    prft: bytes
    moof: bytes
    traf: bytes
    trun: bytes
    mdat: bytes


@lru_cache(maxsize=1024)
def fragment_shape(
    track: int, count: int, duration: int, sync: Sync, has_offsets: bool, prefix: str = ">"
) -> FragmentShape:
    """Return the shape of fragments with so many samples.

    Args:
        track: track_ID.
        count: of samples.
        duration: of every sample in ticks, 0 when each has its own.
        sync: which samples are random access points.
        has_offsets: whether samples have composition offsets.
        prefix: layout, as `struct` has it, of what the caller puts before the fragment; big-endian.
    """
    tfhd_flags = _TFHD_BASE_IS_MOOF | _TFHD_DEFAULT_FLAGS
    trun_flags = _TRUN_VERSION | _TRUN_DATA_OFFSET | _TRUN_SIZE
    default: tuple[int, ...] = (SYNC_SAMPLE if sync is Sync.ALL else NON_SYNC_SAMPLE,)
    if duration:
        tfhd_flags |= _TFHD_DEFAULT_DURATION
        default = (duration, *default)
    else:
        trun_flags |= _TRUN_DURATION
    trun_flags |= _TRUN_OFFSET if has_offsets else 0
    first: tuple[int, ...] = ()
    if sync is Sync.FIRST:
        trun_flags |= _TRUN_FIRST_FLAGS
        first = (SYNC_SAMPLE,)
    elif sync is Sync.MIXED:
        trun_flags |= _TRUN_FLAGS
    columns = 2 - bool(duration) + (sync is Sync.MIXED) + has_offsets
    tfhd_bytes = _TFHD_BYTES + 4 * (len(default) - 1)
    trun_bytes = _TRUN_BYTES + 4 * (len(first) + count * columns)
    moof_bytes = _MOOF_BYTES - _TFHD_BYTES - _TRUN_BYTES + tfhd_bytes + trun_bytes
    constants = (
        _words(PRFT_BYTES, _PRFT, _PRFT_CAPTURED, track),
        _words(moof_bytes, _MOOF, 16, _MFHD, 0),
        _words(moof_bytes - 24, _TRAF, tfhd_bytes, _TFHD, tfhd_flags, track, *default, 20, _TFDT, _TFDT_VERSION),
        _words(trun_bytes, _TRUN, trun_flags, count, moof_bytes + 8, *first),
        b"mdat",
    )
    prft, moof, traf, trun, mdat = (f"{len(part)}s" for part in constants)
    layout = struct.Struct(f"{prefix}{prft}2Q{moof}I{traf}Q{trun}{count * columns}II{mdat}")
    return FragmentShape(layout, *constants)


def _words(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def shape_samples(
    track: int,
    durations: Sequence[int],
    sizes: Sequence[int],
    sync: Sequence[bool],
    offsets: Sequence[int],
    prefix: str = ">",
) -> tuple[FragmentShape, Sequence[int]]:
    """Return the shape that holds these samples, and their words in it.

    What all samples share is written once, as a default of the fragment.

    Args:
        track: track_ID.
        durations: of each sample, in ticks, at least one sample.
        sizes: of each sample, in bytes.
        sync: whether each sample is a random access point.
        offsets: presentation minus decode time of each sample, in ticks, signed.
        prefix: as in `fragment_shape`.
    """
    count, duration = len(sizes), durations[0]
    columns = [sizes]
    if durations.count(duration) != count:
        duration = 0
        columns.insert(0, durations)
    kind = _sync(sync)
    if kind is Sync.MIXED:
        columns.append([SYNC_SAMPLE if point else NON_SYNC_SAMPLE for point in sync])
    if any(offsets):
        columns.append([offset & 0xFFFF_FFFF for offset in offsets])
    shape = fragment_shape(track, count, duration, kind, any(offsets), prefix)
    return shape, [word for row in zip(*columns, strict=True) for word in row]


def write_fragment(
    track: int,
    sequence: int,
    decode_time: int,
    durations: Sequence[int],
    sizes: Sequence[int],
    sync: Sequence[bool],
    offsets: Sequence[int],
    capture_us: int,
    media_time: int,
) -> bytes:
    """Return prft, moof and the header of mdat; the samples' bytes are to follow.

    Args:
        track, durations, sizes, sync, offsets: as in `shape_samples`.
        sequence: mfhd's sequence number, at most 2**32 - 1.
        decode_time: of the first sample, in ticks of the track.
        capture_us: UTC in microseconds since 1970 when the first sample was captured.
        media_time: presentation time of the first sample, in ticks: what `capture_us` belongs to.
    """
    shape, words = shape_samples(track, durations, sizes, sync, offsets)
    times = (shape.prft, ntp_time(capture_us), media_time, shape.moof, sequence, shape.traf, decode_time, shape.trun)
    return shape.layout.pack(*times, *words, 8 + sum(sizes), shape.mdat)


def _sync(sync: Sequence[bool]) -> Sync:
    points = sync.count(True)
    if points in {0, len(sync)}:
        return Sync.ALL if points else Sync.NONE
    return Sync.FIRST if sync[0] and points == 1 else Sync.MIXED


def ntp_time(capture_us: int) -> int:
    """Return UTC in microseconds since 1970 as a 64-bit NTP time stamp."""
    return ((capture_us + NTP_UNIX_SECONDS * 1_000_000) << 32) // 1_000_000 & 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True, slots=True)
class FragmentSample:
    """One sample as a moof tells it: times in ticks of its track, `data` its bytes in the mdat."""

    decode_time: int
    duration: int
    offset: int
    sync: bool
    data: memoryview

    @property
    def presentation_time(self) -> int:
        """Decode time plus composition offset."""
        return self.decode_time + self.offset


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one chunk says about itself.

    Attributes:
        track: track_ID.
        sequence: mfhd's sequence number.
        decode_time: from tfdt.
        capture_us: UTC in microseconds from prft, 0 when there is none.
        samples: in decoding order.
    """

    track: int
    sequence: int
    decode_time: int
    capture_us: int
    samples: tuple[FragmentSample, ...]


def parse_fragment(media: bytes | memoryview) -> Fragment:
    """Read one chunk: an optional prft, then one moof of one track, then its mdat.

    Understands what `write_fragment` writes and the same boxes with other combinations of defaults.

    Raises:
        BoxError: when boxes are missing or malformed, or samples reach beyond the mdat.
    """
    view = memoryview(media)
    moof, mdat = find_box(view, "moof"), find_box(view, "mdat")
    sequence = _Reader(find_box(moof.contents, "mfhd").contents)
    sequence.word()
    traf = find_box(moof.contents, "traf").contents
    time = _Reader(find_box(traf, "tfdt").contents)
    decode_time = time.long() if time.word() >> 24 else time.word()
    track, defaults = _parse_tfhd(find_box(traf, "tfhd").contents)
    samples = _parse_trun(find_box(traf, "trun").contents, decode_time, defaults, view, moof.start, mdat)
    return Fragment(track, sequence.word(), decode_time, _parse_prft(view), tuple(samples))


def _parse_prft(view: memoryview) -> int:
    first = next(read_boxes(view), None)
    if first is None or first.type != "prft":
        return 0
    reader = _Reader(first.contents)
    reader.word()
    reader.word()
    return _capture_time(reader.long())


def _capture_time(ntp: int) -> int:
    """Return an NTP time stamp as UTC in microseconds since 1970, between 1968 and 2104 (RFC 4330, section 3)."""
    if ntp < 1 << 63:
        ntp += 1 << 64
    return ((ntp * 1_000_000 + (1 << 31)) >> 32) - NTP_UNIX_SECONDS * 1_000_000


class _Reader:
    """Reads big-endian numbers one after the other, never beyond the end."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def _take(self, size: int) -> int:
        end = self.at + size
        if end > len(self.data):
            raise BoxError(f"a box of {len(self.data)} bytes ends inside a field at {self.at}")
        value = int.from_bytes(self.data[self.at : end], "big")
        self.at = end
        return value

    def word(self) -> int:
        return self._take(4)

    def long(self) -> int:
        return self._take(8)


def _parse_tfhd(contents: memoryview) -> tuple[int, tuple[int, int, int]]:
    """Return track_ID and the default duration, size and flags (8.8.7)."""
    reader = _Reader(contents)
    flags, track = reader.word(), reader.word()
    if flags & 0x01:
        reader.long()
    if flags & 0x02:
        reader.word()
    duration, size, sample_flags = (reader.word() if flags & bit else 0 for bit in (0x08, 0x10, 0x20))
    return track, (duration, size, sample_flags)


def _parse_trun(
    contents: memoryview, decode_time: int, defaults: tuple[int, int, int], view: memoryview, moof: int, mdat: Box
) -> Iterator[FragmentSample]:
    """Yield the samples of a track run (8.8.8)."""
    reader = _Reader(contents)
    flags, count = reader.word(), reader.word()
    at = moof + reader.word() if flags & _TRUN_DATA_OFFSET else mdat.body
    first_flags = reader.word() if flags & _TRUN_FIRST_FLAGS else None
    for index in range(count):
        duration = reader.word() if flags & _TRUN_DURATION else defaults[0]
        size = reader.word() if flags & _TRUN_SIZE else defaults[1]
        own = reader.word() if flags & _TRUN_FLAGS else defaults[2]
        offset = reader.word() if flags & _TRUN_OFFSET else 0
        if flags >> 24 and offset >= 1 << 31:
            offset -= 1 << 32
        if index == 0 and first_flags is not None:
            own = first_flags
        if size < 1 or at < mdat.body or at + size > mdat.end:
            raise BoxError(f"sample {index} of {size} bytes at {at} is not inside the mdat")
        yield FragmentSample(decode_time, duration, offset, not own & 0x1_0000, view[at : at + size])
        decode_time += duration
        at += size
