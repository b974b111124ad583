"""Whole fragments: written at once, and read back, as other programs read what the packager writes.

Clauses are those of ISO/IEC 14496-12:2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headrace.media.boxes import Box, BoxError, find_box, read_boxes
from headrace.media.fragment import NTP_UNIX_SECONDS, ntp_time, shape_samples

_TRUN_DATA_OFFSET = 0x001
_TRUN_FIRST_FLAGS = 0x004
_TRUN_DURATION = 0x100
_TRUN_SIZE = 0x200
_TRUN_FLAGS = 0x400
_TRUN_OFFSET = 0x800


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

    Understands what the packager writes and the same boxes with other combinations of defaults.

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
