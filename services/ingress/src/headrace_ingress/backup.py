"""A backup in place of a source that is away: read until the preferred one is back.

While a backup is read, a thread of its own opens the preferred source now and then. Once that works, the open source is
handed to the reader's thread, which goes on with it: a new epoch, and no interruption. Each source is opened, read and
closed by one thread at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog

from headrace.media.samples import Sample
from headrace.wire.stream import Track
from headrace_ingress.source import Note, Source, SourceBroken

log = structlog.get_logger(__name__)


class BackupSource:
    """Reads a backup until the preferred source can be opened again.

    Args:
        backup: what is read first.
        make_preferred: makes the preferred source for each attempt at it.
        retry_seconds: from attempt to attempt.
        stopping: ends every wait.
    """

    def __init__(
        self, backup: Source, make_preferred: Callable[[], Source], retry_seconds: float, stopping: threading.Event
    ) -> None:
        self.tracks: tuple[Track, ...] = ()
        self.keeps = False
        self._source = backup
        self._make_preferred = make_preferred
        self._retry_seconds = retry_seconds
        self._stopping = stopping
        self._lock = threading.Lock()
        self._preferred: Source | None = None
        self._is_closed = False
        self._note: Note = lambda text: None

    def open(self, note: Note) -> None:
        self._note = note
        self._source.open(note)
        self.tracks, self.keeps = self._source.tracks, self._source.keeps
        note("a backup is carried, for the preferred source is away")
        threading.Thread(target=self._look, name="preferred source", daemon=True).start()

    def read(self) -> Sequence[Sample]:
        with self._lock:
            preferred, self._preferred = self._preferred, None
        if preferred is not None:
            self._source.close()
            self._source = preferred
            self._note("the preferred source is back")
        samples = self._source.read()
        self.tracks, self.keeps = self._source.tracks, self._source.keeps
        return samples

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            preferred, self._preferred = self._preferred, None
        if preferred is not None:
            preferred.close()
        self._source.close()

    def _look(self) -> None:
        """Open the preferred source, again and again until it works."""
        while not self._stopping.wait(self._retry_seconds) and not self._is_closed:
            source = self._open_preferred()
            if source is None:
                continue
            with self._lock:
                if not self._is_closed:
                    self._preferred = source
                    return
            source.close()

    def _open_preferred(self) -> Source | None:
        """Return the preferred source, open; `None` when it cannot be opened."""
        source: Source | None = None
        try:
            source = self._make_preferred()
            source.open(lambda text: None)
            return source
        except SourceBroken:
            pass
        except Exception:
            log.exception("preferred_source_failed")  # a fault of ours, which another attempt may not meet
        if source is not None:
            source.close()
        return None
