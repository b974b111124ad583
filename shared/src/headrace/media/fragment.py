"""One chunk's prft, moof and the head of its mdat, written fast.

Clauses are those of ISO/IEC 14496-12:2022; what CMAF (ISO/IEC 23000-19, 7.3.2.3 and 7.5) asks of a chunk beyond them
is kept: one track fragment, `default-base-is-moof`, `tfdt`, and no data offset but into the chunk's own mdat.

Writing is the hot path of ingress: what fragments of one shape have in common is made once, the rest goes through one
`struct` call.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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


def _sync(sync: Sequence[bool]) -> Sync:
    points = sync.count(True)
    if points in {0, len(sync)}:
        return Sync.ALL if points else Sync.NONE
    return Sync.FIRST if sync[0] and points == 1 else Sync.MIXED


def ntp_time(capture_us: int) -> int:
    """Return UTC in microseconds since 1970 as a 64-bit NTP time stamp."""
    return ((capture_us + NTP_UNIX_SECONDS * 1_000_000) << 32) // 1_000_000 & 0xFFFF_FFFF_FFFF_FFFF
