"""Fan-out: one stream in one framing, to any number of viewers, at one write for each of them and turn.

A `FanOut` listens on a broadcast. When something came, it runs once in that turn of the event loop, reads what is new
through one shared cursor, has it framed once, joins it (video and audio that came together leave together) and hands
the very same bytes to every *live* viewer. Nothing is awaited and no viewer has a task that wakes for it.

A viewer is in one of three places:

    joining ──level──► live ──not all taken──► paused ──drained──► joining

*joining* viewers have a cursor of their own: they begin at a random access point or after what they had, or catch up;
those for whom there is nothing yet are not looked at before something comes.
*live* viewers have none: they are where the shared cursor is. *paused* viewers are not written to; their cursor stays
where it is, which costs nothing, for the chunks are in the ring anyway. A viewer that comes back from there with more
behind it than allowed is moved forward to the newest random access point, told so and counted; one that takes nothing
at all for too long is cut off. So a viewer never has more in this process than one batch, and even that is shared with
others unless it was made for it alone. (Through a transport, which takes everything, it is the high water and a batch.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

import structlog

from headrace.clock import Clock
from headrace.identifiers import ChunkId, Epoch
from headrace.relay.broadcast import Broadcast, Cursor, Entry, Opened
from headrace.wire.chunk import Chunk
from headrace.wire.stream import StreamState
from headrace_edge.batching import Batcher
from headrace_edge.frames import CloseCode
from headrace_edge.framing import Framing, Unframeable
from headrace_edge.metrics import OutputCounts
from headrace_edge.sender import Sender
from headrace_edge.spreading import BROKEN, CallSpreader, Spread, Spreader
from headrace_edge.viewer import Viewer

BATCH_MAX_BYTES = 256 * 1024
"""Bytes of chunk records read for one write, unless a single chunk is larger: bounds what a viewer that stops reading
can have unsent, and is enough that the cost of a write does not matter."""

JOINING_TURN_BYTES, JOINING_TURN_VIEWERS = BATCH_MAX_BYTES, 64
"""Bytes written to joining viewers in one turn, which is a batch or two, and viewers looked at: half a millisecond of
work, so that a thousand who come at once do not hold up those who watch."""

LOOKED_AT_ONCE = 500
"""Paused viewers looked at in one turn: half a millisecond."""

BROKEN_AT_ONCE = 20
"""Viewers whose connection broke and that are let go in one turn: each has its end to be told and logged, and a write
may find that thousands left."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FanOutLimits:
    """What slow viewers are allowed.

    Attributes:
        lag_bytes: how far a viewer may be behind before it is moved forward.
        stuck_seconds: how long a viewer with unsent bytes may take nothing before it is cut off.
    """

    lag_bytes: int = 4 * 1024 * 1024
    stuck_seconds: float = 20.0


class FanOut:
    """Sends one stream in one framing.

    Args:
        broadcast: the stream; somebody else keeps it wanted.
        framing: makes frames of entries.
        limits: what slow viewers are allowed.
        counts: of its door, counted per turn.
        clock: for how long a viewer waited or was stuck.
        call_soon: runs a function in the next turn of the event loop.
        spreader: how live viewers are sent to; by a call each without one.
    """

    def __init__(
        self,
        broadcast: Broadcast,
        framing: Framing,
        limits: FanOutLimits,
        counts: OutputCounts,
        clock: Clock,
        call_soon: Callable[[Callable[[], None]], object] | None = None,
        spreader: Spreader | None = None,
    ) -> None:
        self._broadcast = broadcast
        self._framing = framing
        self._limits = limits
        self._counts = counts
        self._clock = clock
        self._call_soon = call_soon or asyncio.get_running_loop().call_soon
        self._scheduled = False
        self._live: dict[Viewer, None] = {}
        self._spreader = spreader or CallSpreader()
        self._level: tuple[Spread, list[Viewer]] | None = None
        self._joining: dict[Viewer, None] = {}
        self._waiting: dict[Viewer, None] = {}
        self._broken: list[Sender] = []
        self._unlooked: list[Viewer] = []
        self._paused: dict[Viewer, None] = {}
        self._batcher = Batcher(framing, self._note_unframeable)
        self._complained_of = Epoch(0)
        self._produced = 0
        self._live_bytes = 0
        self._spoke_at = clock.monotonic()
        self._opened: Opened | None = None
        self._cursor = self._broadcast.join()
        while self._read_shared():
            pass
        self._broadcast.listeners.add(self._hear)

    @property
    def viewers(self) -> int:
        """How many viewers it has."""
        return len(self._live) + len(self._joining) + len(self._waiting) + len(self._paused)

    @property
    def framing(self) -> Framing:
        """What it frames with."""
        return self._framing

    def places(self) -> dict[str, int]:
        """Return how many viewers are in each place."""
        joining = len(self._joining) + len(self._waiting)
        return {"live": len(self._live), "joining": joining, "paused": len(self._paused)}

    def add(self, sender: Sender, after: Mapping[int, ChunkId] | None = None) -> Viewer:
        """Begin to send: from the newest random access point, or after the chunks `after` of each track."""
        cursor = self._broadcast.join() if after is None else self._broadcast.resume(after)
        viewer = Viewer(self, sender, cursor, self._produced, self._clock.monotonic())
        sender.listener = viewer
        (self._paused if sender.is_paused else self._joining)[viewer] = None
        self._wake()
        return viewer

    def remove(self, viewer: Viewer) -> None:
        """Send nothing more to `viewer`; a second call does nothing."""
        if viewer in self._live:
            self._to_own_cursor(viewer)
        for place in (self._joining, self._waiting, self._paused):
            place.pop(viewer, None)
        viewer.sender.listener = None

    def tell(self, frame: bytes) -> None:
        """Send `frame` to all viewers but those that are paused."""
        for viewer in (*self._live, *self._joining, *self._waiting):
            viewer.sender.write(frame)

    def silent(self, seconds: float) -> list[Sender]:
        """Return the ways to those who heard nothing for so long, and to those who join; media is a heartbeat too."""
        live = self._live if self._clock.monotonic() - self._spoke_at >= seconds else ()
        return [viewer.sender for viewer in (*live, *self._joining, *self._waiting)]

    def finish(self, code: CloseCode, reason: str) -> None:
        """Close every viewer's connection in good order."""
        for viewer in (*self._live, *self._joining, *self._waiting, *self._paused):
            self._finish(viewer, code, reason)

    def sweep(self, most: int) -> bool:
        """Look at some of those that are paused and cut off up to `most` that took nothing for too long.

        Returns whether there are more; then the next call goes on.
        """
        self._unlooked = self._unlooked or list(self._paused)
        now = self._clock.monotonic()
        for _ in range(LOOKED_AT_ONCE):
            if not self._unlooked:
                break
            viewer = self._unlooked[-1]
            if viewer in self._paused and self._is_stuck(viewer, now):
                if not most:
                    break
                most -= 1
                self._counts.stuck.inc()
                viewer.sender.abort()
                self.remove(viewer)
            self._unlooked.pop()
        return bool(self._unlooked)

    def _is_stuck(self, viewer: Viewer, now: float) -> bool:
        unsent = viewer.sender.unsent()
        if unsent != viewer.unsent:
            viewer.unsent = unsent
            viewer.paused_since = now
        return now - viewer.paused_since >= self._limits.stuck_seconds

    def close(self) -> None:
        """Listen no more; the fan-out must have no viewers."""
        self._broadcast.listeners.discard(self._hear)

    # -- one turn ----------------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        """Something came, or the stream changed."""
        self._joining |= self._waiting
        self._waiting.clear()
        self._wake()

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        while self._send_live():
            pass
        self._send_joining()
        self._let_go()
        if self._framing.closes_when_ended and self._broadcast.state.state is StreamState.ENDED:
            for viewer in tuple(self._live):
                self._finish(viewer, CloseCode.DONE, "ended")

    def _send_live(self) -> bool:
        """Write the next batch to all live viewers; return False when there was none."""
        if self._live and self._broadcast.has_left(self._cursor):
            for viewer in tuple(self._live):  # each is told by itself what it missed
                self._to_own_cursor(viewer)
                self._joining[viewer] = None
        before = self._opened
        entries = self._read_shared()
        if entries and self._live:
            frames, _ = self._batcher.frame(entries, before)
            self._write_live(frames)
        return bool(entries)

    def _write_live(self, frames: list[bytes]) -> None:
        if not frames:
            return
        batch = self._batcher.join(frames)
        viewers = len(self._live)
        self._live_bytes += len(batch)
        self._spoke_at = self._clock.monotonic()
        if self._level is None:
            self._level = self._spreader.spread([viewer.sender for viewer in self._live]), list(self._live)
        spread, who = self._level
        for index, taken in spread(batch):
            if taken == BROKEN:
                self._broken.append(who[index].sender)
                self.remove(who[index])
            elif who[index] in self._live:
                who[index].sender.keep(batch, taken)
        self._count(viewers * len(batch), viewers * len(frames))

    def _read_shared(self) -> list[Entry]:
        entries = self._broadcast.read(self._cursor, BATCH_MAX_BYTES)
        for entry in entries:
            if isinstance(entry, Chunk):
                self._produced += len(entry.record)
            elif isinstance(entry, Opened):
                self._opened = entry
        return entries

    def _send_joining(self) -> None:
        """Write their next batch to joining viewers in turn, but not so much that the live ones wait for it."""
        written, before = 0, len(self._joining)
        for viewer in list(islice(self._joining, JOINING_TURN_VIEWERS)):
            if written >= JOINING_TURN_BYTES:
                break
            del self._joining[viewer]
            self._joining[viewer] = None  # the next turn begins with those who were not served
            written += self._send_own(viewer)
            before -= 1
        if before:
            self._wake()

    def _let_go(self) -> None:
        """Close some of the connections that broke."""
        for sender in self._broken[-BROKEN_AT_ONCE:]:
            sender.abort()
        del self._broken[-BROKEN_AT_ONCE:]
        if self._broken:
            self._wake()

    def _send_own(self, viewer: Viewer) -> int:
        """Write the next batch to one viewer from its own cursor and see whether it is level with the others.

        Returns the bytes written.
        """
        cursor = viewer.cursor
        assert cursor is not None
        if self._produced - viewer.mark > self._limits.lag_bytes and self._broadcast.skip(cursor):
            viewer.mark = self._produced
        entries = self._broadcast.read(cursor, BATCH_MAX_BYTES)
        skips = self._skips_frame(viewer, cursor)
        frames, viewer.opened = self._batcher.frame(entries, viewer.opened)
        frames = [skips, *frames] if skips else frames
        batch = self._batcher.join(frames)
        if batch:
            viewer.sender.write(batch)
            viewer.sent_bytes += len(batch)
            self._count(len(batch), len(frames))
        self._note_progress(viewer, entries)
        if viewer in self._joining:
            self._place(viewer, cursor)
        return len(batch)

    def _skips_frame(self, viewer: Viewer, cursor: Cursor) -> bytes:
        """Return what tells that entries were passed over since the last time, or nothing; count it."""
        skipped = cursor.skipped - viewer.skipped
        if not skipped:
            return b""
        viewer.skips += 1
        viewer.skipped = cursor.skipped
        self._counts.skipped.inc()
        return self._framing.skipped(skipped)

    def _note_progress(self, viewer: Viewer, entries: list[Entry]) -> None:
        taken = sum(len(entry.record) for entry in entries if isinstance(entry, Chunk))
        viewer.mark = min(self._produced, viewer.mark + taken)
        if taken and not viewer.started:
            viewer.started = True
            waited = self._clock.monotonic() - viewer.waiting_since
            self._counts.join_seconds.observe(waited)

    def _place(self, viewer: Viewer, cursor: Cursor) -> None:
        if self._broadcast.is_level(cursor):
            if not self._broadcast.is_level(self._cursor):
                # Nobody can be live yet: the shared cursor itself waits for a random access point.
                self._cursor = cursor.fork()
                self._opened = viewer.opened
            del self._joining[viewer]
            viewer.cursor = None
            viewer.live_from = self._live_bytes
            self._live[viewer] = None
            self._level = None
        elif self._broadcast.lag(cursor):
            self._wake()
        elif self._framing.closes_when_ended and self._broadcast.state.state is StreamState.ENDED:
            self._finish(viewer, CloseCode.DONE, "ended")
        else:
            del self._joining[viewer]
            self._waiting[viewer] = None

    # -- places ------------------------------------------------------------------------------------------------------

    def pause(self, viewer: Viewer) -> None:
        viewer.unsent = viewer.sender.unsent()
        viewer.paused_since = self._clock.monotonic()
        if viewer in self._joining or viewer in self._waiting:
            self._joining.pop(viewer, None)
            self._waiting.pop(viewer, None)
            self._paused[viewer] = None
        elif viewer in self._live:
            self._to_own_cursor(viewer)
            self._paused[viewer] = None

    def resume(self, viewer: Viewer) -> None:
        if viewer in self._paused:
            del self._paused[viewer]
            self._joining[viewer] = None
            self._wake()

    def _to_own_cursor(self, viewer: Viewer) -> None:
        del self._live[viewer]
        self._level = None
        viewer.cursor = self._cursor.fork()
        viewer.skipped = viewer.cursor.skipped
        viewer.opened = self._opened
        viewer.mark = self._produced
        viewer.sent_bytes += self._live_bytes - viewer.live_from

    def _finish(self, viewer: Viewer, code: CloseCode, reason: str) -> None:
        self.remove(viewer)
        viewer.sender.finish(code, reason)

    # -- counting ----------------------------------------------------------------------------------------------------

    def _note_unframeable(self, error: Unframeable) -> None:
        """Count it, and log the first of each epoch."""
        self._counts.unframeable.inc()
        if self._complained_of != self._broadcast.epoch:
            self._complained_of = self._broadcast.epoch
            log.warning("unframeable", stream=self._broadcast.name, door=self._framing.door, reason=str(error))

    def _count(self, sent_bytes: int, messages: int) -> None:
        self._counts.sent_bytes.inc(sent_bytes)
        self._counts.sent_messages.inc(messages)
