"""Streams cut by the real packager out of made-up frames, for tests of windows, playlists and manifests."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from headrace.identifiers import Epoch
from headrace.media.cadence import cadence
from headrace.media.declaration import declare
from headrace.media.packager import Packager
from headrace.media.samples import EpochStart, PackagerOptions, Sample
from headrace.relay.broadcast import Opened
from headrace.relay.window import Window
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track
from support.tracks import audio_track, video_track

BEGIN_SECONDS = 1_790_000_000
OPTIONS = PackagerOptions()
AAC_FRAME = 1024


def video(frame_rate: float = 25.0) -> Track:
    rhythm = cadence(1 / frame_rate if frame_rate else 0.0, OPTIONS)
    return video_track(frame_rate=frame_rate, chunk_seconds=rhythm.chunk_seconds, part_seconds=rhythm.part_seconds)


def audio(number: int = 2, language: str = "und") -> Track:
    rhythm = cadence(AAC_FRAME / 48_000, OPTIONS)
    return audio_track(
        track=number, chunk_seconds=rhythm.chunk_seconds, part_seconds=rhythm.part_seconds, language=language
    )


@dataclass
class Programme:
    """Makes epochs one after the other, numbers going on.

    Attributes:
        segment: the next segment number.
        now: where the timeline stands, in seconds.
        epochs: how many there were.
        sample_bytes: size of each sample, 0 for a few bytes that say which it is.
    """

    segment: int = 100
    now: float = float(BEGIN_SECONDS)
    epochs: int = 0
    sample_bytes: int = 0
    entries: list[Opened | Chunk] = field(default_factory=list)

    def epoch(
        self,
        seconds: float,
        *,
        gop: int = 50,
        frame_rate: float = 25.0,
        tracks: tuple[Track, ...] = (),
        leave_out: Container[int] = (),
    ) -> list[Opened | Chunk]:
        """Return the entries of another epoch of so many seconds, its keyframes `gop` frames apart.

        Pictures whose numbers are in `leave_out` are missing.
        """
        tracks = tracks or (video(frame_rate), audio())
        start = EpochStart(Epoch(int(self.now * 1000)), self.segment, self.now)
        packager = Packager(tracks, start, OPTIONS)
        declared = tuple(declare(track, OPTIONS, self.epochs) for track in tracks)
        made: list[Opened | Chunk] = [Opened(start.epoch, declared)]
        for sample in sorted(self._samples(tracks, seconds, gop, frame_rate or 25.0), key=_time_in(tracks)):
            if sample.track != 1 or round(sample.dts * (frame_rate or 25.0) / 90_000) not in leave_out:
                made += packager.push(sample)
        made += packager.finish()
        self.segment, self.epochs = packager.next_segment, self.epochs + 1
        self.now = packager.end_seconds + 1.5
        self.entries += made
        return made

    def _samples(self, tracks: tuple[Track, ...], seconds: float, gop: int, rate: float) -> Iterator[Sample]:
        for track in tracks:
            step = round(90_000 / rate) if track.kind == "video" else AAC_FRAME
            for index in range(int(seconds * track.timescale / step)):
                time = index * step
                key = track.kind != "video" or index % gop == 0
                capture = round((self.now + time / track.timescale) * 1_000_000)
                data = b"%d:%d" % (track.track, index)
                yield Sample(track.track, time, time, step, key, data.ljust(self.sample_bytes, b"."), capture)


def _time_in(tracks: tuple[Track, ...]):  # type: ignore[no-untyped-def]
    scales = {track.track: track.timescale for track in tracks}
    return lambda sample: sample.dts / scales[sample.track]


def window_of(entries: list[Opened | Chunk], window: Window | None = None) -> Window:
    """Return a window that took `entries`."""
    window = window or Window()
    for entry in entries:
        window.take(entry)
    return window
