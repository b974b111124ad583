"""Recalling: a stream's past, asked of the parent once, for outputs that can name what came before they began."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.relay.broadcast import Opened
from headrace.relay.link import CannotSubscribe
from headrace.session.link import Link
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, StreamState, Track

DONE = "done"
"""Code of the refusal that ends a recall in good order."""

RECALL_SECONDS = 4.0
"""Longest recall: past it, who asked goes on with what there is."""

RECALL_MAX_BYTES = 128 * 1024 * 1024
"""Most bytes of one recall: more than a ring holds."""

Past = Opened | Chunk


class Recalled(Protocol):
    """What was remembered of a stream, by one node or by several; see `Recalling`."""

    @property
    def entries(self) -> Sequence[Past]: ...

    @property
    def complete(self) -> bool: ...

    def stop(self) -> None: ...


class Recalling:
    """One recall over a link; `on_end` is called once, unless `stop` was called before.

    Attributes:
        entries: what came so far, oldest first.
        complete: whether it came to its end in good order.
    """

    def __init__(self, link: Link, on_end: Callable[[Recalling], None]) -> None:
        self.entries: list[Past] = []
        self.complete = False
        self._link = link
        self._on_end: Callable[[Recalling], None] | None = on_end
        self._bytes = 0
        self._handle: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, stream: StreamName, history_seconds: float) -> bool:
        """Ask; return False when the link cannot take another question."""
        try:
            self._handle = self._link.recall(stream, history_seconds, self)
        except CannotSubscribe:
            return False
        self._timer = asyncio.get_running_loop().call_later(RECALL_SECONDS, self._end)
        return True

    def stop(self) -> None:
        """Nobody wants it any more."""
        self._on_end = None
        self._end()

    # -- for the link ------------------------------------------------------------------------------

    def tracks_received(self, epoch: Epoch, tracks: tuple[Track, ...]) -> None:
        """Keep an epoch."""
        self._keep(Opened(epoch, tracks), sum(len(track.header) for track in tracks))

    def chunk_received(self, chunk: Chunk, sent_us: int) -> None:
        """Keep a chunk."""
        self._keep(chunk, len(chunk.record))

    def state_received(self, state: StreamState, reason: str, route: tuple[RouteHop, ...]) -> None:
        """How the stream is doing now is told elsewhere."""

    def gap_received(self, following: ChunkId) -> None:
        """What is missing is seen by its number."""

    def refused(self, code: str, reason: str) -> None:
        """End: in good order if that was all."""
        self._handle = None
        self.complete = code == DONE
        self._end()

    def link_lost(self, reason: str) -> None:
        """End: the parent is gone."""
        self._handle = None
        self._end()

    def parent_leaving(self) -> None:
        """It goes on until it is done."""

    def _keep(self, entry: Past, size: int) -> None:
        """Keep what came; too much is as good as nothing."""
        self._bytes += size
        if self._bytes > RECALL_MAX_BYTES:
            self._end()
        else:
            self.entries.append(entry)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        handle, self._handle = self._handle, None
        if handle is not None and self._link.is_open:
            self._link.unsubscribe(handle)
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self)


OnRecalled = Callable[[Recalling], None]


def recall(link: Link, stream: StreamName, history_seconds: float, on_end: OnRecalled) -> Recalling | None:
    """Ask for a stream's past over `link`; `None` when that cannot take another question."""
    recalling = Recalling(link, on_end)
    return recalling if recalling.begin(stream, history_seconds) else None


def reach_seconds(entries: Sequence[Past]) -> float:
    """Return how much media time lies between the oldest and the newest chunk."""
    scales: dict[tuple[int, int], int] = {}
    times: list[float] = []
    for entry in entries:
        if isinstance(entry, Opened):
            scales |= {(entry.epoch, track.track): track.timescale for track in entry.tracks}
        elif scale := scales.get((entry.id.epoch, entry.id.track)):
            times.append(entry.decode_time / scale)
    return max(times) - min(times) if times else 0.0
