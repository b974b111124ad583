"""Sound against picture by what they say themselves: the test pattern draws its UTC and beeps on each full second."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from headrace_ingress.cells import read_cells

BEEP_LEVEL = 0.05
"""Level at which a beep has begun: a fifth of the pattern's."""

SILENCE_SECONDS = 0.5
"""How long it must have been silent before."""


@dataclass
class Alignment:
    """What was read, in seconds.

    Attributes:
        pictures: presentation time of each picture, and the UTC drawn in it.
        beeps: presentation time of each beginning of a beep.
    """

    pictures: list[tuple[float, float]] = field(default_factory=list)
    beeps: list[float] = field(default_factory=list)

    def jumps(self, seconds: float = 0.5) -> list[float]:
        """Return presentation times of pictures before which more than `seconds` are missing."""
        return [time for (before, _), (time, _) in pairwise(self.pictures) if time - before > seconds]

    def errors(self) -> list[tuple[float, float]]:
        """Return for each beep its time, and by how much it comes after the picture of its second."""
        found = []
        for beep in self.beeps:
            time, utc = min(self.pictures, key=lambda picture: abs(picture[0] - beep))
            if abs(time - beep) < 0.2:
                at = utc + beep - time  # what the picture's clock would show now
                found.append((beep, at - round(at)))
        return found


def read_alignment(url: str, seconds: float, options: dict[str, str] | None = None) -> Alignment:
    """Decode about `seconds` of `url` with FFmpeg's libraries and return what picture and sound say."""
    found = Alignment()
    loud_until = -1.0
    with av.open(url, options=options or {}, timeout=20) as source:
        for frame in source.decode(*source.streams.video, *source.streams.audio):
            if isinstance(frame, VideoFrame):
                luma = frame.planes[0]
                drawn = read_cells(memoryview(luma), luma.line_size, frame.width)
                if drawn is not None and frame.time is not None:
                    found.pictures.append((frame.time, drawn / 1000))
                    if frame.time - found.pictures[0][0] > seconds:
                        break
            elif isinstance(frame, AudioFrame) and frame.time is not None:
                for time in _loud(frame):
                    if time - loud_until > SILENCE_SECONDS:
                        found.beeps.append(time)
                    loud_until = time
    found.pictures.sort()
    return found


def _loud(frame: AudioFrame) -> Iterable[float]:
    assert frame.time is not None
    samples = array("f", bytes(frame.planes[0])[: 4 * frame.samples])
    for number, sample in enumerate(samples):
        if abs(sample) > BEEP_LEVEL:
            yield frame.time + number / frame.sample_rate
