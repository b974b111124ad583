"""Fan-out: one stream in one framing, to any number of viewers, at one write for each of them and turn.

A `FanOut` listens on a broadcast. When something came, it runs once in that turn of the event loop, reads what is new
through one shared cursor, has it framed once, joins it (video and audio that came together leave together) and hands
the very same bytes to every *live* viewer. Nothing is awaited and no viewer has a task that wakes for it.

A viewer is in one of three places:

    joining ──level──► live ──not all taken──► paused ──drained──► joining

*joining* viewers have a cursor of their own: they begin at a random access point or after what they had, or catch up.
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

BATCH_MAX_BYTES = 256 * 1024
"""Bytes of chunk records read for one write, unless a single chunk is larger: bounds what a viewer that stops reading
can have unsent, and is enough that the cost of a write does not matter."""

JOINING_TURN_BYTES = 4 * 1024 * 1024
"""Bytes written to joining viewers in one turn: a few milliseconds of work, so that a thousand who come at once do not
hold up those who watch."""

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


class Viewer:
    """One viewer of a fan-out; made by `FanOut.add`.

    Attributes:
        sender: the way to it.
        cursor: its own place in the broadcast, `None` while it is live.
        opened: the epoch it was told last.
        mark: bytes of the stream that are behind it, on the fan-out's count; the difference to that is its lag.
        skips: times it was moved forward.
        skipped: entries it never saw, of those told to it.
        sent_bytes: handed to its connection, but for what it shared since it last became live.
    """

    __slots__ = (
        "_fan_out",
        "cursor",
        "live_from",
        "mark",
        "opened",
        "paused_since",
        "sender",
        "sent_bytes",
        "skipped",
        "skips",
        "started",
        "unsent",
        "waiting_since",
    )

    def __init__(self, fan_out: FanOut, sender: Sender, cursor: Cursor, mark: int, now: float) -> None:
        self.sender = sender
        self.cursor: Cursor | None = cursor
        self.opened: Opened | None = None
        self.mark = mark
        self.skips = 0
        self.skipped = 0
        self.sent_bytes = 0
        self.live_from = 0
        self.started = False
        self.waiting_since = now
        self.paused_since = now
        self.unsent = 0
        self._fan_out = fan_out

    def paused(self) -> None:
        self._fan_out._pause(self)

    def resumed(self) -> None:
        self._fan_out._resume(self)

    def lost(self) -> None:
        self._fan_out.remove(self)


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
        self._broadcast.listeners.add(self._wake)

    @property
    def viewers(self) -> int:
        """How many viewers it has."""
        return len(self._live) + len(self._joining) + len(self._paused)

    @property
    def framing(self) -> Framing:
        """What it frames with."""
        return self._framing

    def places(self) -> dict[str, int]:
        """Return how many viewers are in each place."""
        return {"live": len(self._live), "joining": len(self._joining), "paused": len(self._paused)}

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
        self._joining.pop(viewer, None)
        self._paused.pop(viewer, None)
        viewer.sender.listener = None

    def tell(self, frame: bytes) -> None:
        """Send `frame` to all viewers but those that are paused."""
        for viewer in (*self._live, *self._joining):
            viewer.sender.write(frame)

    def beat(self, frame: bytes, quiet_seconds: float) -> None:
        """Send `frame`, a heartbeat, to viewers that heard nothing for so long; media is a heartbeat too."""
        if self._clock.monotonic() - self._spoke_at >= quiet_seconds:
            self.tell(frame)
        else:
            for viewer in tuple(self._joining):
                viewer.sender.write(frame)

    def finish(self, code: CloseCode, reason: str) -> None:
        """Close every viewer's connection in good order."""
        for viewer in (*self._live, *self._joining, *self._paused):
            self._finish(viewer, code, reason)

    def sweep(self, most: int) -> bool:
        """Cut off up to `most` viewers that took nothing for too long; return whether there are more."""
        now = self._clock.monotonic()
        for viewer in tuple(self._paused):
            unsent = viewer.sender.unsent()
            if unsent != viewer.unsent:
                viewer.unsent = unsent
                viewer.paused_since = now
            elif now - viewer.paused_since >= self._limits.stuck_seconds:
                if not most:
                    return True
                most -= 1
                self._counts.stuck.inc()
                viewer.sender.abort()
                self.remove(viewer)
        return False

    def close(self) -> None:
        """Listen no more; the fan-out must have no viewers."""
        self._broadcast.listeners.discard(self._wake)

    # -- one turn ----------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        while self._send_live():
            pass
        self._send_joining()
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
                who[index].sender.abort()
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
        written = 0
        for viewer in tuple(self._joining):
            if written >= JOINING_TURN_BYTES:
                self._wake()
                break
            del self._joining[viewer]
            self._joining[viewer] = None  # the next turn begins with those who were not served
            written += self._send_own(viewer)

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

    # -- places ------------------------------------------------------------------------------------------------------

    def _pause(self, viewer: Viewer) -> None:
        viewer.unsent = viewer.sender.unsent()
        viewer.paused_since = self._clock.monotonic()
        if viewer in self._joining:
            del self._joining[viewer]
            self._paused[viewer] = None
        elif viewer in self._live:
            self._to_own_cursor(viewer)
            self._paused[viewer] = None

    def _resume(self, viewer: Viewer) -> None:
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
