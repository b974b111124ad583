"""The encoders of what comes raw: H.264 and AAC by libav, without delay as far as they can.

An encoder is a stream of a container that nothing is ever written to: so a track is made of it as of any other stream.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

import av

VIDEO_CLOCK: Final = 90_000
SAMPLE_RATE: Final = 48_000
AAC_FRAME: Final = 1024
AUDIO_BITS_PER_SECOND: Final = 64_000
"""For each channel: transparent for speech, decent for music."""

GLOBAL_HEADER: Final = 1 << 22
"""AV_CODEC_FLAG_GLOBAL_HEADER: parameter sets in the header, not in the stream."""


def nowhere() -> av.container.OutputContainer:
    """Return a container for encoders; drop it without closing, which would write a trailer for nothing."""
    return av.open("/dev/null", "w", format="null")


def add_h264(
    container: av.container.OutputContainer, width: int, height: int, rate: Fraction, gop_seconds: float
) -> Any:
    """Return a stream that encodes yuv420p as H.264 without B-frames and without delay, in ticks of `VIDEO_CLOCK`.

    `superfast` costs 2.5 ms of CPU for a picture of 1280x720 and keeps edges sharp; `ultrafast` would cost 1.6 and
    twice the bits.

    Args:
        container: of `nowhere`, whose encoding was not started yet.
        width, height: in pixels, even.
        rate: nominal frames per second.
        gop_seconds: from keyframe to keyframe at that rate; 0 makes every frame one.
    """
    gop = max(1, round(gop_seconds * rate))
    options = {
        "preset": "superfast",
        "tune": "zerolatency",
        "crf": "21",
        "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes=0:sliced-threads=0",
    }
    stream: Any = container.add_stream("libx264", rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = Fraction(1, VIDEO_CLOCK)
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= GLOBAL_HEADER
    return stream


def add_aac(container: av.container.OutputContainer, layout: str) -> Any:
    """Return a stream that encodes planar float at `SAMPLE_RATE` as AAC; `layout` is mono or stereo."""
    stream: Any = container.add_stream("aac", rate=SAMPLE_RATE)
    stream.codec_context.layout = layout
    stream.codec_context.bit_rate = AUDIO_BITS_PER_SECOND * (2 if layout == "stereo" else 1)
    stream.codec_context.flags |= GLOBAL_HEADER
    return stream
