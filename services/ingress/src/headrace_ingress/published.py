"""What somebody publishes here, from the door to the reader; all of it on the loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from headrace.identifiers import StreamName
from headrace_ingress.arriving import SECTIONS_MAX
from headrace_ingress.events import LOST, MOVED, Closed, Event, Numbers
from headrace_ingress.jobs import Job
from headrace_ingress.pipe import BytePipe
from headrace_ingress.reading import Readers, Reading
from headrace_ingress.source import ChunkSource

AGAIN = frozenset({LOST, MOVED})
"""How an attempt ends that is not its publisher's fault, as far as is known."""

STOPPED = "the stream is stopped here"
"""What a publisher is told whose stream ended for no fault of its own."""


class Publication:
    """What one publisher sends, for one reader: a file, and another whenever its codecs change.

    Args:
        on_over: called with the reason, once, when the reader is done with it.

    Attributes:
        on_again: called when its reader's process is gone, for the door to begin its file anew; `None` where the door
            has not kept what a file begins with.
    """

    def __init__(self, on_over: Callable[[str], None]) -> None:
        self._on_over = on_over
        self.on_again: Callable[[], None] | None = None
        self._files: deque[BytePipe] = deque()
        self._open: list[BytePipe] = []
        self._reading: Reading | None = None
        self._ended = False
        self.is_over = False

    @property
    def waiting_bytes(self) -> int:
        """How much of it waits for the reader."""
        return sum(file.waiting_bytes for file in self._open)

    def add(self, file: BytePipe) -> None:
        """Add the next file; the one before must have been ended."""
        if self._ended or len(self._files) >= SECTIONS_MAX:
            file.drop()
            self.end()
            return
        self._open = [*(one for one in self._open if not one.is_closed), file]
        if self._reading is None:
            self._files.append(file)
        else:
            self._reading.add_file(file.format, file.take_reading_end())

    def end(self) -> None:
        """The publisher is gone: what it sent is still read."""
        self._ended = True
        for file in self._open:
            file.end()
        if self._reading is not None:
            self._reading.end_files()

    def read_by(self, reading: Reading) -> None:
        """Let a reader have what there is and what will come."""
        self._reading = reading
        while self._files:
            file = self._files.popleft()
            reading.add_file(file.format, file.take_reading_end())
        if self._ended:
            reading.end_files()

    def begin_again(self) -> bool:
        """Its reader's process is gone: have it begin anew for another reader; return False where that cannot be."""
        if self.on_again is None or self._ended:
            return False
        for file in self._open:
            file.drop()
        self._open, self._reading = [], None
        self.on_again()
        return True

    def finish(self, reason: str) -> None:
        """The reader reads no more of it."""
        self.end()
        while self._files:
            self._files.popleft().drop()
        if not self.is_over:
            self.is_over = True
            self._on_over(reason)


class Slot:
    """Where the publication of a stream waits for the reader."""

    def __init__(self) -> None:
        self._waiting: Publication | None = None
        self._taker: Callable[[Publication], None] | None = None

    def put(self, publication: Publication) -> None:
        """Offer a publication; one that still waits gives way."""
        taker, self._taker = self._taker, None
        if taker is not None:
            taker(publication)
            return
        before, self._waiting = self._waiting, publication
        if before is not None:
            before.finish("another publisher took over")

    def put_back(self, publication: Publication) -> None:
        """Offer one that was taken; it gives way to another that came meanwhile."""
        if self._waiting is None:
            self.put(publication)
        else:
            publication.finish("another publisher took over")

    def take(self, taker: Callable[[Publication], None]) -> None:
        """Have the next publication given to `taker`, at once when one waits."""
        publication, self._waiting = self._waiting, None
        if publication is None:
            self._taker = taker
        else:
            taker(publication)

    def leave(self) -> None:
        """Nobody takes the next one for now."""
        self._taker = None


class PublishedFeed(ChunkSource):
    """One attempt at a published stream: waits for a publisher, and has it read to its end.

    Args:
        name: of the stream.
        slot: where publishers come from.
        readers: read it.
        is_held: whether its reader is held from the start.
    """

    def __init__(self, name: StreamName, slot: Slot, readers: Readers, *, is_held: bool = False) -> None:
        self._name = name
        self._slot = slot
        self._readers = readers
        self._is_held = is_held
        self._numbers: Numbers | None = None
        self._deliver: Callable[[list[Event]], None] = lambda events: None
        self._publication: Publication | None = None
        self._reading: Reading | None = None

    @property
    def cpu_seconds(self) -> float:
        return 0.0 if self._reading is None else self._reading.cpu_seconds

    @property
    def waiting_bytes(self) -> int:
        return 0 if self._publication is None else self._publication.waiting_bytes

    def start(self, numbers: Numbers, deliver: Callable[[list[Event]], None]) -> None:
        self._numbers, self._deliver = numbers, deliver
        self._slot.take(self._begin)

    def stop(self) -> None:
        if self._reading is not None:
            self._reading.stop()
            return
        self._slot.leave()
        numbers, self._numbers = self._numbers, None
        if numbers is not None:
            self._deliver([Closed("", False, numbers)])

    def hold(self) -> None:
        if self._reading is not None:
            self._reading.hold()

    def go_on(self, numbers: Numbers) -> None:
        if self._reading is not None:
            self._reading.go_on(numbers)

    def _begin(self, publication: Publication) -> None:
        assert self._numbers is not None
        self._publication = publication
        self._reading = self._readers.make(Job(self._name, is_held=self._is_held))
        self._reading.start(self._numbers, self._take)
        publication.read_by(self._reading)

    def _take(self, events: list[Event]) -> None:
        self._deliver(events)
        last, publication = events[-1], self._publication
        if isinstance(last, Closed) and publication is not None:
            if last.code in AGAIN and publication.begin_again():
                self._slot.put_back(publication)
            else:
                publication.finish(last.reason or STOPPED)
