"""A source that does what a test says, and a feed around it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from headrace.clock import SystemClock
from headrace.identifiers import StreamName
from headrace.media.samples import Sample
from headrace.registry.memory import MemoryRegistry, MemoryStore
from headrace.relay.broadcast import Broadcast, Entry
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, Track
from headrace_ingress.arriving import Arrivals
from headrace_ingress.feed import Feed, FeedOptions
from headrace_ingress.hold import Hold
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.reading import ThreadReading
from headrace_ingress.source import Note, SourceBroken, SourceEnded

NAME = StreamName("cam1")
VIDEO = Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=b"one", frame_rate=25.0)
OTHER = Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=b"two", frame_rate=25.0)


class Hang:
    """A step that blocks, as a library does, until the test releases it; it does not look at `stopping`."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.release = threading.Event()


class WaitForStop:
    """A step that waits for the stop flag, as a live source between two packets does."""


@dataclass
class Frames:
    """Some frames; a second begins with a keyframe."""

    count: int
    start: int = 0
    track: Track = VIDEO


Step = Frames | SourceBroken | SourceEnded | Hang | WaitForStop | Exception


@dataclass
class ScriptedSource:
    """Plays its steps, one at each read."""

    steps: Sequence[Step]
    stopping: threading.Event
    tracks: tuple[Track, ...] = ()
    keeps: bool = False
    closed: threading.Event = field(default_factory=threading.Event)
    threads: set[int] = field(default_factory=set)
    note: str = ""
    _at: int = 0

    def open(self, note: Note) -> None:
        self.threads.add(threading.get_ident())
        if self.note:
            note(self.note)
        if isinstance(self.steps[0], Exception) and len(self.steps) == 1:
            raise self.steps[0]

    def read(self) -> Sequence[Sample]:
        self.threads.add(threading.get_ident())
        step = self.steps[self._at] if self._at < len(self.steps) else WaitForStop()
        self._at += 1
        match step:
            case Frames():
                if self.tracks != (step.track,):
                    self.tracks = (step.track,)
                return [frame(step.start + index, (step.start + index) % 25 == 0) for index in range(step.count)]
            case Hang():
                step.entered.set()
                step.release.wait(30)
            case WaitForStop():
                self.stopping.wait(30)
            case _:
                raise step
        return []

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed.set()


def frame(number: int, keyframe: bool) -> Sample:
    """A picture at 25 frames per second, captured now."""
    return Sample(1, number * 3600, number * 3600, 3600, keyframe, b"x" * 100, round(time.time() * 1_000_000))


class FreeHold(Hold):
    """A hold that nobody disputes."""

    @property
    def is_claimed(self) -> bool:
        return True

    def may_publish(self) -> bool:
        return True


@dataclass
class Stage:
    """A feed whose attempts play scripts, one after the other; the last one again and again.

    Attributes:
        silence_seconds: shortest silence that is told; long, for readers of a busy machine may be late.
        slate: script of what fills in; none does where it is empty.
    """

    scripts: Sequence[Sequence[Step]]
    store: MemoryStore = field(default_factory=MemoryStore)
    node: str = "node-1"
    note: str = ""
    slate: Sequence[Step] = ()
    silence_seconds: float = 30.0
    sources: list[ScriptedSource] = field(default_factory=list)
    slates: list[ScriptedSource] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.broadcast = Broadcast(NAME)
        cursor = self.broadcast.resume({})
        self.broadcast.listeners.add(lambda: self.entries.extend(self.broadcast.read(cursor)))
        self.registry = MemoryRegistry(self.store)
        self.exported = CollectorRegistry()
        self.hold = FreeHold(self.registry, None, 1.0)
        self.options = options = FeedOptions(
            retry_min_seconds=0.01,
            retry_max_seconds=0.02,
            slate_after_seconds=0.01,
            silence_seconds=self.silence_seconds,
        )
        self.feed = Feed(
            NAME,
            "test",
            lambda failures: self._reading(lambda stopping: self._make_source(stopping, failures), bool(self.slate)),
            self.broadcast,
            self.registry,
            self.hold,
            RouteHop(self.node, "ingress"),
            options,
            SystemClock(),
            IngressMetrics.make(self.exported),
            (lambda tracks: self._reading(self._make_slate, False)) if self.slate else None,
        )
        self.registry.on_fenced = lambda name, other: self.feed.fence(other)

    def _reading(self, make: Callable[[threading.Event], ScriptedSource], is_held: bool) -> ThreadReading:
        return ThreadReading(NAME, make, self.options.packager, SystemClock(), Arrivals(), is_held=is_held)

    def _make_slate(self, stopping: threading.Event) -> ScriptedSource:
        self.slates.append(ScriptedSource(self.slate, stopping))
        return self.slates[-1]

    def _make_source(self, stopping: threading.Event, failures: int) -> ScriptedSource:
        script = self.scripts[min(len(self.sources), len(self.scripts) - 1)]
        self.sources.append(ScriptedSource(script, stopping, note=self.note))
        return self.sources[-1]

    def chunks(self) -> list[Chunk]:
        """All chunks that were published."""
        return [entry for entry in self.entries if isinstance(entry, Chunk)]

    def metric(self, name: str, **labels: str) -> float:
        """The value of an exported metric."""
        return self.exported.get_sample_value(f"headrace_ingress_{name}", labels) or 0.0
