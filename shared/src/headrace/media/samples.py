"""What goes into the packager and what it is told."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from headrace.identifiers import Epoch


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One access unit of video or one frame of audio, as the source has it.

    Attributes:
        track: number of its track.
        pts: presentation time in ticks of the track's timescale. The origin is the source's own, one for all tracks.
        dts: decode time in the same ticks; grows from sample to sample of a track.
        duration: in the same ticks, 0 when unknown. Audio is counted by it.
        keyframe: whether decoding can begin here; always true for audio.
        data: its bytes as they stand in an mdat: NAL units with four-byte lengths, AAC without ADTS. They may be a
            view of the source's own memory, which must not change any more; the first copy is then the chunk itself.
        capture_us: UTC in microseconds since 1970 when it was captured, as well as the source knows it.
    """

    track: int
    pts: int
    dts: int
    duration: int
    keyframe: bool
    data: bytes | memoryview
    capture_us: int


@dataclass(frozen=True, slots=True)
class PackagerOptions:
    """How a stream is divided; nominal lengths, `headrace.media.cadence` fits them to the frame rate.

    Attributes:
        chunk_seconds: length of a chunk: what is sent at once.
        part_seconds: length of an LL-HLS part.
        segment_seconds: a segment is cut at the first keyframe from this length on.
        segment_max_seconds: a segment that reaches this length is cut without a keyframe.
        hold_seconds: how long audio waits for the video of its time, to know on which side of a cut it belongs.
    """

    chunk_seconds: float = 0.1
    part_seconds: float = 0.5
    segment_seconds: float = 2.0
    segment_max_seconds: float = 6.0
    hold_seconds: float = 0.5


@dataclass(frozen=True, slots=True)
class EpochStart:
    """Where an epoch begins.

    Attributes:
        epoch: its number.
        segment: the number of its first segment.
        earliest_seconds: decode times begin at the first sample's capture time or here, whichever is later; the
            `end_seconds` of the epoch before.
    """

    epoch: Epoch
    segment: int
    earliest_seconds: float
