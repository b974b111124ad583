"""What is shown while a source is away: one picture, and silence where the feed had sound.

The picture is encoded once, as one GOP, which is repeated as long as the slate plays; its silence is a frame that is
known for the feed's own codec. So a slate costs what packaging ten pictures a second does.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.clock import Clock, microseconds
from headrace.media.headers import TrackReader
from headrace.media.samples import PackagerOptions, Sample
from headrace.media.silence import silent_frame
from headrace.wire.stream import Track
from headrace_ingress.codecs import AAC_FRAME, VIDEO_CLOCK, add_aac, add_h264, nowhere
from headrace_ingress.picture import BT709, SIDE_MAX, STUDIO_RANGE, BadPicture, draw_no_signal, fit, load_picture
from headrace_ingress.source import Note, SourceBroken

NONE: Final = "none"
BUILT_IN: Final = "built-in"
SLATE_WORDS: Final = frozenset({NONE, BUILT_IN})
"""What a setting may say instead of a path; the API says nothing else."""

PICTURES_A_SECOND: Final = 10
"""One for each chunk of the usual length, so that chunks come as regularly as of any feed."""

GOP_PICTURES: Final = 20
"""Two seconds, the usual segment: who joins waits no longer."""

OPUS_FRAMES_A_SECOND: Final = 50
"""The silent frame of Opus lasts 20 ms."""

SIZE_DEFAULT: Final = (1280, 720)
"""Where the feed's track does not say."""

LATE_MAX_SECONDS: Final = 0.5
"""How late a picture may be before those that were due meanwhile are left out."""


@dataclass(frozen=True, slots=True)
class Slate:
    """One slate.

    Attributes:
        picture: `built-in`, or the path of a PNG or JPEG file.
        tracks: of the feed that it fills in for: what has sound there has silence here, in a picture of the same size.
    """

    picture: str
    tracks: tuple[Track, ...]


class SlateSource:
    """Plays a slate.

    Args:
        slate: which.
        options: how the feed is cut.
        clock: what it is paced by.
        stopping: ends every wait.
    """

    def __init__(self, slate: Slate, options: PackagerOptions, clock: Clock, stopping: threading.Event) -> None:
        self.tracks: tuple[Track, ...] = ()
        self.keeps = False  # it lets time pass by itself
        self._slate = slate
        self._options = options
        self._clock = clock
        self._stopping = stopping
        self._gop: list[Sample] = []
        self._silences: list[_Silence] = []
        self._origin = 0.0
        self._number = 0
        self._tick = 0

    def open(self, note: Note) -> None:
        """See `Source`.

        Raises:
            SourceBroken: when the picture cannot be had.
        """
        videos = [track for track in self._slate.tracks if track.kind == "video"]
        number = videos[0].track if videos else 1
        video, self._gop = _encode(self._picture(*_size(videos)), number, self._options)
        sounds = [_silent(track, self._options) for track in self._slate.tracks if track.kind == "audio"]
        self._silences = [_Silence(track) for track in sounds]
        self.tracks = (video, *sounds)
        self._origin = self._clock.monotonic()

    def read(self) -> Sequence[Sample]:
        due = self._origin + self._tick / PICTURES_A_SECOND
        self._stopping.wait(max(0.0, due - self._clock.monotonic()))
        if self._stopping.is_set():
            return []
        late = self._clock.monotonic() - due
        if late > LATE_MAX_SECONDS:
            # A GOP goes on in order or begins anew.
            self._number, self._tick = 0, self._tick + math.floor(late * PICTURES_A_SECOND)
        utc_us = microseconds(self._clock.utc())
        end = Fraction(self._tick + 1, PICTURES_A_SECOND)
        samples = [sample for silence in self._silences for sample in silence.until(end, utc_us)]
        ticks = VIDEO_CLOCK // PICTURES_A_SECOND
        dts = self._tick * ticks
        picture = self._gop[self._number % len(self._gop)]
        samples.append(msgspec.structs.replace(picture, pts=dts, dts=dts, duration=ticks, capture_us=utc_us))
        self._number, self._tick = self._number + 1, self._tick + 1
        return samples

    def close(self) -> None:
        self._gop = []

    def _picture(self, width: int, height: int) -> Any:
        if self._slate.picture == BUILT_IN:
            return draw_no_signal(width, height)
        try:
            return fit(load_picture(Path(self._slate.picture)), width, height)
        except BadPicture as bad:
            raise SourceBroken(f"the slate's picture cannot be used: {bad}") from None


class _Silence:
    """Silence of one track, frame by frame."""

    def __init__(self, track: Track) -> None:
        self._track = track
        self._data = silent_frame(track)
        is_opus = track.codec == "opus"
        self._frame = track.timescale // OPUS_FRAMES_A_SECOND if is_opus else AAC_FRAME  # AAC's ticks are samples
        self._next = 0

    def until(self, end: Fraction, utc_us: int) -> list[Sample]:
        """Return the frames that begin before `end`, in seconds; those of a time that was left out are, too."""
        number, timescale = self._track.track, self._track.timescale
        last = math.ceil(end * timescale)
        if last - self._next > timescale * LATE_MAX_SECONDS:
            self._next += (last - self._next) // self._frame * self._frame
        begins = range(self._next, last, self._frame)
        self._next += len(begins) * self._frame
        return [Sample(number, begin, begin, self._frame, True, self._data, utc_us) for begin in begins]


def _size(videos: Sequence[Track]) -> tuple[int, int]:
    """Return the size of the feed's picture, made even and no larger than is encoded, its proportions kept."""
    width, height = (videos[0].width, videos[0].height) if videos else (0, 0)
    if width < 16 or height < 16:
        return SIZE_DEFAULT
    shrink = min(1.0, SIDE_MAX / max(width, height))
    return max(16, int(width * shrink) // 2 * 2), max(16, int(height * shrink) // 2 * 2)


def _encode(picture: Any, number: int, options: PackagerOptions) -> tuple[Track, list[Sample]]:
    """Return the track of a picture, and it as one GOP: a keyframe, and pictures that say that nothing changed."""
    container = nowhere()
    rate = Fraction(PICTURES_A_SECOND)
    stream = add_h264(container, picture.width, picture.height, rate, GOP_PICTURES / PICTURES_A_SECOND)
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = STUDIO_RANGE
    container.start_encoding()
    reader = TrackReader(stream, number, options)
    packets = []
    picture.time_base = Fraction(1, VIDEO_CLOCK)
    for index in range(GOP_PICTURES):
        picture.pts = index * VIDEO_CLOCK // PICTURES_A_SECOND
        packets += stream.encode(picture)
    packets += stream.encode(None)
    samples = [reader.sample(packet, 0) for packet in packets]
    return reader.track, [msgspec.structs.replace(sample, data=bytes(sample.data)) for sample in samples]


def _silent(track: Track, options: PackagerOptions) -> Track:
    """Return a track for silence in place of `track`: the same where its silence is known, else AAC."""
    if silent_frame(track):
        return track
    container = nowhere()
    stream = add_aac(container, "mono" if track.channels == 1 else "stereo")
    container.start_encoding()
    return TrackReader(stream, track.track, options).track
