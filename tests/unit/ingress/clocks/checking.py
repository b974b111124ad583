"""What must hold of whatever comes out, whatever the clocks did; and how near to it everything came."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from headrace.identifiers import Epoch
from headrace.media.samples import PackagerOptions
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track
from headrace_ingress.events import Chunks, Closed, EpochOpened, Event, Noted, Numbers
from headrace_ingress.reader import Reader
from support.fragments import parse_fragment
from unit.ingress.clocks.scenarios import Scenario
from unit.ingress.clocks.world import IDENTITY, UTC, SimulatedClock, SimulatedSource

WEIGH_EVERY = 10
"""Batches of chunks after which everything that is held is counted."""

BESIDE_SECONDS = 1.0
"""How far apart sound and a picture may have been captured to be compared."""


@dataclass
class Outcome:
    """What was seen.

    Attributes:
        offset: furthest that sound was from the picture, in seconds.
        drift: furthest that the timeline was from our own clock's UTC at capture; of what was told in `allowed`.
        epochs: how many there were.
        pictures, sounds, silences: how many frames came out, and how many of silence were put in.
        objects: how many were held by reader, packager and clocks, at most, in the first and in the second half.
        problems: what must not be, the first few.
    """

    offset: float = 0.0
    drift: float = 0.0
    epochs: int = 0
    pictures: int = 0
    sounds: int = 0
    silences: int = 0
    objects: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def halves(self) -> tuple[int, int]:
        """Most objects held in each half."""
        middle = len(self.objects) // 2
        return max(self.objects[:middle], default=0), max(self.objects[middle:], default=0)


class Checker:
    """Takes a reader's events, and looks at every sample in them."""

    def __init__(self, scenario: Scenario, clock: SimulatedClock, weigh: Callable[[], int]) -> None:
        self.outcome = Outcome()
        self.closed = threading.Event()
        self._scenario = scenario
        self._clock = clock
        self._weigh = weigh
        self._batches = 0
        self._epoch = 0
        self._tracks: dict[int, Track] = {}
        self._last: dict[int, Chunk] = {}
        self._ends: dict[int, float] = {}
        self._next_segment = 0
        self._pictures: list[tuple[float, float]] = []

    def take(self, event: Event) -> None:
        """Take what a reader tells."""
        match event:
            case EpochOpened(epoch, tracks):
                self._expect(epoch > self._epoch, "epochs grow")
                self._epoch, self._tracks = epoch, {track.track: track for track in tracks}
                self._last, self._pictures = {}, []
                self.outcome.epochs += 1
            case Chunks(chunks, numbers):
                for chunk in chunks:
                    self._chunk(chunk)
                self._next_segment = numbers.next_segment
                self._batches += 1
                if self._batches % WEIGH_EVERY == 0:
                    self.outcome.objects.append(self._weigh())
            case Closed():
                self._expect(event.ended, f"closed: {event.reason}")
                self.closed.set()
            case Noted():
                pass

    def _expect(self, holds: bool, what: str) -> None:
        if not holds and len(self.outcome.problems) < 10:
            self.outcome.problems.append(what)

    def _chunk(self, chunk: Chunk) -> None:
        number, before = chunk.id.track, self._last.get(chunk.id.track)
        self._expect(chunk.id.epoch == self._epoch, "chunks are of the epoch that is open")
        if before is None:
            self._expect(chunk.id.chunk == 0, f"an epoch begins with chunk 0 {chunk.id}")
            self._expect(chunk.id.segment >= self._next_segment or len(self._last) > 0, "segments go on")
        else:
            self._expect(before.is_followed_by(chunk.id), f"no hole after {before.id}: {chunk.id}")
            if before.media:
                self._expect(chunk.decode_time == before.decode_time + before.duration, f"times go on at {chunk.id}")
        self._last[number] = chunk
        end = (chunk.decode_time + chunk.duration) / self._tracks[number].timescale
        self._expect(end >= self._ends.get(number, 0.0) - 1e-4, f"decode times go forward at {chunk.id}")
        self._ends[number] = end
        if chunk.media:
            self._media(chunk)

    def _media(self, chunk: Chunk) -> None:
        timescale, is_picture = self._tracks[chunk.id.track].timescale, chunk.id.track == 1
        fragment = parse_fragment(chunk.media)
        self._expect(sum(sample.duration for sample in fragment.samples) == chunk.duration, "durations add up")
        for sample in fragment.samples:
            self._expect(0 < sample.duration <= 11 * timescale, "no frame lasts for nothing or for ever")
            if len(sample.data) != IDENTITY.size:
                self.outcome.silences += 1
                continue
            told, true = IDENTITY.unpack(sample.data)
            shown = sample.presentation_time / timescale
            self._place(is_picture, shown - told, true, shown)

    def _place(self, is_picture: bool, moved: float, true: float, shown: float) -> None:
        """Look at one sample: by how much its time was moved against the source's, and where it is shown in UTC."""
        if is_picture:
            self.outcome.pictures += 1
            self._pictures.append((true, moved))
            del self._pictures[:-128]
        else:
            self.outcome.sounds += 1
            beside = min(self._pictures, key=lambda one: abs(one[0] - true), default=None)
            if beside is not None and abs(beside[0] - true) <= BESIDE_SECONDS and not self._scenario.stands_still:
                self.outcome.offset = max(self.outcome.offset, abs(moved - beside[1]))
        if not self._is_settling(true):
            self.outcome.drift = max(self.outcome.drift, abs(self._clock.at(true) - shown))

    def _is_settling(self, true: float) -> bool:
        return any(when - 1 <= true <= when + self._scenario.settle for when, _ in self._scenario.utc_steps)


def run(scenario: Scenario, hours: float, seed: int) -> Outcome:
    """Read a simulated source from end to end; return what was seen."""
    clock = SimulatedClock(scenario.utc_steps)
    source = SimulatedSource(scenario, hours, seed, clock)
    roots: list[object] = [source.feeds]
    checker = Checker(scenario, clock, lambda: held(roots))
    begin = Numbers(Epoch(0), int(UTC), 0.0)
    reader = Reader("simulated", source, begin, PackagerOptions(), clock, checker.take, threading.Event())
    roots.append(reader)
    reader.start()
    if not checker.closed.wait(600 * max(1.0, hours)):
        checker.outcome.problems.append("it does not end")
    return checker.outcome


_NOT_HELD = (ModuleType, type, FunctionType, MethodType, BuiltinFunctionType, threading.Thread, Checker, SimulatedClock)


def held(roots: list[object]) -> int:
    """Return how many objects can be reached from `roots`, what all share left out."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _NOT_HELD):
            continue
        seen.add(id(one))
        waiting += gc.get_referents(one)
    return len(seen)
