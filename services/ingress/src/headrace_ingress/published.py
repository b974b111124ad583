"""What somebody publishes here, as a source: files that arrive while they are read."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import av
import av.error

from headrace.clock import Clock
from headrace.media.samples import PackagerOptions, Sample
from headrace.wire.stream import Track
from headrace_ingress.libav import OPEN_SECONDS, PROBE_BYTES, PROBE_MICROSECONDS, replay_options
from headrace_ingress.live import LiveContainer
from headrace_ingress.pipe import LOOK_SECONDS, BytePipe, PipeStalled
from headrace_ingress.rtsp_replay import FORMAT, RtspReplay
from headrace_ingress.source import Note, SourceBroken

SECTIONS_MAX: Final = 4
"""Most files of one publisher that wait to be read: a codec does not change more often."""

DELAYED_FORMATS: Final = frozenset({FORMAT, "mpegts"})
"""Formats whose pictures libav lets go of when the next one begins."""

GONE: Final = "its publisher left"
"""What viewers are told when nobody publishes any more."""


class Publication:
    """What one publisher sends, for one reader: a file, and another whenever its codecs change.

    The door adds files and ends it; the reader takes them. Both may be told by `on_over`, once, why it is over.

    Args:
        on_over: called in any thread with the reason, when the reader is done with it.
    """

    def __init__(self, on_over: Callable[[str], None]) -> None:
        self._on_over = on_over
        self._changed = threading.Condition()
        self._files: deque[BytePipe] = deque()
        self._current: BytePipe | None = None
        self._ended = False
        self.is_over = False

    def add(self, file: BytePipe) -> None:
        """Add the next file; the one before must have been ended."""
        with self._changed:
            if len(self._files) >= SECTIONS_MAX:
                self._ended = True
            else:
                self._files.append(file)
            self._changed.notify()

    def end(self) -> None:
        """The publisher is gone: what it sent is still read."""
        with self._changed:
            self._ended = True
            for file in (self._current, *self._files):
                if file is not None:
                    file.end()
            self._changed.notify()

    def next_file(self, stopping: threading.Event, seconds: float) -> BytePipe | None:
        """Wait for the next file; `None` when there is none for so long, none will come or it is time to stop."""
        waited = 0.0
        with self._changed:
            while not self._files and not self._ended and not stopping.is_set() and waited < seconds:
                self._changed.wait(LOOK_SECONDS)
                waited += LOOK_SECONDS
            if not self._files or stopping.is_set():
                return None
            self._current = self._files.popleft()
            return self._current

    @property
    def has_ended(self) -> bool:
        """Whether the publisher is gone."""
        return self._ended

    def finish(self, reason: str) -> None:
        """The reader reads no more of it."""
        self.end()
        if not self.is_over:
            self.is_over = True
            self._on_over(reason)


class Slot:
    """Where the publication of a stream waits for the reader."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: Publication | None = None

    def put(self, publication: Publication) -> None:
        """Offer a publication; one that still waits gives way."""
        with self._changed:
            before, self._waiting = self._waiting, publication
            self._changed.notify()
        if before is not None:
            before.finish("another publisher took over")

    def take(self, stopping: threading.Event) -> Publication | None:
        """Wait for a publication, `None` when it is time to stop."""
        with self._changed:
            while self._waiting is None:
                if stopping.is_set():
                    return None
                self._changed.wait(LOOK_SECONDS)
            publication, self._waiting = self._waiting, None
            return publication


class PublishedSource:
    """Reads whoever publishes a stream next, to its end.

    Args:
        slot: where publications come from.
        options: how the feed is cut.
        stall_seconds: silence after which the publisher is sent away.
        clock: tells arrival times.
        stopping: ends every wait.
    """

    def __init__(
        self, slot: Slot, options: PackagerOptions, stall_seconds: float, clock: Clock, stopping: threading.Event
    ) -> None:
        self.tracks: tuple[Track, ...] = ()
        self.keeps = True
        self._slot = slot
        self._options = options
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._stopping = stopping
        self._note: Note = lambda text: None
        self._publication: Publication | None = None
        self._live: LiveContainer | None = None
        self._replay: RtspReplay | None = None
        self._reason = ""

    def open(self, note: Note) -> None:
        self._note = note
        self._publication = self._slot.take(self._stopping)
        self._open_next()

    def read(self) -> Sequence[Sample]:
        if self._live is None:
            self._open_next()
            return []
        try:
            samples = self._live.read()
        except EOFError as error:
            if self._replay is not None and self._replay.failure is not None:
                raise self._broken(error) from None
            return self._end_file(self._live)
        except (av.error.FFmpegError, OSError, PipeStalled, SourceBroken) as error:
            raise self._broken(error) from None
        self.tracks = self._live.tracks
        return samples

    def close(self) -> None:
        if self._live is not None:
            self._live.close()
        self._close_replay()
        if self._publication is not None:
            self._publication.finish(self._reason or "the stream is stopped here")

    def _end_file(self, live: LiveContainer) -> Sequence[Sample]:
        samples = live.flush()
        live.close()
        self._live = None
        self._close_replay()
        return samples

    def _close_replay(self) -> None:
        if self._replay is not None:
            self._replay.close()
            self._replay = None

    def _open_next(self) -> None:
        """Open the next file, if there is one before it is time to stop."""
        if self._publication is None:
            return
        file = self._publication.next_file(self._stopping, self._stall_seconds)
        if file is None:
            if self._stopping.is_set():
                return
            raise self._broken(SourceBroken(GONE) if self._publication.has_ended else PipeStalled())
        try:
            container = self._open_file(file)
            self._live = LiveContainer(
                container,
                self._options,
                self._stall_seconds,
                self._clock,
                self._stopping,
                self._note,
                parser_delay=file.format in DELAYED_FORMATS,
            )
        except (av.error.FFmpegError, OSError, PipeStalled, SourceBroken) as error:
            raise self._broken(error) from None
        self.tracks = self._live.tracks

    def _open_file(self, file: BytePipe) -> Any:
        if file.format != FORMAT:
            return open_pipe(file, self._stopping, self._stall_seconds)
        self._replay = RtspReplay(file.reading(self._stopping, self._stall_seconds).read)
        self._replay.start()
        # The pipe's own patience ends first, so that a silence is told as what it is.
        patience = (OPEN_SECONDS + self._stall_seconds, OPEN_SECONDS + self._stall_seconds)
        return av.open(self._replay.address, format="rtsp", timeout=patience, options=replay_options())

    def _broken(self, error: Exception) -> SourceBroken:
        if self._replay is not None and self._replay.failure is not None:
            error = self._replay.failure
        self._reason = explain_published(error, self._stall_seconds)
        return SourceBroken(self._reason)


def open_pipe(file: BytePipe, stopping: threading.Event, stall_seconds: float) -> Any:
    """Open what arrives through a pipe, as the one format it is, and nothing else whatever stands in it."""
    options = {
        "protocol_whitelist": "none",
        "format_whitelist": file.format,
        "analyzeduration": str(PROBE_MICROSECONDS),
        "probesize": str(PROBE_BYTES),
        "enable_drefs": "0",
        "use_absolute_path": "0",
    }
    return av.open(file.reading(stopping, stall_seconds), "r", format=file.format, options=options)


def explain_published(error: Exception, stall_seconds: float) -> str:
    """Return what went wrong, in words for the publisher, viewers and operators."""
    match error:
        case SourceBroken():
            return str(error)
        case PipeStalled():
            return f"nothing received from its publisher for {stall_seconds:g} s"
        case EOFError():
            return GONE
    return "no media in what its publisher sends"
