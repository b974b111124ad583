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
from headrace.registry.feed_uri import PatternOptions
from headrace.wire.stream import Track
from headrace_ingress.codecs import AAC_FRAME, SAMPLE_RATE, VIDEO_CLOCK, add_aac, add_h264, nowhere
from headrace_ingress.pattern import Beeper, Picture
from headrace_ingress.source import Note

SOUND_AHEAD_FRAMES = 4
"""How many frames before its time the sound is made, so that it leaves together with its picture: the encoder keeps
two, and a chunk of sound is one or two longer than one of pictures."""

LATE_MAX_SECONDS = 0.5
"""How late a picture may be before those that should have been drawn meanwhile are left out."""


class PatternSource:
    """Draws and encodes the test pattern.

    Times are microseconds of UTC at the moment of drawing, which is what the picture shows; the media clock is the
    monotonic one, so a step of the system's time moves the picture's clock and nothing else.

    Args:
        pattern: what it looks like.
        options: how the feed is cut.
        clock: what it shows and what it is paced by.
        stopping: ends every wait.
    """

    def __init__(
        self,
        pattern: PatternOptions,
        options: PackagerOptions,
        clock: Clock,
        stopping: threading.Event,
    ) -> None:
        self.tracks: tuple[Track, ...] = ()
        self.keeps = False  # it lets time pass by itself
        self._pattern = pattern
        self._options = options
        self._clock = clock
        self._stopping = stopping
        self._container: av.container.OutputContainer | None = None
        self._video: VideoEncoder | None = None
        self._audio: AudioEncoder | None = None
        self._origin = 0.0

    def open(self, note: Note) -> None:
        self._container = nowhere()
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
        due = min(encoder.due_seconds for encoder in (self._video, self._audio) if encoder is not None)
        self._stopping.wait(max(0.0, self._origin + due - self._clock.monotonic()))
        if self._stopping.is_set():
            return []
        now = self._clock.monotonic() - self._origin
        utc = self._clock.utc()
        samples: list[Sample] = []
        if self._video is not None and self._video.next_seconds <= now:
            if now - self._video.next_seconds > LATE_MAX_SECONDS:
                self._video.seek(now)
            samples += self._video.draw(microseconds(utc))
        while self._audio is not None and self._audio.due_seconds <= now:
            if now - self._audio.next_seconds > LATE_MAX_SECONDS:
                self._audio.seek(now)
            captured = utc - (now - self._audio.next_seconds)
            samples += self._audio.sound(microseconds(captured))
        return samples

    def close(self) -> None:
        self._container = self._video = self._audio = None


class Encoder:
    """What both encoders share: a stream, its track, and the time of the next frame.

    Attributes:
        track: what it makes; known after `describe`.
        next_seconds: where the next frame begins, in media time.
        due_seconds: when it is to be made.
    """

    track: Track
    _stream: Any
    _reader: TrackReader

    def __init__(self, frame_seconds: Fraction, ahead_frames: int = 0) -> None:
        self._frame_seconds = frame_seconds
        self._ahead_seconds = float(ahead_frames * frame_seconds)
        self._next = 0

    @property
    def next_seconds(self) -> float:
        return float(self._next * self._frame_seconds)

    @property
    def due_seconds(self) -> float:
        return self.next_seconds - self._ahead_seconds

    def describe(self, number: int, options: PackagerOptions) -> None:
        """Learn the track from the encoder, once encoding was started."""
        self._reader = TrackReader(self._stream, number, options)
        self.track = self._reader.track

    def seek(self, seconds: float) -> None:
        """Leave out what is due before a media time."""
        self._next = math.ceil(Fraction(seconds) / self._frame_seconds)

    def _samples(self, frame: Any, captured_us: int) -> list[Sample]:
        """Encode what was captured then; what comes out is as much older as its time stamps say."""
        samples = []
        for packet in self._stream.encode(frame):
            older = (frame.pts - packet.pts) * frame.time_base
            samples.append(self._reader.sample(packet, captured_us - round(older * 1_000_000)))
        return samples


class VideoEncoder(Encoder):
    """Pictures with the time on them."""

    def __init__(self, container: av.container.OutputContainer, pattern: PatternOptions) -> None:
        super().__init__(1 / pattern.rate)
        self._stream = add_h264(container, pattern.width, pattern.height, pattern.rate, pattern.gop_seconds)
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
    """Sound, mono."""

    def __init__(self, container: av.container.OutputContainer) -> None:
        super().__init__(Fraction(AAC_FRAME, SAMPLE_RATE), SOUND_AHEAD_FRAMES)
        self._stream = add_aac(container, "mono")
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
