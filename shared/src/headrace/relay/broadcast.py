"""Broadcast: one stream's recent past, written by one producer and read by any number of cursors.

Theory of operation
-------------------
A broadcast is a log of entries in the order they came: a track set that opens an epoch, chunks, gaps, changes of
state. The producer appends and never waits. A consumer is a `Cursor`, an integer into that log, and asks for what
came since; ten thousand consumers cost ten thousand integers and a chunk is held once. Old entries leave by age and by
bytes. A cursor that they leave behind is moved *forward*, to the newest random access point, and told so.

What the log promises its readers:

1. For each track, chunks come in order of identity, each at most once; what is missing is told by a `Gap`.
2. Before the first chunk of an epoch comes the `Opened` with its tracks, also to a cursor that joins in the middle.
3. A cursor never moves backwards.

The broadcast knows neither network nor media nor time: ages are read from decode times, which are UTC based
(docs/protocol.md, section 2.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, StreamState, Track

JOIN_LOOKBACK_ENTRIES = 64
"""How far before a random access point a joining cursor looks for other tracks' chunks of the same time, in entries:
several times what arrives between a video chunk and the audio that goes with it."""


@dataclass(frozen=True, slots=True)
class RingLimits:
    """How much of the past a broadcast holds.

    Attributes:
        seconds: media time kept behind the newest chunk; the newest random access point is kept beyond it, so that
            a stream with long GOPs can be joined.
        bytes: most bytes of chunk records held, whatever their age.
    """

    seconds: float = 30.0
    bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Opened:
    """An epoch begins (or is told to a cursor that joined inside it): these are its tracks."""

    epoch: Epoch
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """Chunks of `next.track` before `next` that were not had will not come: they are lost."""

    next: ChunkId


@dataclass(frozen=True, slots=True)
class StateChange:
    """The stream's state, why it is so, and the nodes it came through, ingress first."""

    state: StreamState
    reason: str = ""
    route: tuple[RouteHop, ...] = ()


Entry = Opened | Chunk | Gap | StateChange


@dataclass(slots=True)
class Cursor:
    """One consumer's place in a broadcast; made by `join` or `resume`, moved by `read` and `skip` only.

    Attributes:
        position: the next entry to read, `None` while it waits for the first random access point.
        epoch: the epoch whose tracks were told to it, 0 for none yet.
        state: the state that was told to it, `None` for none yet.
        skipped: entries it never saw because it was too slow.
    """

    position: int | None
    epoch: Epoch = Epoch(0)
    state: StateChange | None = None
    skipped: int = 0
    _had: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    _lost: set[int] = field(default_factory=set)

    def fork(self) -> Cursor:
        """Return another cursor at the same place, which was told the same."""
        return replace(self, _had=dict(self._had), _lost=set(self._lost))


class Broadcast:
    """The hub of one stream in this process.

    Attributes:
        name: the stream.
        epoch: the newest epoch seen, 0 before the first.
        tracks: the tracks of that epoch, by number.
        state: the newest state and route.
        listeners: called, without arguments, after each change; they must not block and must not raise.
        duplicates: chunks dropped because they were had already or belong to an older epoch.
        gaps: gaps told so far.
    """

    def __init__(self, name: StreamName, limits: RingLimits | None = None) -> None:
        self.name = name
        self.limits = limits or RingLimits()
        self.epoch = Epoch(0)
        self.tracks: dict[int, Track] = {}
        self.state = StateChange(StreamState.INTERRUPTED, "nothing was received yet")
        self.listeners: set[Callable[[], None]] = set()
        self.duplicates = 0
        self.gaps = 0
        self.bytes = 0
        self._log: list[Entry] = []
        self._base = 0
        self._last: dict[int, Chunk] = {}
        self._opened: dict[Epoch, Opened] = {}
        self._join: int | None = None
        self._newest_seconds = 0.0

    def __repr__(self) -> str:
        return f"<Broadcast {self.name} {self.state.state.value} epoch={self.epoch} {self._base}..{self.end}>"

    @property
    def end(self) -> int:
        """The position of the entry that will be appended next."""
        return self._base + len(self._log)

    @property
    def last(self) -> Mapping[int, Chunk]:
        """The newest chunk of each track in the current epoch."""
        return self._last

    # -- the producer's side --------------------------------------------------------------------------------------

    def open(self, epoch: Epoch, tracks: Iterable[Track]) -> bool:
        """Begin `epoch` with `tracks`; return False, and change nothing, when it is older than or equal to ours."""
        if epoch <= self.epoch:
            return False
        opened = Opened(epoch, tuple(tracks))
        self.epoch = epoch
        self.tracks = {track.track: track for track in opened.tracks}
        self._opened[epoch] = opened
        self._last = {}
        self._join = None
        self._append(opened)
        return True

    def append(self, chunk: Chunk) -> bool:
        """Add a chunk; return False, and count it, when it was had before or is not of the current epoch's tracks.

        A hole in the numbers before it is told to every cursor as a `Gap`.
        """
        last = self._last.get(chunk.id.track)
        if chunk.id.epoch != self.epoch or chunk.id.track not in self.tracks:
            self.duplicates += 1
            return False
        if last is not None:
            if chunk.id.position <= last.id.position:
                self.duplicates += 1
                return False
            if not last.is_followed_by(chunk.id):
                self._tell_gap(chunk.id)
        self._last[chunk.id.track] = chunk
        if chunk.random_access and chunk.id.track == self._lead_track:
            self._join = self.end
        self.bytes += len(chunk.record)
        self._newest_seconds = self._seconds(chunk)
        self._append(chunk)
        return True

    def lose(self, gap: Gap) -> None:
        """Pass on a gap that a parent told us, unless we have what it says is lost."""
        last = self._last.get(gap.next.track)
        if gap.next.epoch == self.epoch and (last is None or last.id.position < gap.next.position):
            self._tell_gap(gap.next)
            self._notify()

    def set_state(self, state: StreamState, reason: str = "", route: tuple[RouteHop, ...] | None = None) -> None:
        """Tell every cursor how the stream is doing; the route stays as it is when none is given."""
        change = StateChange(state, reason, self.state.route if route is None else route)
        if change != self.state:
            self.state = change
            self._append(change)

    # -- the consumer's side --------------------------------------------------------------------------------------

    def join(self) -> Cursor:
        """Return a cursor at the newest random access point, or one that waits for the first."""
        cursor = Cursor(None)
        self._place(cursor)
        return cursor

    def resume(self, after: Mapping[int, ChunkId]) -> Cursor:
        """Return a cursor at the first chunk that comes after `after` in each track.

        Tracks not named in `after` are read from the oldest entry on. For a track whose next chunk the ring no longer
        holds, the reader is told a `Gap`. A place that is newer than all we have is taken as it is: we will get there.
        """
        cursor = Cursor(self._base)
        cursor._had = {track: had.position for track, had in after.items()}
        oldest: dict[int, tuple[int, int, int]] = {}
        for entry in self._log:
            if isinstance(entry, Chunk):
                oldest.setdefault(entry.id.track, entry.id.position)
        cursor._lost = {track for track, had in cursor._had.items() if oldest.get(track, had) > had}
        return cursor

    def read(self, cursor: Cursor, max_bytes: int = 2**63) -> list[Entry]:
        """Return what came since `cursor` last read, oldest first, and move it on.

        Args:
            cursor: of this broadcast.
            max_bytes: stop after the chunk that reaches this many bytes of records; at least one entry is returned
                when there is one.
        """
        entries: list[Entry] = []
        if cursor.state is None or (cursor.position is None and cursor.state != self.state):
            cursor.state = self.state
            entries.append(self.state)
        if cursor.position is not None and cursor.position < self._base:
            cursor.skipped += self._base - cursor.position
            cursor._lost = set(self.tracks)
            cursor.position = None
        if cursor.position is None and not self._place(cursor):
            return entries
        assert cursor.position is not None
        taken = 0
        while cursor.position < self.end and taken < max_bytes:
            entry = self._log[cursor.position - self._base]
            cursor.position += 1
            taken += self._deliver(cursor, entry, entries)
        return entries

    def is_level(self, cursor: Cursor) -> bool:
        """Return whether `cursor` has read everything, and will from now on read the same as any other that has."""
        return (
            cursor.position == self.end
            and cursor.epoch == self.epoch
            and not cursor._lost
            and not any(self._is_ahead(track, had) for track, had in cursor._had.items())
        )

    def lag(self, cursor: Cursor) -> int:
        """Return how many entries `cursor` is behind; 0 while it waits for a random access point."""
        return 0 if cursor.position is None else self.end - cursor.position

    def skip(self, cursor: Cursor) -> int:
        """Move a slow cursor forward to the newest random access point; return how many entries it passes over.

        0 means that there is no random access point ahead of it.
        """
        if self._join is None or cursor.position is None or cursor.position >= self._join:
            return 0
        before = cursor.position
        cursor._lost = set(self.tracks)
        self._place(cursor)
        passed = cursor.position - before
        cursor.skipped += passed
        return passed

    # -- inside -----------------------------------------------------------------------------------------------------

    @property
    def _lead_track(self) -> int:
        """The track whose random access points viewers join at: the first video, else the first."""
        videos = [number for number, track in self.tracks.items() if track.kind == "video"]
        return min(videos or self.tracks, default=0)

    def _append(self, entry: Entry) -> None:
        self._log.append(entry)
        self._trim()
        self._notify()

    def _notify(self) -> None:
        for listener in tuple(self.listeners):
            listener()

    def _tell_gap(self, following: ChunkId) -> None:
        self.gaps += 1
        self._log.append(Gap(following))

    def _deliver(self, cursor: Cursor, entry: Entry, entries: list[Entry]) -> int:
        """Add `entry` to `entries` if `cursor` wants it, with what must be told before it; return its bytes."""
        if isinstance(entry, Chunk):
            return self._deliver_chunk(cursor, entry, entries)
        if isinstance(entry, Opened):
            if entry.epoch <= cursor.epoch:
                return 0
            cursor.epoch = entry.epoch
        elif isinstance(entry, StateChange):
            if entry is cursor.state:
                return 0
            cursor.state = entry
        entries.append(entry)
        return 0

    def _deliver_chunk(self, cursor: Cursor, chunk: Chunk, entries: list[Entry]) -> int:
        track = chunk.id.track
        if track in cursor._had:
            if chunk.id.position <= cursor._had[track]:
                return 0
            del cursor._had[track]
        if chunk.id.epoch > cursor.epoch:
            cursor.epoch = chunk.id.epoch
            entries.append(self._opened[chunk.id.epoch])
        if track in cursor._lost:
            cursor._lost.discard(track)
            entries.append(Gap(chunk.id))
        entries.append(chunk)
        return len(chunk.record)

    def _place(self, cursor: Cursor) -> bool:
        """Move `cursor` to the newest random access point; return False when there is none.

        Chunks of other tracks that came a little earlier but sound or show at that point or after it are included.
        """
        if self._join is None:
            return False
        point = self._log[self._join - self._base]
        assert isinstance(point, Chunk)
        begin = self._seconds(point)
        had: dict[int, tuple[int, int, int]] = {point.id.track: (point.id.epoch, point.id.segment, point.id.chunk - 1)}
        start = self._join
        floor = max(self._base, self._join - JOIN_LOOKBACK_ENTRIES, cursor.position or 0)
        for position in range(self._join - 1, floor - 1, -1):
            entry = self._log[position - self._base]
            if not isinstance(entry, Chunk) or entry.id.track in had:
                continue
            if entry.id.epoch != point.id.epoch or self._seconds(entry, at_end=True) <= begin:
                had[entry.id.track] = entry.id.position
            else:
                start = position
        cursor.position = start
        for track, last in had.items():
            cursor._had[track] = max(last, cursor._had.get(track, last))
        return True

    def _is_ahead(self, track: int, had: tuple[int, int, int]) -> bool:
        """Return whether chunks of `track` that are still to come were had already."""
        if track not in self.tracks:
            return False
        last = self._last.get(track)
        return had > ((self.epoch, 0, -1) if last is None else last.id.position)

    def _seconds(self, chunk: Chunk, at_end: bool = False) -> float:
        """Return the decode time at which `chunk` begins, or ends, in seconds."""
        ticks = chunk.decode_time + (chunk.duration if at_end else 0)
        return ticks / next(t.timescale for t in self._opened[chunk.id.epoch].tracks if t.track == chunk.id.track)

    def _trim(self) -> None:
        """Let go of what is too old, but for the newest random access point and after, or beyond the byte limit."""
        drop = freed = 0
        expiry = self._newest_seconds - self.limits.seconds
        for index, entry in enumerate(self._log):
            if not isinstance(entry, Chunk):
                continue
            too_many = self.bytes - freed > self.limits.bytes
            kept = self._join is not None and self._base + index >= self._join
            if not too_many and (kept or self._seconds(entry) >= expiry):
                break
            freed += len(entry.record)
            drop = index + 1
        if drop:
            self.bytes -= freed
            self._forget(drop)

    def _forget(self, entries: int) -> None:
        del self._log[:entries]
        self._base += entries
        if self._join is not None and self._join < self._base:
            self._join = None
        held = {entry.id.epoch for entry in self._log if isinstance(entry, Chunk)} | {self.epoch}
        self._opened = {epoch: opened for epoch, opened in self._opened.items() if epoch in held}
