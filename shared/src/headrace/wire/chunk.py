"""The chunk record: one chunk with its identity, the same bytes on every hop and to every player.

Layout, all numbers big-endian (docs/protocol.md, section 2.2):

| offset | size | field |
|---|---|---|
| 0 | 1 | kind, always 1 |
| 1 | 1 | track |
| 2 | 1 | flags, see `Flag` |
| 3 | 1 | reserved, 0 when written, ignored when read |
| 4 | 4 | chunk number in its segment, from 0 |
| 8 | 8 | epoch, milliseconds since 1970 |
| 16 | 8 | segment number in its stream |
| 24 | 8 | decode time of the first sample, in the track's timescale |
| 32 | 4 | duration, in the track's timescale |
| 36 | 2 | part number in its segment, from 0 |
| 38 | 2 | samples in the chunk |
| 40 | 8 | capture time of the first sample, microseconds since 1970 UTC |
| 48 | … | media: prft, moof and mdat of this one track; empty in a chunk that only closes its segment |
"""

from __future__ import annotations

import enum
import struct

import msgspec

from headrace.identifiers import ChunkId, Epoch
from headrace.wire.errors import WireError

RECORD_HEADER = struct.Struct(">BBBxIQQQIHHQ")
"""The fixed part of a chunk record."""

RECORD_HEADER_BYTES = RECORD_HEADER.size
KIND_CHUNK = 1

CHUNK_MAX_BYTES = 16 * 1024 * 1024
"""Largest chunk record, in bytes: a second of 100 Mbit/s intra-only video fits, a wrong length does not."""


class Flag(enum.IntFlag):
    """What a chunk is in its track."""

    RANDOM_ACCESS = 1
    """Decoding can begin with this chunk's first sample."""
    END_OF_PART = 2
    """The last chunk of an LL-HLS part."""
    END_OF_SEGMENT = 4
    """The last chunk of its segment; the next one is chunk 0 of the next segment."""


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """One chunk record, read once and shared by everything that carries it on.

    Attributes:
        record: the bytes as they travel, header and media.
        id: its identity.
        flags: random access, end of part, end of segment.
        decode_time: of the first sample, in ticks of the track's timescale.
        duration: of all samples, in the same ticks; 0 in a chunk without media.
        part: the number of its part in the segment.
        samples: how many samples it holds.
        capture_us: UTC in microseconds when the first sample was captured, as well as ingress knows it.
    """

    record: bytes
    id: ChunkId
    flags: Flag
    decode_time: int
    duration: int
    part: int
    samples: int
    capture_us: int

    @property
    def media(self) -> memoryview:
        """The prft, moof and mdat boxes; empty when the chunk only closes its segment."""
        return memoryview(self.record)[RECORD_HEADER_BYTES:]

    @property
    def random_access(self) -> bool:
        """Whether decoding can begin here."""
        return bool(self.flags & Flag.RANDOM_ACCESS)

    @property
    def ends_segment(self) -> bool:
        """Whether the next chunk of the track is chunk 0 of the next segment."""
        return bool(self.flags & Flag.END_OF_SEGMENT)

    def is_followed_by(self, other: ChunkId) -> bool:
        """Return whether `other` is the very next chunk of this track within the epoch."""
        if self.ends_segment:
            return other.position == (self.id.epoch, self.id.segment + 1, 0)
        return other.position == (self.id.epoch, self.id.segment, self.id.chunk + 1)


def make_chunk(
    id: ChunkId,
    flags: Flag,
    decode_time: int,
    duration: int,
    part: int,
    samples: int,
    capture_us: int,
    media: bytes = b"",
) -> Chunk:
    """Write a chunk record around `media` (prft, moof and mdat) and return the chunk."""
    header = RECORD_HEADER.pack(
        KIND_CHUNK, id.track, flags, id.chunk, id.epoch, id.segment, decode_time, duration, part, samples, capture_us
    )
    return Chunk(header + media, id, flags, decode_time, duration, part, samples, capture_us)


def parse_chunk(record: bytes) -> Chunk:
    """Return the chunk that `record` holds, sharing its bytes.

    Raises:
        WireError: `truncated` when it is shorter than its header, `too_large` beyond `CHUNK_MAX_BYTES`, `bad_kind`
            when it is no chunk record, `bad_track` for track 0, `bad_flags` for flags this version does not know.
    """
    if len(record) < RECORD_HEADER_BYTES:
        raise WireError("truncated", f"chunk record of {len(record)} bytes, its header alone has {RECORD_HEADER_BYTES}")
    if len(record) > CHUNK_MAX_BYTES:
        raise WireError("too_large", f"chunk record of {len(record)} bytes, at most {CHUNK_MAX_BYTES} are allowed")
    fields = RECORD_HEADER.unpack_from(record)
    kind, track, flags, number, epoch, segment, decode_time, duration, part, samples, capture_us = fields
    if kind != KIND_CHUNK:
        raise WireError("bad_kind", f"record of kind {kind} where a chunk ({KIND_CHUNK}) was due")
    if track == 0:
        raise WireError("bad_track", "chunk of track 0: tracks count from 1")
    if flags & ~_ALL_FLAGS:
        raise WireError("bad_flags", f"chunk flags {flags:#04x}")
    chunk_id = ChunkId(Epoch(epoch), track, segment, number)
    return Chunk(record, chunk_id, Flag(flags), decode_time, duration, part, samples, capture_us)


_ALL_FLAGS = int(Flag.RANDOM_ACCESS | Flag.END_OF_PART | Flag.END_OF_SEGMENT)
