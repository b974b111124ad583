"""How many ticks make a chunk and a part: nominal lengths fitted to whole frames.

LL-HLS wants every part but a segment's last between 85 % and 100 % of PART-TARGET (draft-ietf-hls-rfc8216bis, section
4.4.3.7). So where the frame duration is known a part is a fixed number of frames, and a multiple of a chunk's.
"""

from __future__ import annotations

from dataclasses import dataclass

from headrace.media.samples import PackagerOptions
from headrace.wire.stream import Track

AAC_FRAME_SAMPLES = {"mp4a.40.2": 1024, "mp4a.40.5": 2048, "mp4a.40.29": 2048}
"""Samples per frame by codec string, counted at the output's sample rate: SBR doubles it (ISO/IEC 14496-3, 4.6.18)."""

OPUS_FRAME_SECONDS = 0.02
"""What every encoder makes unless told otherwise (RFC 6716, section 2.1.4)."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """The nominal rhythm of one track.

    Attributes:
        chunk_seconds: length of a full chunk.
        part_seconds: length of a full part, PART-TARGET.
    """

    chunk_seconds: float
    part_seconds: float


def cadence(frame_seconds: float, options: PackagerOptions) -> Cadence:
    """Return the rhythm of a track whose frames last `frame_seconds`, 0 when that is not known or varies."""
    if frame_seconds <= 0:
        return Cadence(options.chunk_seconds, max(options.chunk_seconds, options.part_seconds))
    frames = max(1, round(options.chunk_seconds / frame_seconds))
    chunks = max(1, round(options.part_seconds / (frames * frame_seconds)))
    return Cadence(frames * frame_seconds, chunks * frames * frame_seconds)


def frame_seconds(track: Track) -> float:
    """Return how long one frame of `track` lasts, 0 when its description does not say."""
    if track.kind == "video":
        return 1 / track.frame_rate if track.frame_rate > 0 else 0.0
    if track.codec in AAC_FRAME_SAMPLES and track.sample_rate:
        return AAC_FRAME_SAMPLES[track.codec] / track.sample_rate
    return OPUS_FRAME_SECONDS if track.codec == "opus" else 0.0


def track_cadence(track: Track, options: PackagerOptions) -> Cadence:
    """Return the rhythm that `track` declares, or the one its frames and `options` make."""
    if track.chunk_seconds > 0 and track.part_seconds > 0:
        return Cadence(track.chunk_seconds, track.part_seconds)
    return cadence(frame_seconds(track), options)
