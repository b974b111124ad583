"""Targets that a program speaks to: it gets fragmented MP4 by standard input, and sends that on without encoding."""

from __future__ import annotations

import select
import subprocess
from contextlib import suppress
from typing import Final, Protocol

from headrace.media.boxes import BoxError, combine_headers, strip_prft
from headrace.wire.stream import Track
from headrace_edge.push.carrying import PushFailed
from headrace_edge.push.pacing import Begin, Conveyor

END_SECONDS: Final = 1.0
"""How long a muxer may take to say goodbye to its target."""

Process = subprocess.Popen[bytes]


class Muxer(Protocol):
    """A program, and how it is understood."""

    def start(self) -> Process:
        """Start it, with pipes for standard input and output.

        Raises:
            PushFailed: when it is not there.
        """

    def greeting(self) -> bytes:
        """Return what it is told before the media."""

    def has_taken(self, process: Process) -> bool:
        """Read what it said, of which there is something; return whether it said that its target takes media."""

    def failure(self, process: Process) -> PushFailed:
        """Return why it ended by itself."""


class MuxedTarget:
    """Sends a stream to another server by a program, run anew for each header."""

    def __init__(self, muxer: Muxer) -> None:
        self._muxer = muxer
        self._process: Process | None = None

    def abort(self) -> None:
        """See `Target`."""
        if self._process is not None:
            self._process.kill()

    def write(self, conveyor: Conveyor) -> None:
        """See `Target`."""
        begin: Begin | None = None
        while begin is None:
            item = conveyor.get()
            if item is None:
                return
            begin = item if isinstance(item, Begin) else None
        while begin is not None:
            try:
                begin = self._send(conveyor, begin)
            except BoxError as error:
                raise PushFailed("broken", f"the target cannot take this stream: {error}") from None

    def _send(self, conveyor: Conveyor, begin: Begin) -> Begin | None:
        """Send what belongs to one header; return the epoch that began with another, `None` at the end."""
        header, numbers = header_of(begin.tracks)
        with self._muxer.start() as process:
            self._process = process
            assert process.stdin is not None
            try:
                process.stdin.write(self._muxer.greeting() + header)
                following = self._feed(conveyor, process, header, numbers)
                process.stdin.close()
                process.wait(END_SECONDS)
            except BrokenPipeError:
                raise self._muxer.failure(process) from None
            except subprocess.TimeoutExpired:
                return None
            finally:
                process.kill()
                with suppress(BrokenPipeError):
                    process.stdin.close()
        return following

    def _feed(self, conveyor: Conveyor, process: Process, header: bytes, numbers: frozenset[int]) -> Begin | None:
        assert process.stdin is not None
        while (item := conveyor.get()) is not None:
            if isinstance(item, Begin):
                if header_of(item.tracks)[0] != header:
                    return item
            elif item.id.track in numbers:
                process.stdin.write(strip_prft(item.media))
                process.stdin.flush()
            if _has_spoken(process) and self._muxer.has_taken(process):
                conveyor.taken()
        return None


def header_of(tracks: tuple[Track, ...]) -> tuple[bytes, frozenset[int]]:
    """Return the header of the first video and the first audio track, and their numbers."""
    by_kind: dict[str, Track] = {}
    for track in sorted(tracks, key=lambda one: one.track):
        if track.kind in {"video", "audio"}:
            by_kind.setdefault(track.kind, track)
    chosen = [by_kind[kind] for kind in ("video", "audio") if kind in by_kind]
    return combine_headers([track.header for track in chosen]), frozenset(track.track for track in chosen)


def _has_spoken(process: Process) -> bool:
    """Return whether there is something to read of the muxer, or its end, without waiting."""
    poll = select.poll()  # select() itself takes no file numbers above 1023
    assert process.stdout is not None
    poll.register(process.stdout, select.POLLIN)
    return bool(poll.poll(0))
