"""What ingress declares of a track for everybody: rates that playlists need, and the lengths that they promise.

Playlists and manifests must be alike on every node, so nothing in them may come from what one edge measured: it is
declared with the epoch's tracks, and travels with them. Rates are guesses here; `headrace.media.rates` corrects them.
"""

from __future__ import annotations

import msgspec

from headrace.media.samples import PackagerOptions
from headrace.wire.stream import Track

BITS_PER_PIXEL = {"avc1": 0.1, "avc3": 0.1, "hvc1": 0.06, "hev1": 0.06, "av01": 0.05, "vp09": 0.06}
"""What encoders spend on a pixel at usual qualities, where the source does not say."""

USUAL_FRAME_RATE = 30.0
"""Frames per second assumed where they are not known."""

VIDEO_LEAST_BITS = 200_000
"""Least estimate for video, in bits per second: small pictures have poor encoders."""

AUDIO_CHANNEL_BITS = 64_000
"""Estimate for a channel of audio, in bits per second."""

VIDEO_PEAK = 2.0
"""Peak over average of video: a segment of a busy scene against the mean, as cameras' rate control keeps it."""

AUDIO_PEAK = 1.25
"""Peak over average of audio, boxes included."""


def declare(track: Track, options: PackagerOptions, discontinuity: int) -> Track:
    """Return `track` with everything that playlists say of it.

    Args:
        track: as the source describes it; its `bandwidth`, if any, is taken for the average.
        options: how it will be cut.
        discontinuity: of the epoch.
    """
    average = track.average_bandwidth or track.bandwidth or _estimate(track)
    peak = VIDEO_PEAK if track.kind == "video" else AUDIO_PEAK
    return msgspec.structs.replace(
        track,
        bandwidth=max(track.bandwidth, round(average * peak)),
        average_bandwidth=average,
        segment_seconds=options.segment_seconds,
        # A track that goes on while the one that leads is silent is cut late by as much as it was waited for.
        segment_max_seconds=max(options.segment_seconds, options.segment_max_seconds) + options.hold_seconds,
        discontinuity=discontinuity,
    )


def _estimate(track: Track) -> int:
    if track.kind != "video":
        return AUDIO_CHANNEL_BITS * max(1, track.channels)
    rate = track.frame_rate or USUAL_FRAME_RATE
    bits = track.width * track.height * rate * BITS_PER_PIXEL.get(track.codec[:4], 0.1)
    return max(VIDEO_LEAST_BITS, round(bits))
