"""Playing recorded media at live speed. Pure but for the clock and the event that it is given."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

from headrace.clock import Clock
from headrace.media.samples import Sample

BEHIND_MAX_SECONDS = 1.0
"""How late media may be before it is given up to catch up and time starts anew from here: a machine that slept does
not owe its viewers an hour of fast forward."""

AHEAD_MAX_SECONDS = 5.0
"""How far media time may jump forward before the jump is taken for a seam in the file instead of waited for."""

INTERLEAVE_MAX_SECONDS = 3.0
"""How far apart a file may store what belongs to the same time; beyond it a track is taken to be over."""

INTERLEAVE_MAX_SAMPLES = 2048
"""The same in samples, whatever their times."""


class Pacer:
    """Lets media time pass as fast as the clock.

    Args:
        clock: what time it is.
        stopping: ends every wait.
    """

    def __init__(self, clock: Clock, stopping: threading.Event) -> None:
        self._clock = clock
        self._stopping = stopping
        self._offset: float | None = None
        self._utc_offset = 0.0

    def wait(self, media_seconds: float) -> None:
        """Return when media of that time is due, at once when it was due before, or when it is time to stop."""
        now = self._clock.monotonic()
        behind = 0.0 if self._offset is None else now - self._offset - media_seconds
        if self._offset is None or not -AHEAD_MAX_SECONDS < behind < BEHIND_MAX_SECONDS:
            self._offset = now - media_seconds
            self._utc_offset = self._clock.utc() - media_seconds
        self._stopping.wait(max(0.0, self._offset + media_seconds - now))

    def is_due(self, media_seconds: float) -> bool:
        """Whether media of that time is due."""
        return self._offset is not None and self._clock.monotonic() >= self._offset + media_seconds

    def due_us(self, media_seconds: float) -> int:
        """Return when media of that time was or is due, in microseconds of UTC."""
        return round((media_seconds + self._utc_offset) * 1_000_000)


class Interleaver:
    """Brings the samples of several tracks into the order of their decode times; each track keeps its own.

    Args:
        timescales: by track number.
    """

    def __init__(self, timescales: Mapping[int, int]) -> None:
        self._timescales = timescales
        self._queues: dict[int, deque[tuple[float, Sample]]] = {track: deque() for track in timescales}
        self._count = 0
        self._newest = 0.0

    def __len__(self) -> int:
        return self._count

    def push(self, sample: Sample) -> None:
        """Add a sample; those of one track come in their order."""
        self._newest = sample.dts / self._timescales[sample.track]
        self._queues[sample.track].append((self._newest, sample))
        self._count += 1

    @property
    def is_ready(self) -> bool:
        """Whether no sample that is still to come should be before the first one here."""
        if all(self._queues.values()):
            return True
        return self._count > 0 and (
            self._newest - self.first_seconds > INTERLEAVE_MAX_SECONDS or self._count > INTERLEAVE_MAX_SAMPLES
        )

    @property
    def first_seconds(self) -> float:
        """The decode time of the first sample, which there must be."""
        return self._first()[0][0]

    def pop(self) -> Sample:
        """Take the first sample, which there must be."""
        self._count -= 1
        return self._first().popleft()[1]

    def _first(self) -> deque[tuple[float, Sample]]:
        first: deque[tuple[float, Sample]] | None = None
        for queue in self._queues.values():
            if queue and (first is None or queue[0][0] < first[0][0]):
                first = queue
        assert first is not None
        return first


def at(sample: Sample, shift: int, capture_us: int) -> Sample:
    """Return a sample at another time."""
    moved = sample.pts + shift, sample.dts + shift
    return Sample(sample.track, *moved, sample.duration, sample.keyframe, sample.data, capture_us)
