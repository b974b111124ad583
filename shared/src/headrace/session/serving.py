"""Serving a child: each of its subscriptions is a demand on the hub and a cursor into the stream's broadcast.

A broadcast that changes marks its subscriptions as ready; once in a turn of the event loop the ready ones are read and
written, in turns of a bounded size so that one stream does not keep the others of the link waiting. While the link is
not writable cursors stay where they are, and a ring that runs past one moves it forward (docs/protocol.md, 4.6).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from headrace.clock import Clock, microseconds
from headrace.identifiers import ChunkId, StreamName
from headrace.relay.broadcast import Broadcast, Cursor, Entry, Gap, Opened, StateChange
from headrace.relay.hub import Demand, Hub, TooManyStreams
from headrace.session.link import Link
from headrace.session.metrics import RelayMetrics
from headrace.session.recalling import DONE, Past, Recalled, reach_seconds
from headrace.wire.chunk import Chunk
from headrace.wire.relay import chunk_prefix
from headrace.wire.stream import RouteHop

TURN_BYTES = 128 * 1024
"""How much of one stream is written before the next has its turn: a second of 1 Mbit/s video."""


RECALLS_MAX = 128
"""Most recalls of one link at once: an edge that starts again is asked for all its streams together, and what is not
held here is kept in memory until the child has taken it."""

RecallUpstream = Callable[[StreamName, float, Callable[[Recalled], None]], Recalled | None]
"""Asks others than this process for a stream's past."""

Admit = Callable[[StreamName, bool], tuple[str, str] | None]
"""Returns code and reason for not serving a stream, `None` to serve it; told whether the peer lost another parent."""

Age = Callable[[StreamName, ChunkId], float | None]
"""Tells how many seconds ago a stream's newest chunk came to this node if it is that one, else `None`."""


@dataclass(eq=False, slots=True)
class _Serving:
    """One subscription of the child's."""

    handle: int
    demand: Demand
    cursor: Cursor
    listener: Callable[[], None] = field(default=lambda: None)
    skipped: int = 0
    until: int | None = None
    """Where a recall ends in the broadcast; `None` for a subscription, which does not."""
    backlog: deque[Past] = field(default_factory=deque)
    """What a recall brought from above, to be sent before what is held here."""
    upstream: Recalled | None = None

    @property
    def broadcast(self) -> Broadcast:
        return self.demand.broadcast


class HubSender:
    """Serves one link's subscriptions from the hub.

    Args:
        link: to the child.
        hub: where the streams are.
        hop: this node, for the routes of streams that do not tell one yet.
        age: for the residence metric.
        on_idle: called when the last subscription has ended.
        recall: asks this node's own parent for what is not held here.
        admit: decides who is served.
    """

    def __init__(
        self,
        link: Link,
        hub: Hub,
        hop: RouteHop,
        age: Age,
        clock: Clock,
        metrics: RelayMetrics,
        on_idle: Callable[[], None] = lambda: None,
        recall: RecallUpstream = lambda stream, seconds, done: None,
        admit: Admit = lambda stream, lost: None,
    ) -> None:
        self._admit = admit
        self._recall = recall
        self._link = link
        self._hub = hub
        self._hop = hop
        self._age = age
        self._clock = clock
        self._metrics = metrics
        self._on_idle = on_idle
        self._servings: dict[int, _Serving] = {}
        self._ready: dict[int, _Serving] = {}
        self._scheduled = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is served now."""
        return not self._servings

    @property
    def subscriptions(self) -> int:
        """How many are served now."""
        return len(self._servings)

    def subscribe(
        self, handle: int, stream: StreamName, after: Mapping[int, ChunkId] | None, history_seconds: float
    ) -> None:
        """Begin to serve `stream` under `handle`, after those chunks or with that much of the past."""
        refusal = self._admit(stream, after is not None)
        if refusal is not None:
            self._link.refuse(handle, *refusal)
            return
        try:
            demand = self._hub.demand(stream, after)
        except TooManyStreams as error:
            self._link.refuse(handle, "too_many_streams", str(error))
            return
        broadcast = demand.broadcast
        cursor = broadcast.join(history_seconds) if after is None else broadcast.resume(after)
        serving = _Serving(handle, demand, cursor)
        serving.listener = partial(self._mark, serving)
        self._servings[handle] = serving
        self._metrics.serving.inc()
        broadcast.listeners.add(serving.listener)
        self._mark(serving)

    def recall(self, handle: int, stream: StreamName, history_seconds: float) -> None:
        """Send what can be had of a stream's past, and end: from above first when this node's ring is too short."""
        if sum(serving.until is not None for serving in self._servings.values()) >= RECALLS_MAX:
            self._link.refuse(handle, "busy", f"{RECALLS_MAX} recalls at once, the limit of a link")
            return
        broadcast = self._hub.streams.get(stream)
        if broadcast is None or not broadcast.epoch:
            self._link.refuse(handle, DONE, "nothing is held of it here")
            return
        demand = self._hub.demand(stream)
        serving = _Serving(handle, demand, broadcast.replay(), until=broadcast.end)
        self._servings[handle] = serving
        self._metrics.serving.inc()
        if broadcast.reach_seconds < history_seconds and not self._hub.produced(stream):
            serving.upstream = self._recall(stream, history_seconds, partial(self._recalled, serving))
        if serving.upstream is None:
            self._mark(serving)

    def _recalled(self, serving: _Serving, recalling: Recalled) -> None:
        serving.upstream = None
        # A node that begins to publish a stream knows less of it than who had it from another before.
        if recalling.complete and reach_seconds(recalling.entries) > serving.broadcast.reach_seconds:
            serving.backlog.extend(recalling.entries)
        if serving.handle in self._servings:
            self._mark(serving)

    def unsubscribe(self, handle: int) -> None:
        """Stop serving `handle`."""
        self._ready.pop(handle, None)
        serving = self._servings.pop(handle, None)
        if serving is not None:
            serving.broadcast.listeners.discard(serving.listener)
            if serving.upstream is not None:
                serving.upstream.stop()
            self._metrics.serving.dec()
            serving.demand.release()
            if not self._servings:
                self._on_idle()

    def became_writable(self) -> None:
        """Go on where back-pressure stopped."""
        self._schedule()

    def close(self) -> None:
        """Release every subscription."""
        for handle in tuple(self._servings):
            self.unsubscribe(handle)

    # -- inside ------------------------------------------------------------------------------------

    def _mark(self, serving: _Serving) -> None:
        self._ready[serving.handle] = serving
        self._schedule()

    def _schedule(self) -> None:
        if self._ready and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Write what is ready, stream by stream in turns, until all is written or the link is full."""
        self._scheduled = False
        while self._ready and self._link.writable:
            handle = next(iter(self._ready))
            serving = self._ready.pop(handle)
            if serving.backlog:
                self._write(serving, _some(serving.backlog))
            else:
                entries = serving.broadcast.read(serving.cursor, TURN_BYTES)
                self._write(serving, entries)
                self._count_skips(serving)
            if handle not in self._servings:
                continue
            if not serving.backlog and self._is_over(serving):
                self._link.refuse(handle, DONE, "")
                self.unsubscribe(handle)
            elif serving.backlog or serving.broadcast.lag(serving.cursor):
                self._ready[handle] = serving  # behind the others

    def _is_over(self, serving: _Serving) -> bool:
        position = serving.cursor.position
        return serving.until is not None and (position is None or position >= serving.until)

    def _count_skips(self, serving: _Serving) -> None:
        skipped = serving.cursor.skipped - serving.skipped
        if skipped:
            serving.skipped += skipped
            self._metrics.skipped.inc(skipped)

    def _write(self, serving: _Serving, entries: Sequence[Entry]) -> None:
        """Write entries in order; chunks that follow each other leave together."""
        chunks: list[Chunk] = []
        for entry in entries:
            if isinstance(entry, Chunk):
                chunks.append(entry)
                continue
            self._write_chunks(serving, chunks)
            chunks = []
            if not self._tell(serving, entry):
                return
        self._write_chunks(serving, chunks)

    def _tell(self, serving: _Serving, entry: Opened | Gap | StateChange) -> bool:
        """Write what is no chunk; return False when that ended the subscription."""
        if isinstance(entry, StateChange):
            self._link.send_state(serving.handle, entry.state, entry.reason, entry.route or (self._hop,))
        elif isinstance(entry, Gap):
            self._link.send_gap(serving.handle, entry.next)
        elif not self._link.send_tracks(serving.handle, entry.epoch, entry.tracks):
            self.unsubscribe(serving.handle)
            return False
        return True

    def _write_chunks(self, serving: _Serving, chunks: list[Chunk]) -> None:
        if not chunks:
            return
        prefix = chunk_prefix(serving.handle, microseconds(self._clock.utc()))
        sent = self._link.send_chunks([(prefix, chunk.record) for chunk in chunks])
        self._metrics.chunks_sent.inc(len(chunks))
        self._metrics.bytes_sent.inc(sent)
        age = self._age(serving.broadcast.name, chunks[-1].id)
        if age is not None:
            self._metrics.residence.observe(age)


def _some(backlog: deque[Past]) -> list[Entry]:
    """Take about `TURN_BYTES` off a backlog."""
    taken: list[Entry] = []
    size = 0
    while backlog and size < TURN_BYTES:
        entry = backlog.popleft()
        size += len(entry.record) if isinstance(entry, Chunk) else 0
        taken.append(entry)
    return taken
