"""What a stream is made of and how it is doing, as told to children and players (docs/protocol.md, section 2.3)."""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

from headrace.identifiers import TRACK_MAX
from headrace.wire.errors import WireError

TRACKS_MAX = 16
"""Most tracks in one stream: a camera has two, a ladder of renditions six."""

HEADER_MAX_BYTES = 64 * 1024
"""Largest CMAF header, in bytes: a real one has one to two thousand."""

ROUTE_MAX_NODES = 16
"""Longest route, in nodes; a longer one is a loop or a mistake."""


class StreamState(enum.Enum):
    """How a stream is doing."""

    LIVE = "live"
    """Media flows."""
    INTERRUPTED = "interrupted"
    """The source, or the way to it, is away; viewers stay and it goes on by itself."""
    ENDED = "ended"
    """Somebody said that it is over."""


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """One video, audio or data component of a stream.

    Attributes:
        track: its number, 1 to 255, unique in the stream and the track_ID inside its boxes.
        kind: what it carries.
        codec: RFC 6381 codec string as `MediaSource.isTypeSupported` takes it, for example `avc1.64001f`.
        timescale: ticks per second of its decode times and durations.
        header: CMAF header, ftyp and moov of this one track.
        width, height: coded size in pixels, video only.
        frame_rate: frames per second where it is known, video only.
        sample_rate: samples per second, audio only.
        channels: audio only.
        bandwidth: peak bits per second as declared by ingress, 0 when unknown.
        average_bandwidth: the mean of them, likewise.
        chunk_seconds: nominal length of a chunk, 0 when it varies.
        part_seconds: longest LL-HLS part (PART-TARGET).
        segment_seconds: length from which a segment ends with its GOP.
        segment_max_seconds: no segment is longer.
        discontinuity: number of the epoch among the stream's epochs; the next one's is one more.
        language: BCP 47 tag, `und` when unknown.
    """

    track: int
    kind: Literal["video", "audio", "data"]
    codec: str
    timescale: int
    header: bytes
    width: int = 0
    height: int = 0
    frame_rate: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    bandwidth: int = 0
    average_bandwidth: int = 0
    chunk_seconds: float = 0.0
    part_seconds: float = 0.0
    segment_seconds: float = 0.0
    segment_max_seconds: float = 0.0
    discontinuity: int = 0
    language: str = "und"


def differ_in_rates(tracks: tuple[Track, ...], others: tuple[Track, ...]) -> bool:
    """Return whether tracks are the same as others but for their rates, which may be told anew inside an epoch."""
    return len(tracks) == len(others) and all(
        one == msgspec.structs.replace(other, bandwidth=one.bandwidth, average_bandwidth=one.average_bandwidth)
        for one, other in zip(tracks, others, strict=True)
    )


class RouteHop(msgspec.Struct, frozen=True):
    """One node that a stream came through, first the ingress.

    Attributes:
        node: its node id.
        role: what it is: ingress, intermediate, edge or standalone.
    """

    node: str
    role: str


def check_tracks(tracks: tuple[Track, ...]) -> None:
    """Check tracks that came from a peer.

    Raises:
        WireError: `bad_tracks` when there are none or too many, numbers repeat or are out of range, a timescale is
            not positive, or a header is empty or longer than `HEADER_MAX_BYTES`.
    """
    numbers = {track.track for track in tracks}
    if not 1 <= len(tracks) <= TRACKS_MAX or len(numbers) != len(tracks):
        raise WireError("bad_tracks", f"{len(tracks)} tracks with {len(numbers)} different numbers")
    for track in tracks:
        if not 1 <= track.track <= TRACK_MAX:
            raise WireError("bad_tracks", f"track number {track.track}")
        if not 1 <= track.timescale < 2**32:
            raise WireError("bad_tracks", f"timescale {track.timescale} of track {track.track}")
        if not 1 <= len(track.header) <= HEADER_MAX_BYTES:
            raise WireError("bad_tracks", f"header of {len(track.header)} bytes in track {track.track}")
