"""The reader: one thread that takes samples from a source, packages them and hands chunks over.

Only this thread touches the source. It ends by itself when the source breaks or ends, or soon after `stop`: a source
that sends anything is asked between two packets, one that is stalled gives up after the stall time. A thread that
hangs in a library longer than its feed wants to wait is left alone: it is a daemon, so it does not keep the process,
and it closes what it opened as soon as the library returns.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from headrace.clock import Clock
from headrace.media.declaration import declare
from headrace.media.packager import Packager, TimelineBroken
from headrace.media.samples import PackagerOptions, Sample
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track
from headrace_ingress.events import Chunks, Closed, EpochOpened, Event, Held, Noted, Numbers, Ready
from headrace_ingress.resting import Rest
from headrace_ingress.source import Source, SourceBroken, SourceEnded

TURN_SECONDS = 10.0
"""Longest wait of a reader that is held: its feed answers in a fraction of a second."""

TURN_LOOK_SECONDS = 0.1
"""How often it looks meanwhile whether it is to stop."""

log = structlog.get_logger(__name__)


class Reader:
    """One attempt at a feed, in a thread of its own.

    Args:
        name: of the stream, for the thread's name and for log lines.
        source: a fresh one; the thread opens and closes it.
        numbers: where the numbers stand.
        options: how the feed is cut.
        clock: tells the time of new epochs.
        put: takes the events, in the reader's thread; the last one is `Closed`.
        stopping: set it to make the thread end.
        is_held: it may number nothing before it is told to go on.

    Attributes:
        cpu_seconds: what the thread has cost so far, but for what it is at.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        numbers: Numbers,
        options: PackagerOptions,
        clock: Clock,
        put: Callable[[Event], None],
        stopping: threading.Event,
        *,
        is_held: bool = False,
    ) -> None:
        self._name = name
        self._source = source
        self._numbers = numbers
        self._epochs = numbers.epochs
        self._options = options
        self._clock = clock
        self._put = put
        self._stopping = stopping
        self._packager: Packager | None = None
        self._tracks: tuple[Track, ...] = ()
        self._pending: list[Chunk] = []
        self._thread = threading.Thread(target=self._run, name=f"feed {name}", daemon=True)
        self._busy_since: float | None = None
        self._turn = threading.Condition()
        self._is_held = is_held
        self.cpu_seconds = 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def hold(self) -> None:
        """Have it finish its epoch, which it tells by `Held`, and number nothing more until it is told to go on.

        Called by another thread, for a source that is silent; while the reader's is at work, nothing happens.
        """
        if not self._turn.acquire(blocking=False):
            return
        try:
            if not self._is_held:
                self._finish()
                self._is_held = True
                self._put(Held(self._numbers))
        finally:
            self._turn.release()

    def go_on(self, numbers: Numbers) -> None:
        """Let one that is held begin an epoch that goes on from `numbers`."""
        with self._turn:
            if self._is_held:
                self._numbers, self._epochs, self._tracks = numbers, numbers.epochs, ()
                self._is_held = False
                self._turn.notify()

    @property
    def is_alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    @property
    def thread(self) -> int:
        """Which thread it is, as `threading.get_ident` has it; 0 before `start`."""
        return self._thread.ident or 0

    def busy_seconds(self, now: float) -> float:
        """Return for how long the source has not returned from what it was last asked for."""
        since = self._busy_since
        return 0.0 if since is None else now - since

    def _run(self) -> None:
        reason, code, ended = "", "", False
        name_thread(f"feed {self._name}")
        structlog.contextvars.bind_contextvars(stream=self._name)  # for what libraries log in this thread
        try:
            self._read_on()
        except SourceBroken as broken:
            reason, code = str(broken), broken.code
        except SourceEnded:
            ended = True
        except Exception:
            # A fault of ours or of a library ends this attempt only; the traceback may hold no credentials.
            log.exception("reader_failed", stream=self._name)
            reason, code = "a fault in this program, see its log", "fault"
        finally:
            self._close()
            self._busy_since = None
            self.cpu_seconds = time.thread_time()
        self._put(Closed(reason, ended, self._numbers, code))

    def _read_on(self) -> None:
        self._busy_since = self._clock.monotonic()
        self._source.open(lambda text: self._put(Noted(text)))
        rest = Rest()
        while not self._stopping.is_set():
            self._busy_since = began = self._clock.monotonic()
            samples = self._source.read()
            self.cpu_seconds = time.thread_time()
            if not samples:
                continue
            waited = self._clock.monotonic() - began
            if self._take(samples) and self._source.keeps:
                self._sleep(rest, waited)

    def _sleep(self, rest: Rest, waited: float) -> None:
        """Sleep until the next chunk can be complete, after a read of `waited` seconds that completed one."""
        packager = self._packager  # another thread may hold this one meanwhile
        outlook = packager.outlook if packager is not None else None
        if outlook and (seconds := rest.seconds(*outlook, waited, self._clock.monotonic())):
            # Never longer than a stop may take, so `stopping` need not end it, which would cost more.
            time.sleep(seconds)

    def _take(self, samples: Sequence[Sample]) -> bool:
        """Package what was read, once that may be; return whether it completed a chunk."""
        with self._turn:
            if self._is_held:
                self._await_turn()
            return not self._is_held and self._package(samples)

    def _await_turn(self) -> None:
        """Wait until it is told to go on, or to stop."""
        self._put(Ready())
        until = self._clock.monotonic() + TURN_SECONDS
        while self._is_held and not self._stopping.is_set():
            if self._clock.monotonic() > until:
                raise SourceBroken("it was not told to go on", "fault")
            self._turn.wait(TURN_LOOK_SECONDS)

    def _package(self, samples: Sequence[Sample]) -> bool:
        if self._source.tracks is not self._tracks:
            self._open_epoch(samples[0])
        for sample in samples:
            self._push(sample)
        return self._tell()

    def _push(self, sample: Sample) -> None:
        assert self._packager is not None
        try:
            self._pending += self._packager.push(sample)
        except TimelineBroken as broken:
            self._put(Noted(str(broken)))
            self._open_epoch(sample)
            self._pending += self._packager.push(sample)

    def _open_epoch(self, first: Sample) -> None:
        """Finish the epoch there is and begin another; the connection stays."""
        self._finish()
        start = self._numbers.begin(self._clock.utc(), first.capture_us / 1_000_000)
        discontinuity = self._numbers.epochs
        # It counts from its first chunk on: of one without any nobody hears, and playlists take no hole in the count.
        self._numbers = Numbers(start.epoch, start.segment, start.earliest_seconds, discontinuity)
        self._epochs = discontinuity + 1
        self._tracks = self._source.tracks
        self._packager = Packager(self._source.tracks, start, self._options)
        declared = tuple(declare(track, self._options, discontinuity) for track in self._source.tracks)
        self._put(EpochOpened(start.epoch, declared))

    def _finish(self) -> None:
        if self._packager is not None:
            self._pending += self._packager.finish()
            self._tell(is_rest=True)
            self._packager = None

    def _tell(self, *, is_rest: bool = False) -> bool:
        assert self._packager is not None
        if not self._pending:
            return False
        chunks, self._pending = tuple(self._pending), []
        next_segment, end = self._packager.next_segment, self._packager.end_seconds
        self._numbers = Numbers(self._numbers.epoch, next_segment, end, self._epochs)
        self._put(Chunks(chunks, self._numbers, is_rest))
        return True

    def _close(self) -> None:
        try:
            with self._turn:
                self._finish()
        except Exception:
            log.exception("reader_failed", stream=self._name)
        self._source.close()


def name_thread(name: str) -> None:
    """Name this thread for the system's tools, where they can be told: 15 bytes of it are shown."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_bytes(name.encode()[:15])
