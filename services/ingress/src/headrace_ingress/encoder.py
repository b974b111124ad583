"""The test pattern as a source: drawn, encoded by libav and sent at live speed."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av

from headrace.clock import Clock, microseconds
from headrace.media.headers import TrackReader
from headrace.media.samples import PackagerOptions, Sample
from headrace.wire.stream import Track
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.pattern import Beeper, Picture
from headrace_ingress.source import Note
from headrace_ingress.uri import PatternOptions

VIDEO_CLOCK = 90_000
SAMPLE_RATE = 48_000
AAC_FRAME = 1024
AUDIO_BITS_PER_SECOND = 64_000

LATE_MAX_SECONDS = 0.5
"""How late a picture may be before those that should have been drawn meanwhile are left out."""

GLOBAL_HEADER = 1 << 22
"""AV_CODEC_FLAG_GLOBAL_HEADER: parameter sets in the header, not in the stream."""


class PatternSource:
    """Draws and encodes the test pattern.

    Times are microseconds of UTC at the moment of drawing, which is what the picture shows; the media clock is the
    monotonic one, so a step of the system's time moves the picture's clock and nothing else.

    Args:
        pattern: what it looks like.
        options: how the feed is cut.
        clock: what it shows and what it is paced by.
        stopping: ends every wait.
        metrics: takes the time that encoding costs.
    """

    def __init__(
        self,
        pattern: PatternOptions,
        options: PackagerOptions,
        clock: Clock,
        stopping: threading.Event,
        metrics: IngressMetrics,
    ) -> None:
        self.tracks: tuple[Track, ...] = ()
        self._pattern = pattern
        self._options = options
        self._clock = clock
        self._stopping = stopping
        self._metrics = metrics
        self._container: av.container.OutputContainer | None = None
        self._video: VideoEncoder | None = None
        self._audio: AudioEncoder | None = None
        self._origin = 0.0

    def open(self, note: Note) -> None:
        # The container is never written to: it only binds the encoders to streams, from which tracks are made.
        self._container = av.open("/dev/null", "w", format="null")
        if self._pattern.video:
            self._video = VideoEncoder(self._container, self._pattern)
        if self._pattern.audio:
            self._audio = AudioEncoder(self._container)
        self._container.start_encoding()
        encoders = [encoder for encoder in (self._video, self._audio) if encoder is not None]
        for number, encoder in enumerate(encoders, 1):
            encoder.describe(number, self._options)
        self.tracks = tuple(encoder.track for encoder in encoders)
        # Media time 0 is a full second of UTC, so that the beep's second is a whole number of samples.
        now = self._clock.utc()
        self._origin = self._clock.monotonic() - (now - math.floor(now))
        for encoder in encoders:
            encoder.seek(now - math.floor(now))

    def read(self) -> Sequence[Sample]:
        due = min(encoder.next_seconds for encoder in (self._video, self._audio) if encoder is not None)
        self._stopping.wait(max(0.0, self._origin + due - self._clock.monotonic()))
        if self._stopping.is_set():
            return []
        now = self._clock.monotonic() - self._origin
        utc = self._clock.utc()
        samples: list[Sample] = []
        if self._video is not None and self._video.next_seconds <= now:
            if now - self._video.next_seconds > LATE_MAX_SECONDS:
                self._video.seek(now)
            with self._metrics.encode_seconds.time():
                samples += self._video.draw(microseconds(utc))
        while self._audio is not None and self._audio.next_seconds <= now:
            if now - self._audio.next_seconds > LATE_MAX_SECONDS:
                self._audio.seek(now)
            captured = utc - (now - self._audio.next_seconds)
            samples += self._audio.sound(microseconds(captured))
        return samples

    def close(self) -> None:
        # Dropped, not closed: closing would write a trailer for packets that were never muxed.
        self._container = self._video = self._audio = None


class Encoder:
    """What both encoders share: a stream, its track, and the time of the next frame.

    Attributes:
        track: what it makes; known after `describe`.
        next_seconds: when the next frame is due, in media time.
    """

    track: Track
    _stream: Any
    _reader: TrackReader

    def __init__(self, frame_seconds: Fraction) -> None:
        self._frame_seconds = frame_seconds
        self._next = 0

    @property
    def next_seconds(self) -> float:
        return float(self._next * self._frame_seconds)

    def describe(self, number: int, options: PackagerOptions) -> None:
        """Learn the track from the encoder, once encoding was started."""
        self._reader = TrackReader(self._stream, number, options)
        self.track = self._reader.track

    def seek(self, seconds: float) -> None:
        """Leave out what is due before a media time."""
        self._next = math.ceil(Fraction(seconds) / self._frame_seconds)

    def _samples(self, frame: Any, captured_us: int) -> list[Sample]:
        return [self._reader.sample(packet, captured_us) for packet in self._stream.encode(frame)]


class VideoEncoder(Encoder):
    """H.264 without B-frames and without delay.

    `superfast` costs 2.5 ms of CPU for a picture of 1280x720 and keeps edges sharp; `ultrafast` would cost 1.6 and
    twice the bits.
    """

    def __init__(self, container: av.container.OutputContainer, pattern: PatternOptions) -> None:
        super().__init__(1 / pattern.rate)
        gop = max(1, round(pattern.gop_seconds * pattern.rate))
        options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "crf": "21",
            "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes=0:sliced-threads=0",
        }
        stream: Any = container.add_stream("libx264", rate=pattern.rate, options=options)
        stream.width, stream.height, stream.pix_fmt = pattern.width, pattern.height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, VIDEO_CLOCK)
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= GLOBAL_HEADER
        self._stream = stream
        planes = self._blank(pattern).planes
        self._pattern = pattern
        self._picture = Picture(pattern.width, pattern.height, planes[0].line_size, planes[1].line_size)

    @staticmethod
    def _blank(pattern: PatternOptions) -> av.VideoFrame:
        return av.VideoFrame(pattern.width, pattern.height, "yuv420p")

    def draw(self, utc_us: int) -> list[Sample]:
        """Draw the next picture with the time it is now."""
        frame = self._blank(self._pattern)
        frame.planes[0].update(bytes(self._picture.draw(utc_us // 1000)))
        for plane, chroma in zip(frame.planes[1:], self._picture.chroma, strict=True):
            plane.update(chroma)
        frame.pts = round(self._next * self._frame_seconds * VIDEO_CLOCK)
        frame.time_base = Fraction(1, VIDEO_CLOCK)
        self._next += 1
        return self._samples(frame, utc_us)


class AudioEncoder(Encoder):
    """AAC, mono. A frame is made when it begins; the encoder holds it for its length, as a microphone does."""

    def __init__(self, container: av.container.OutputContainer) -> None:
        super().__init__(Fraction(AAC_FRAME, SAMPLE_RATE))
        stream: Any = container.add_stream("aac", rate=SAMPLE_RATE)
        stream.codec_context.layout = "mono"
        stream.codec_context.bit_rate = AUDIO_BITS_PER_SECOND
        stream.codec_context.flags |= GLOBAL_HEADER
        self._stream = stream
        self._beeper = Beeper(SAMPLE_RATE)

    def sound(self, utc_us: int) -> list[Sample]:
        """Make the next frame."""
        frame = av.AudioFrame(format="fltp", layout="mono", samples=AAC_FRAME)
        frame.sample_rate = SAMPLE_RATE
        frame.planes[0].update(self._beeper.samples(self._next * AAC_FRAME, AAC_FRAME))
        frame.pts = self._next * AAC_FRAME
        frame.time_base = Fraction(1, SAMPLE_RATE)
        self._next += 1
        return self._samples(frame, utc_us)
