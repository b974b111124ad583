"""What is found out about a feed by looking at its samples, and what to advise. Pure: arrival times are arguments."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Final

import msgspec

from headrace.media.samples import Sample
from headrace.wire.stream import Track
from headrace_ingress.check.browsers import all_played

GOP_LONG_SECONDS: Final = 4.0
"""From here on viewers notice how long they wait for a first picture."""

JITTER_HIGH_SECONDS: Final = 0.1
"""A chunk's length: packets that vary by more make chunks late."""

BITRATE_HIGH: Final = 8_000_000
"""Bits per second that many a viewer's network does not carry."""

UNSTEADY_SHARE: Final = 0.2
"""By how much of a frame's nominal duration durations may vary to count as one frame rate."""


class TrackFindings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was seen of one track.

    Attributes:
        kind, codec: as the track has them.
        width, height: of pictures, in pixels.
        sample_rate, channels: of sound.
        frames: how many came.
        frame_rate: frames per second by their decode times.
        is_steady: whether frames are equally far apart.
        bits_per_second: of the media itself.
        gop_seconds: mean time from keyframe to keyframe, `None` when fewer than two came.
        gop_longest_seconds: the longest one, the one at the end included as far as it was seen.
        reorders: whether pictures are shown in another order than they are decoded (B-frames).
        jitter_seconds: how much later than the earliest of them packets came, by media time: the 95th percentile.
        jumps: times that decode times stepped back, or forward by more than a second.
    """

    kind: str
    codec: str
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    frames: int = 0
    frame_rate: float = 0.0
    is_steady: bool = True
    bits_per_second: int = 0
    gop_seconds: float | None = None
    gop_longest_seconds: float = 0.0
    reorders: bool = False
    jitter_seconds: float = 0.0
    jumps: int = 0


class Findings(msgspec.Struct, frozen=True):
    """What was seen of a feed.

    Attributes:
        source: where from, without credentials.
        opened_seconds: how long it took until its tracks were known.
        seconds: how long it was looked at.
        tracks: each track.
        browsers: whether each plays it: `yes`, `no`, or on what it depends.
        notes: what the source said besides.
        advice: sentences for people; none when all is well.
    """

    source: str
    opened_seconds: float
    seconds: float
    tracks: tuple[TrackFindings, ...]
    browsers: dict[str, str]
    notes: tuple[str, ...]
    advice: tuple[str, ...]


class TrackLog:
    """Collects what comes of one track.

    Args:
        track: what it is.
    """

    def __init__(self, track: Track) -> None:
        self.track = track
        self._samples: list[tuple[int, int, int, bool, float]] = []

    def add(self, sample: Sample, arrived: float) -> None:
        """Take note of a sample that came at `arrived`, in seconds of any steady clock."""
        self._samples.append((sample.dts, sample.pts, len(sample.data), sample.keyframe, arrived))

    def findings(self) -> TrackFindings:
        """Return what was seen."""
        track, seen = self.track, self._samples
        times = [dts / track.timescale for dts, *_ in seen]
        steps = [two - one for one, two in itertools.pairwise(times)]
        usual = [step for step in steps if 0 < step <= 1.0]
        span = sum(usual)
        gops, longest = self._gops(times)
        return TrackFindings(
            kind=track.kind,
            codec=track.codec,
            width=track.width,
            height=track.height,
            sample_rate=track.sample_rate,
            channels=track.channels,
            frames=len(seen),
            frame_rate=round(len(usual) / span, 2) if span else 0.0,
            is_steady=_is_steady(usual),
            bits_per_second=round(sum(size for _, _, size, *_ in seen) * 8 / span) if span else 0,
            gop_seconds=round(statistics.fmean(gops), 2) if gops else None,
            gop_longest_seconds=round(longest, 2),
            reorders=any(pts != dts for dts, pts, *_ in seen),
            jitter_seconds=round(_jitter(times, [arrived for *_, arrived in seen]), 3),
            jumps=sum(not 0 <= step <= 1.0 for step in steps),
        )

    def _gops(self, times: Sequence[float]) -> tuple[list[float], float]:
        if self.track.kind != "video" or not times:
            return [], 0.0
        keyframes = [time for time, (*_, keyframe, _) in zip(times, self._samples, strict=True) if keyframe]
        gops = [two - one for one, two in itertools.pairwise(keyframes)]
        last = times[-1] - (keyframes[-1] if keyframes else times[0])
        return gops, max([*gops, last])


def advise(tracks: Sequence[TrackFindings]) -> tuple[str, ...]:
    """Return what should be changed at the source, the weightiest first; nothing when all is well."""
    videos = [track for track in tracks if track.kind == "video"]
    advice = [sentence for video in videos for sentence in _advise_video(video)]
    verdicts = all_played([track.codec for track in tracks]) if tracks else {}
    missing = [browser for browser, verdict in verdicts.items() if verdict == "no"]
    if missing:
        codecs = " and ".join(track.codec for track in tracks)
        advice.insert(0, f"{', '.join(missing)} cannot play {codecs}: let the source send H.264 (8 bits) and AAC.")
    elif any(verdict != "yes" for verdict in verdicts.values()):
        advice.append("Not every browser plays this; H.264 and AAC are played by all.")
    if not videos and tracks:
        advice.append("There is no picture, or none that is carried.")
    if videos and len(tracks) == len(videos):
        advice.append("There is no sound; viewers will not miss it if that is meant.")
    return (*advice, *(sentence for track in tracks for sentence in _advise_clock(track)))


def _advise_video(video: TrackFindings) -> list[str]:
    advice = []
    if video.gop_seconds is None and video.gop_longest_seconds < GOP_LONG_SECONDS:
        advice.append("Too few keyframes were seen to say how often they come; look for longer.")
    elif video.gop_longest_seconds >= GOP_LONG_SECONDS:
        seconds = f"{video.gop_longest_seconds:.1f}"
        advice.append(
            f"{seconds} s passed without a keyframe, and so long a viewer may wait: set one every second or two."
        )
    if video.reorders:
        advice.append(
            "Pictures are reordered (B-frames), which delays them by some frames: switch that off to be faster."
        )
    if video.bits_per_second > BITRATE_HIGH:
        advice.append(f"{video.bits_per_second / 1e6:.1f} Mbit/s is more than many viewers' networks carry.")
    if not video.is_steady:
        advice.append("The frame rate varies; where the source can hold one, parts and chunks become equal.")
    return advice


def _advise_clock(track: TrackFindings) -> list[str]:
    advice = []
    if track.jumps:
        advice.append(f"The clock of the {track.kind} jumped {track.jumps} times; each jump begins a new epoch.")
    if track.jitter_seconds > JITTER_HIGH_SECONDS:
        late = f"{track.jitter_seconds * 1000:.0f} ms"
        advice.append(
            f"The {track.kind} comes up to {late} late: the network or the source is uneven; players hold more."
        )
    return advice


def _jitter(times: Sequence[float], arrived: Sequence[float]) -> float:
    """Return how much later than the earliest the latest twentieth of packets came, by media time."""
    late = sorted(at - time for time, at in zip(times, arrived, strict=True))
    return late[min(len(late) - 1, len(late) * 95 // 100)] - late[0] if late else 0.0


def _is_steady(steps: Sequence[float]) -> bool:
    if len(steps) < 3:
        return True
    middle = statistics.median(steps)
    odd = sum(abs(step - middle) > UNSTEADY_SHARE * middle for step in steps)
    return odd <= len(steps) * 0.05
