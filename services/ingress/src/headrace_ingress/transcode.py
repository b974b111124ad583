"""One raw elementary stream on its way to becoming a track: decoded, encoded as H.264 or AAC, never late for long.

Raw video and Motion JPEG, which is as good as raw, become H.264 without B-frames; PCM, G.711 among it, becomes AAC.
Both happen in the reader's thread, so a feed that is too much for its core disturbs no other: its pictures are dropped
before the encoder until it has caught up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

import av
import av.error
import msgspec

from headrace.media.headers import TrackReader, UnsupportedTrack
from headrace.media.samples import PackagerOptions, Sample
from headrace.media.track_writer import AUDIO_JITTER_SECONDS
from headrace.wire.stream import Track
from headrace_ingress.codecs import AAC_FRAME, SAMPLE_RATE, VIDEO_CLOCK, add_aac, add_h264, nowhere
from headrace_ingress.source import Note, SourceBroken
from headrace_ingress.stamped import Stamped
from headrace_ingress.timing import TrackClock

ENCODED_VIDEO: Final = frozenset({"rawvideo", "mjpeg"})
"""libav's names of video that is encoded."""

GOP_SECONDS: Final = 1.0
"""From keyframe to keyframe: how long a viewer may wait for its first picture."""

RATE_DEFAULT: Final = Fraction(25)
RATE_MAX: Final = 120
"""Frames per second where a source does not say, and above which what it says is taken for a mistake."""

SIDE_MAX: Final = 4096
"""Widest and highest picture that is encoded, in pixels: more is beyond one core at any rate."""

LATE_MAX_SECONDS: Final = 0.5
"""How far the encoder may fall behind before pictures are dropped."""

JUMP_SECONDS: Final = 5.0
"""A difference between media time and the clock that is no lateness but a seam."""


def is_encoded(codec: str) -> bool:
    """Return whether streams of a codec, by libav's name, are encoded here."""
    return codec in ENCODED_VIDEO or codec.startswith("pcm_")


class Lateness:
    """How far behind the clock media fall.

    Args:
        monotonic: the clock.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset: float | None = None

    def is_late(self, media_seconds: float) -> bool:
        """Return whether media of that time come so late that they are better dropped."""
        offset = self._monotonic() - media_seconds
        if self._offset is None or abs(offset - self._offset) > JUMP_SECONDS:
            self._offset = offset
        # What comes early sets the pace: a live source cannot, a file is read a little ahead.
        self._offset = min(self._offset, offset)
        return offset - self._offset > LATE_MAX_SECONDS


class EncodedFeed(Stamped):
    """Makes samples of one track out of packets, as `TrackFeed` does, by encoding them.

    Attributes:
        track: what the samples are of.
        is_video: whether it is.

    Args:
        stream: of an open container.
        number: of the track.
        options: how the feed is cut.
        note: told once when pictures are dropped.

    Raises:
        SourceBroken: when it cannot be encoded.
    """

    def __init__(self, stream: Any, number: int, options: PackagerOptions, note: Note) -> None:
        self.is_video = stream.type == "video"
        self._stream = stream
        self._note = note
        self._time_base = Fraction(stream.time_base)
        self._container = nowhere()
        super().__init__(TrackClock(self._time_base, 0.0, 0))
        self._lateness = Lateness()
        self._first: int | None = None
        self._newest = -1
        self._out = self._add_encoder()
        try:
            self._container.start_encoding()
            self._reader = TrackReader(self._out, number, options)
        except (av.error.FFmpegError, UnsupportedTrack, ValueError) as error:
            raise SourceBroken(f"{stream.codec_context.name} cannot be encoded: {type(error).__name__}") from None
        self._frame_ticks = round(self.track.timescale / float(_rate(stream))) if self.is_video else AAC_FRAME

    @property
    def track(self) -> Track:
        return self._reader.track

    def push(self, packet: av.Packet[Any]) -> list[Sample]:
        """Take the next packet; return the samples that came out of the encoder. A damaged one is left out."""
        try:
            frames = self._stream.codec_context.decode(packet)
        except av.error.InvalidDataError:
            return []
        return [sample for frame in frames for sample in self._take(frame)]

    def flush(self) -> list[Sample]:
        """Return what the encoder still has."""
        frames = [] if self.is_video else self._resampler.resample(None)
        samples = [sample for frame in frames for sample in self._encode(self._placed(frame))]
        return samples + self._encode(None)

    # -- inside --------------------------------------------------------------------------------------------------

    def _add_encoder(self) -> Any:
        context = self._stream.codec_context
        if not self.is_video:
            layout = "mono" if context.channels == 1 else "stereo"
            self._resampler = av.AudioResampler("fltp", layout, SAMPLE_RATE, AAC_FRAME)
            return add_aac(self._container, layout)
        self._size = context.width // 2 * 2, context.height // 2 * 2
        if not (2 <= self._size[0] <= SIDE_MAX and 2 <= self._size[1] <= SIDE_MAX):
            raise SourceBroken(f"pictures of {context.width}x{context.height} cannot be encoded")
        return add_h264(self._container, *self._size, _rate(self._stream), GOP_SECONDS)

    def _take(self, frame: Any) -> list[Sample]:
        if frame.pts is None:
            return []
        if not self.is_video:
            return [sample for part in self._resampler.resample(frame) for sample in self._encode(self._placed(part))]
        if self._lateness.is_late(float(frame.pts * self._time_base)):
            self._note("pictures are dropped: this machine cannot encode them as fast as they come")
            return []
        pts = round(frame.pts * self._time_base * VIDEO_CLOCK)
        if pts <= self._newest:
            return []
        picture = frame.reformat(*self._size, format="yuv420p", dst_color_range="MPEG")
        picture.pts, picture.time_base = pts, Fraction(1, VIDEO_CLOCK)
        picture.pict_type = av.video.frame.PictureType.NONE  # else the encoder would make a keyframe of each JPEG
        self._newest = pts
        return self._encode(picture)

    def _placed(self, frame: Any) -> Any:
        """Return sound where it belongs: right after what was before, unless the source left a hole."""
        pts = round(frame.pts * Fraction(frame.time_base) * SAMPLE_RATE) if frame.pts is not None else self._newest
        if self._newest < 0 or abs(pts - self._newest) > SAMPLE_RATE * AUDIO_JITTER_SECONDS:
            self._newest = pts
        frame.pts, frame.time_base = self._newest, Fraction(1, SAMPLE_RATE)
        self._newest += frame.samples
        return frame

    def _encode(self, frame: Any) -> list[Sample]:
        if frame is not None and self._first is None:
            self._first = frame.pts
        samples = []
        for packet in self._out.encode(frame):
            # Before the first frame there is only what the encoder needs to begin with.
            if packet.pts is not None and self._first is not None and packet.pts >= self._first:
                seconds = float(packet.pts * Fraction(packet.time_base))
                samples.append(self._whole(self._reader.sample(packet, self._clock.captured_us(seconds))))
        return samples

    def _whole(self, sample: Sample) -> Sample:
        return sample if sample.duration else msgspec.structs.replace(sample, duration=self._frame_ticks)


def _rate(stream: Any) -> Fraction:
    """Return the nominal frame rate of a source."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= RATE_MAX:
            return Fraction(rate).limit_denominator(1001)
    return RATE_DEFAULT
