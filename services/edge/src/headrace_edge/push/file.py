"""Recording to a file: our own boxes, on a timeline that begins at 0."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote

from headrace.media.boxes import BoxError, combine_headers, find_box, strip_prft
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track
from headrace_edge.push.carrying import PushFailed
from headrace_edge.push.pacing import Begin, Conveyor

NAMES_MAX: Final = 1000
"""Most files of one name: a recording that is interrupted goes on in the next."""


def recording_path(uri: str, root: Path | None) -> Path:
    """Return where `file:name.mp4`, or a path below `root`, is to be written.

    Raises:
        PushFailed: when there is no folder for recordings, or it lies elsewhere.
    """
    if root is None:
        text = "no folder for recordings is configured (edge.record_root)"
        raise PushFailed("unsupported", text, is_final=True)
    name = unquote(uri.partition(":")[2].partition("?")[0].partition("#")[0])
    if name.startswith("//"):
        name = "/" + name.lstrip("/")
    folder = root.resolve()
    path = (folder / name).resolve()
    if "\0" in name or not path.is_relative_to(folder) or path == folder or path.suffix not in {".mp4", ".m4s"}:
        text = "a recording is a file *.mp4 below the folder for recordings (edge.record_root)"
        raise PushFailed("forbidden", text, is_final=True)
    return path


class FileTarget:
    """Writes a stream as fragmented MP4, one file until its headers change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._name = path
        self._has_media = False
        self._header = b""
        self._timescales: dict[int, int] = {}
        self._base: float | None = None

    def write(self, conveyor: Conveyor) -> None:
        """See `Target`."""
        try:
            try:
                self._take(conveyor)
            finally:
                self._close()
        except OSError as error:
            raise PushFailed("broken", f"the file cannot be written: {error.strerror or error}") from None
        except BoxError as error:
            raise PushFailed("broken", f"the stream cannot be written as a file: {error}") from None

    def abort(self) -> None:
        """See `Target`: a file takes what it is given."""

    def _take(self, conveyor: Conveyor) -> None:
        while (item := conveyor.get()) is not None:
            if isinstance(item, Begin):
                self._begin(item.tracks)
            elif self._append(item):
                conveyor.taken()

    def _begin(self, tracks: tuple[Track, ...]) -> None:
        header = combine_headers([track.header for track in tracks])
        self._timescales = {track.track: track.timescale for track in tracks}
        if header == self._header:
            return
        self._close()
        self._name, self._file = open_new(self._path)
        self._header, self._base, self._has_media = header, None, False
        self._file.write(header)

    def _append(self, chunk: Chunk) -> bool:
        """Write a chunk; return whether it was to be written."""
        if self._file is None:
            return False
        timescale = self._timescales[chunk.id.track]
        if self._base is None:
            self._base = chunk.decode_time / timescale
        start = chunk.decode_time - round(self._base * timescale)
        if start < 0:
            return False  # sound from before the first picture
        self._file.write(retimed(bytes(strip_prft(chunk.media)), start))
        self._file.flush()
        self._has_media = True
        return True

    def _close(self) -> None:
        """Close the file, if there is one; without media nothing of it stays, or tries would use up its names."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()  # which writes what the disk refused before once more
        finally:
            if not self._has_media:
                self._name.unlink(missing_ok=True)


def retimed(media: bytes, decode_time: int) -> bytes:
    """Return a fragment that begins at another decode time (tfdt of version 1, ISO/IEC 14496-12, 8.8.12)."""
    tfdt = find_box(media, "moof", "traf", "tfdt")
    at = tfdt.body + 4
    return b"".join((media[:at], struct.pack(">Q", decode_time), media[at + 8 :]))


def open_new(path: Path) -> tuple[Path, BinaryIO]:
    """Return and open a file that is not there yet: of this name, or with a number after it.

    Raises:
        OSError: when that cannot be done.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, NAMES_MAX):
        name = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
        except FileExistsError:
            continue
        return name, os.fdopen(descriptor, "wb")
    raise FileExistsError(None, "there are too many files of that name")
