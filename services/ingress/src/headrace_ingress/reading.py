"""Who reads feeds: threads of this process, or of worker processes (`headrace_ingress.workers`)."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

from headrace.clock import Clock
from headrace.identifiers import StreamName
from headrace.media.samples import PackagerOptions
from headrace.wire.stream import Track
from headrace_ingress.arriving import Arrivals
from headrace_ingress.events import Event, Numbers
from headrace_ingress.handover import Handover
from headrace_ingress.jobs import Job, ReaderOptions, make_source
from headrace_ingress.reader import Reader
from headrace_ingress.slate import NONE, Slate
from headrace_ingress.source import ChunkSource, Source


class Reading(ChunkSource):
    """One attempt at a feed by a reader, wherever that is."""

    @abstractmethod
    def add_file(self, format: str, descriptor: int) -> None:
        """Give it the publisher's next file: what it is, by libav's name, and where to read it; closed for the caller.

        To be called after `start`, like `end_files`; once it is over, both do nothing but that.
        """

    @abstractmethod
    def end_files(self) -> None:
        """No more files will come; a second call does nothing."""


class Readers(Protocol):
    """Makes attempts at feeds."""

    def make(self, job: Job) -> Reading:
        """Return an attempt that was not started yet."""
        ...


def slate_maker(readers: Readers, name: StreamName, picture: str) -> Callable[[tuple[Track, ...]], ChunkSource] | None:
    """Return what makes a stream's slate from the tracks of its feed; `None` where it has no picture."""
    if picture == NONE:
        return None
    return lambda tracks: readers.make(Job(name, slate=Slate(picture, tracks)))


class ThreadReading(Reading):
    """An attempt in a thread of this process.

    Args:
        name: of the stream.
        make: makes the source, which ends its waits when the event is set.
        options: how the feed is cut.
        clock: of this process.
        arrivals: where a publisher's files go.
        is_held: whether it is held from the start.
    """

    def __init__(
        self,
        name: StreamName,
        make: Callable[[threading.Event], Source],
        options: PackagerOptions,
        clock: Clock,
        arrivals: Arrivals,
        *,
        is_held: bool = False,
    ) -> None:
        self._name = name
        self._make = make
        self._options = options
        self._clock = clock
        self._arrivals = arrivals
        self._is_held = is_held
        self._stopping = threading.Event()
        self._reader: Reader | None = None

    @property
    def cpu_seconds(self) -> float:
        return 0.0 if self._reader is None else self._reader.cpu_seconds

    def start(self, numbers: Numbers, deliver: Callable[[list[Event]], None]) -> None:
        put = Handover(asyncio.get_running_loop(), deliver, self._stopping).put
        source = self._make(self._stopping)
        self._reader = Reader(
            self._name, source, numbers, self._options, self._clock, put, self._stopping, is_held=self._is_held
        )
        self._reader.start()

    def stop(self) -> None:
        self._stopping.set()

    def hold(self) -> None:
        if self._reader is not None:
            self._reader.hold()

    def go_on(self, numbers: Numbers) -> None:
        if self._reader is not None:
            self._reader.go_on(numbers)

    def add_file(self, format: str, descriptor: int) -> None:
        self._arrivals.add(format, descriptor)

    def end_files(self) -> None:
        self._arrivals.end()


class ThreadReaders:
    """Reads every feed in a thread of this process: for tests and the smallest machines.

    Args:
        options: what all readers have in common.
        clock: of this process.
    """

    def __init__(self, options: ReaderOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock

    def make(self, job: Job) -> Reading:
        """See `Readers`."""
        arrivals = Arrivals()
        return ThreadReading(
            job.stream,
            lambda stopping: make_source(job, self._options, arrivals, self._clock, stopping),
            self._options.packager,
            self._clock,
            arrivals,
            is_held=job.is_held,
        )
