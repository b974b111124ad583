"""One attempt that a worker reads, as ingress sees it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final, Protocol

from headrace.identifiers import Epoch
from headrace_ingress.events import LOST, MOVED, Chunks, Closed, EpochOpened, Event, Held, Numbers
from headrace_ingress.jobs import Job
from headrace_ingress.reading import Reading
from headrace_ingress.workers.messages import (
    MessageError,
    write_file,
    write_files_end,
    write_go_on,
    write_hold,
    write_stop,
)
from headrace_ingress.workers.process import WorkerProcess

LOAD_SECONDS: Final = 10.0
"""Over how long the CPU time of a feed is measured: longer than opening it takes, with all that it had waiting."""

SEGMENTS_MAX: Final = 1000
"""Most segments that one message may add: there are a few, where a source sends all that it had kept."""

END_MAX_SECONDS: Final = 2.0**33
"""A timeline ends before the year 2242."""

GOES_ON: Final = "it goes on in a process of its own"
"""What viewers are told of a feed that takes more CPU than it may beside others."""


class Host(Protocol):
    """Who has the workers."""

    def begin(self, reading: WorkerReading, numbers: Numbers) -> tuple[WorkerProcess, int] | None:
        """Have an attempt read; return by whom and its number there, `None` when no worker can be started."""
        ...

    def over(self, worker: WorkerProcess, number: int) -> None:
        """An attempt has said its last word."""
        ...


class Load:
    """How much CPU an attempt takes, measured over `LOAD_SECONDS` at a time."""

    def __init__(self) -> None:
        self._since: tuple[float, float] | None = None

    def measure(self, cpu_seconds: float, now: float) -> float:
        """Take how much it took so far; return the share of a core when it is known anew, else 0."""
        if self._since is None:
            self._since = cpu_seconds, now
        before, since = self._since
        if now - since < LOAD_SECONDS:
            return 0.0
        self._since = cpu_seconds, now
        return (cpu_seconds - before) / (now - since)


class WorkerReading(Reading):
    """An attempt in a worker.

    Attributes:
        job: what is read.
        load: what it takes.
        thread: which reads it, 0 before that is known.
        is_stuck: its reader does not come back from a library.
        told_cpu_seconds: as the worker told last.
    """

    def __init__(self, workers: Host, job: Job) -> None:
        self.job = job
        self.load = Load()
        self.thread = 0
        self.is_stuck = False
        self.told_cpu_seconds = 0.0
        self._workers = workers
        self._place: tuple[WorkerProcess, int] | None = None
        self._numbers = Numbers(Epoch(0), 0, 0.0)
        self._before: Numbers | None = None
        self._tracks: frozenset[int] = frozenset()
        self._deliver: Callable[[list[Event]], None] = lambda events: None
        self._is_over = self._is_moved = False

    @property
    def cpu_seconds(self) -> float:
        return self.told_cpu_seconds

    def start(self, numbers: Numbers, deliver: Callable[[list[Event]], None]) -> None:
        self._numbers, self._deliver = numbers, deliver
        self._place = self._workers.begin(self, numbers)
        if self._place is None:
            reason = "no process can be started to read this feed"
            asyncio.get_running_loop().call_soon(self.lost, reason, LOST)

    def stop(self) -> None:
        if self._place is not None and not self._is_over:
            worker, number = self._place
            worker.order(write_stop(number))

    def hold(self) -> None:
        if self._place is not None and not self._is_over:
            worker, number = self._place
            worker.order(write_hold(number))

    def go_on(self, numbers: Numbers) -> None:
        if self._place is not None and not self._is_over:
            self._before, self._numbers = self._numbers, numbers
            worker, number = self._place
            worker.order(write_go_on(number, numbers))

    def add_file(self, format: str, descriptor: int) -> None:
        if self._place is None:
            os.close(descriptor)
            return
        worker, number = self._place
        worker.order(write_file(number, format), descriptor)

    def end_files(self) -> None:
        if self._place is not None:
            worker, number = self._place
            worker.order(write_files_end(number))

    # -- for the workers ------------------------------------------------------------------------------------------

    def check(self, event: Event) -> None:
        """Take note of where the numbers stand, in the order in which they are told.

        Raises:
            MessageError: for chunks of what was not opened.
        """
        match event:
            case EpochOpened(epoch, tracks):
                if epoch <= self._numbers.epoch:
                    raise MessageError("bad_payload", "an epoch that is not newer")
                at = self._numbers
                self._numbers = Numbers(epoch, at.next_segment, at.end_seconds, at.epochs)  # it counts with media
                self._tracks = frozenset(track.track for track in tracks)
            case Chunks(chunks, numbers):
                if any(one.id.epoch != self._numbers.epoch or one.id.track not in self._tracks for one in chunks):
                    raise MessageError("bad_payload", "a chunk of another epoch or track")
                self._check_numbers(numbers)
                self._numbers = numbers
            case Closed(numbers=numbers) if numbers == self._before:
                pass  # it ended before it heard that it may go on
            case Held(numbers=numbers) | Closed(numbers=numbers):
                self._check_numbers(numbers)

    def _check_numbers(self, numbers: Numbers) -> None:
        """Numbers never run backwards, so that wrong ones would stay with the stream."""
        at = self._numbers
        goes_on = numbers.next_segment - at.next_segment in range(SEGMENTS_MAX) and numbers.epochs - at.epochs in {0, 1}
        if numbers.epoch != at.epoch or not goes_on or not numbers.end_seconds < END_MAX_SECONDS:
            raise MessageError("bad_payload", "numbers that do not go on")

    def take(self, events: list[Event]) -> None:
        """Deliver what the worker told."""
        last = events[-1]
        if isinstance(last, Closed):
            self._finish()
            if self._is_moved and not last.ended:
                events[-1] = Closed(GOES_ON, False, last.numbers, MOVED)
        self._deliver(events)

    def move(self) -> None:
        """End it, so that the next attempt is placed anew."""
        self._is_moved = True
        self.stop()

    def lost(self, reason: str, code: str) -> None:
        """Close it where its numbers stood: its worker is gone, or there was none."""
        if not self._is_over:
            self._finish()
            self._deliver([Closed(reason, False, self._numbers, code)])

    def _finish(self) -> None:
        self._is_over = True
        if self._place is not None:
            self._workers.over(*self._place)


def append(events: list[Event], event: Event) -> None:
    """Add an event; chunks that follow each other become one."""
    last = events[-1] if events else None
    if isinstance(last, Chunks) and isinstance(event, Chunks) and last.is_rest is event.is_rest:
        events[-1] = Chunks(last.chunks + event.chunks, event.numbers, event.is_rest)
    else:
        events.append(event)
