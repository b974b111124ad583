"""What somebody publishes here, as a source: files that arrive while they are read."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import av
import av.error

from headrace.clock import Clock
from headrace.media.samples import PackagerOptions, Sample
from headrace.wire.stream import Track
from headrace_ingress.libav import OPEN_SECONDS, PROBE_BYTES, PROBE_MICROSECONDS, replay_options
from headrace_ingress.live import LiveContainer
from headrace_ingress.pipe import LOOK_SECONDS, PipeBarren, PipeReader, PipeStalled
from headrace_ingress.rtsp_replay import FORMAT, RtspReplay
from headrace_ingress.source import LATE, Note, SourceBroken

SECTIONS_MAX: Final = 4
"""Most files of one publisher that wait to be read: a codec does not change more often."""

DELAYED_FORMATS: Final = frozenset({FORMAT, "mpegts"})
"""Formats whose pictures libav lets go of when the next one begins."""

KEYFRAME_SECONDS: Final = 65.0
"""How long the first keyframe is waited for where media begin anywhere: the longest GOPs have a minute."""

NO_MEDIA: Final = "no media in what its publisher sends"
"""What is told of bytes that libav does not know."""

GONE: Final = "its publisher left"
"""What viewers are told when nobody publishes any more."""


class Arrivals:
    """The files of one publisher on their way to the reader: a file, and another whenever its codecs change.

    Whoever runs the reader adds files and ends it; the reader's thread takes them.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._files: deque[tuple[str, int]] = deque()
        self._ended = False

    def add(self, format: str, descriptor: int) -> None:
        """Add the next file: what it is, by libav's name, and where to read it, which is closed here."""
        with self._changed:
            if self._ended or len(self._files) >= SECTIONS_MAX:
                os.close(descriptor)
                self._ended = True
            else:
                self._files.append((format, descriptor))
            self._changed.notify()

    def end(self) -> None:
        """No more files will come: the publisher is gone."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def next(self, stopping: threading.Event, seconds: float) -> tuple[str, int] | None:
        """Wait for the next file; `None` when there is none for so long, none will come or it is time to stop."""
        waited = 0.0
        with self._changed:
            while not self._files and not self._ended and not stopping.is_set() and waited < seconds:
                self._changed.wait(LOOK_SECONDS)
                waited += LOOK_SECONDS
            return self._files.popleft() if self._files and not stopping.is_set() else None

    @property
    def has_ended(self) -> bool:
        """Whether the publisher is gone."""
        return self._ended

    def close(self) -> None:
        """Take nothing more."""
        with self._changed:
            self._ended = True
            while self._files:
                os.close(self._files.popleft()[1])


class PublishedSource:
    """Reads one publisher to its end.

    Args:
        arrivals: what it sends.
        options: how the feed is cut.
        stall_seconds: silence after which the publisher is sent away.
        clock: tells arrival times.
        stopping: ends every wait.
    """

    def __init__(
        self,
        arrivals: Arrivals,
        options: PackagerOptions,
        stall_seconds: float,
        clock: Clock,
        stopping: threading.Event,
    ) -> None:
        self.tracks: tuple[Track, ...] = ()
        self.keeps = True
        self._arrivals = arrivals
        self._options = options
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._stopping = stopping
        self._note: Note = lambda text: None
        self._file: PipeReader | None = None
        self._live: LiveContainer | None = None
        self._replay: RtspReplay | None = None

    def open(self, note: Note) -> None:
        self._note = note
        self._open_next()

    def read(self) -> Sequence[Sample]:
        if self._live is None:
            self._open_next()
            return []
        try:
            samples = self._live.read()
            if self._file is not None:
                self._file.found_media()
        except EOFError as error:
            if self._replay is not None and self._replay.failure is not None:
                raise self._broken(error) from None
            if self._file is not None and self._file.has_stalled:
                raise self._broken(PipeStalled()) from None
            return self._end_file(self._live)
        except (av.error.FFmpegError, OSError, PipeStalled, SourceBroken) as error:
            raise self._broken(error) from None
        self.tracks = self._live.tracks
        return samples

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.close()
        self._close_file()
        self._arrivals.close()

    def _end_file(self, live: LiveContainer) -> Sequence[Sample]:
        samples = live.flush()
        live.close()
        self._live = None
        self._close_file()
        return samples

    def _close_file(self) -> None:
        replay, self._replay = self._replay, None
        if replay is not None:
            replay.close()
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _open_next(self) -> None:
        """Open the next file, if there is one before it is time to stop."""
        arrived = self._arrivals.next(self._stopping, self._stall_seconds)
        if arrived is None:
            if self._stopping.is_set():
                return
            raise self._broken(SourceBroken(GONE) if self._arrivals.has_ended else PipeStalled())
        format, descriptor = arrived
        self._file = PipeReader(descriptor, self._stopping, self._stall_seconds)
        try:
            live = self._open_late(format, self._file) if format == "mpegts" else self._open_live(format, self._file)
        except (av.error.FFmpegError, OSError, PipeStalled, SourceBroken) as error:
            raise self._broken(error) from None
        self._live, self.tracks = live, live.tracks

    def _open_late(self, format: str, file: PipeReader) -> LiveContainer:
        """Open what may begin in the middle of a GOP: again and again, until the keyframe came that tells its tracks.

        Raises:
            SourceBroken: when none came for so long, or for another reason.
        """
        until = self._clock.monotonic() + KEYFRAME_SECONDS
        while True:
            try:
                return self._open_live(format, file)
            except SourceBroken as broken:
                if broken.code != LATE or self._clock.monotonic() > until:
                    raise
            file.found_media()

    def _open_live(self, format: str, file: PipeReader) -> LiveContainer:
        container = self._open_file(format, file)
        try:
            return LiveContainer(
                container,
                self._options,
                self._stall_seconds,
                self._clock,
                self._stopping,
                self._note,
                parser_delay=format in DELAYED_FORMATS,
            )
        except SourceBroken:
            container.close()
            raise

    def _open_file(self, format: str, file: PipeReader) -> Any:
        if format != FORMAT:
            return open_arriving(format, file)
        self._replay = RtspReplay(file.read)
        self._replay.start()
        # The pipe's own patience ends first, so that a silence is told as what it is.
        patience = (OPEN_SECONDS + self._stall_seconds, OPEN_SECONDS + self._stall_seconds)
        return av.open(self._replay.address, format="rtsp", timeout=patience, options=replay_options())

    def _broken(self, error: Exception) -> SourceBroken:
        if self._replay is not None and self._replay.failure is not None:
            error = self._replay.failure
        return SourceBroken(explain_published(error, self._stall_seconds))


def open_arriving(format: str, file: PipeReader) -> Any:
    """Open what arrives through a pipe, as the one format it is, and nothing else whatever stands in it."""
    options = {
        "protocol_whitelist": "none",
        "format_whitelist": format,
        "analyzeduration": str(PROBE_MICROSECONDS),
        "probesize": str(PROBE_BYTES),
        "enable_drefs": "0",
        "use_absolute_path": "0",
    }
    return av.open(file, "r", format=format, options=options)


def explain_published(error: Exception, stall_seconds: float) -> str:
    """Return what went wrong, in words for the publisher, viewers and operators."""
    match error:
        case SourceBroken():
            return str(error)
        case PipeBarren():
            return NO_MEDIA
        case PipeStalled():
            return f"nothing received from its publisher for {stall_seconds:g} s"
        case EOFError():
            return GONE
    return NO_MEDIA
