"""Broadcast: one stream's recent past, written by one producer and read by any number of cursors.

Theory of operation
-------------------
A broadcast is a log of entries in the order they came: a track set that opens an epoch, chunks, gaps, changes of
state. The producer appends and never waits. A consumer is a `Cursor`, an integer into that log, and asks for what
came since; ten thousand consumers cost ten thousand integers and a chunk is held once. Old entries leave by age and by
bytes. A cursor that they leave behind is moved *forward*, to the newest random access point, and told so.

What the log promises its readers:

1. For each track, chunks come in order of identity, each at most once; what is missing since the reader's last chunk
   is told by a `Gap` before the next one.
2. Before the first chunk of an epoch comes the `Opened` with its tracks, also to a cursor that joins in the middle.
3. A cursor never moves backwards.
4. A reader that has read everything was told the newest state; states that were superseded before it read them are
   not told any more.
5. Where the rates of an epoch's tracks are told anew, every reader is told so at the same place, by another `Opened`
   with a greater revision; one that joins, or is moved past that place, was told the newest before its next chunk.

The broadcast knows neither network nor media nor time: ages are read from decode times, which are UTC based
(docs/protocol.md, section 2.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.relay.cursor import Cursor, Place, place_of
from headrace.relay.entries import ENTRY_BYTES, Entry, Gap, Opened, StateChange, cost
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, StreamState, Track, differ_in_rates

__all__ = [
    "ENTRY_BYTES",
    "JOIN_LOOKBACK_ENTRIES",
    "Broadcast",
    "Cursor",
    "Entry",
    "Gap",
    "Opened",
    "RingLimits",
    "StateChange",
]

JOIN_LOOKBACK_ENTRIES = 64
"""How far before a random access point a joining cursor looks for other tracks' chunks of the same time, in entries:
several times what arrives between a video chunk and the audio that goes with it."""


@dataclass(frozen=True, slots=True)
class RingLimits:
    """How much of the past a broadcast holds.

    Attributes:
        seconds: media time kept behind the newest chunk; the newest random access point is kept beyond it, so that
            a stream with long GOPs can be joined.
        bytes: most memory held, whatever its age: chunk records, and `ENTRY_BYTES` for each entry. The newest entry is
            held in any case.
    """

    seconds: float = 30.0
    bytes: int = 64 * 1024 * 1024


class Broadcast:
    """The hub of one stream in this process.

    Attributes:
        name: the stream.
        epoch: the newest epoch seen, 0 before the first.
        tracks: the tracks of that epoch, by number.
        state: the newest state and route.
        awaited: somebody has begun to look for the stream, and the first word of it is under way: whoever resumes is
            told no state until then, for what it had may be there in a moment.
        listeners: called, without arguments, after each change; they must not block and must not raise.
        duplicates: chunks dropped because they were had already or belong to an older epoch.
        gaps: gaps told so far.
        bytes: memory held, see `RingLimits`.
    """

    def __init__(self, name: StreamName, limits: RingLimits | None = None) -> None:
        self.name = name
        self.limits = limits or RingLimits()
        self.epoch = Epoch(0)
        self.tracks: dict[int, Track] = {}
        self.state = StateChange(StreamState.INTERRUPTED, "it has not appeared here yet")
        self.awaited = False
        self.listeners: set[Callable[[], None]] = set()
        self.duplicates = 0
        self.gaps = 0
        self.bytes = 0
        self._log: list[Entry] = []
        self._base = 0
        self._last: dict[int, Chunk] = {}
        self._heads: dict[int, Place] = {}
        self._opened: dict[Epoch, Opened] = {}
        self._timescales: dict[Epoch, dict[int, int]] = {}
        self._lead_track = 0
        self._join: int | None = None
        self._state_at = -1
        self._told_at = -1
        self._newest_seconds = 0.0

    def __repr__(self) -> str:
        return f"<Broadcast {self.name} {self.state.state.value} epoch={self.epoch} {self._base}..{self.end}>"

    @property
    def end(self) -> int:
        """The position of the entry that will be appended next."""
        return self._base + len(self._log)

    @property
    def last(self) -> Mapping[int, Chunk]:
        """The newest chunk of each track, of an older epoch for a track that has none in this one yet."""
        return self._last

    @property
    def reach_seconds(self) -> float:
        """How far back what is held reaches, in media time."""
        oldest = next((entry for entry in self._log if isinstance(entry, Chunk)), None)
        return 0.0 if oldest is None else self._newest_seconds - self._seconds(oldest)

    # -- the producer's side -----------------------------------------------------------------------

    def open(self, epoch: Epoch, tracks: Iterable[Track]) -> bool:
        """Begin `epoch` with `tracks`; or, where it is ours already, take the new rates of the same tracks.

        Returns:
            Whether that changed anything: not when the epoch is older than ours, or the tracks are others.
        """
        if epoch <= self.epoch:
            return epoch == self.epoch and self._tell_rates(tuple(tracks))
        opened = Opened(epoch, tuple(tracks))
        self.epoch = epoch
        self.tracks = {track.track: track for track in opened.tracks}
        self._opened[epoch] = opened
        self._timescales[epoch] = {track.track: track.timescale for track in opened.tracks}
        self._last = {number: chunk for number, chunk in self._last.items() if number in self.tracks}
        self._heads = {number: place for number, place in self._heads.items() if number in self.tracks}
        videos = [number for number, track in self.tracks.items() if track.kind == "video"]
        self._lead_track = min(videos or self.tracks, default=0)
        self._join = None
        self._told_at = -1
        self._append(opened)
        return True

    def _tell_rates(self, tracks: tuple[Track, ...]) -> bool:
        before = self._opened.get(self.epoch)
        if before is None or tracks == before.tracks or not differ_in_rates(before.tracks, tracks):
            return False
        self.tracks = {track.track: track for track in tracks}
        opened = self._opened[self.epoch] = Opened(self.epoch, tracks, before.revision + 1)
        self._told_at = self.end
        self._append(opened)
        return True

    def append(self, chunk: Chunk) -> bool:
        """Add a chunk; return False, and count it, when it was had before or is not of the current epoch's tracks.

        A hole in the numbers before it is told to every cursor as a `Gap`.
        """
        track = chunk.id.track
        head = self._heads.get(track)
        if chunk.id.epoch != self.epoch or track not in self.tracks or (head is not None and head.has(chunk.id)):
            self.duplicates += 1
            return False
        if head is not None and not head.is_followed_by(chunk.id):
            self._log_gap(chunk.id)
        self._heads[track] = place_of(chunk)
        self._last[track] = chunk
        if track == self._lead_track and chunk.random_access:
            self._join = self.end
        self._newest_seconds = self._seconds(chunk)
        self._append(chunk)
        return True

    def lose(self, gap: Gap) -> None:
        """Pass on a gap that a parent told us, unless nothing that we do not have is lost."""
        head = self._heads.get(gap.next.track)
        if gap.next.epoch != self.epoch or gap.next.track not in self.tracks:
            return
        if head is not None and head.knows(gap):
            return
        self._log_gap(gap.next)
        self._heads[gap.next.track] = Place(gap.next.position, None, lost=True)
        self._trim()
        self._notify()

    def set_state(self, state: StreamState, reason: str = "", route: tuple[RouteHop, ...] | None = None) -> None:
        """Tell every cursor how the stream is doing; the route stays as it is when none is given."""
        self.awaited = False
        change = StateChange(state, reason, self.state.route if route is None else route)
        if change != self.state:
            self.state = change
            self._state_at = self.end
            self._append(change)

    def clear(self) -> None:
        """Hold nothing any more: the stream is let go, and its memory does not wait for who still knows its name."""
        self._forget(len(self._log))
        self.bytes = 0

    # -- the consumer's side -----------------------------------------------------------------------

    def join(self, back_seconds: float = 0.0) -> Cursor:
        """Return a cursor at the newest random access point, or one that waits for the first.

        With `back_seconds` it is the newest one that lies so far behind the newest chunk, or the oldest there is: for a
        reader that wants some of the past as well.
        """
        cursor = Cursor(None, _back_seconds=back_seconds)
        self._place(cursor)
        return cursor

    def replay(self) -> Cursor:
        """Return a cursor at the oldest entry held, for who indexes the past; tracks may begin inside a segment."""
        return Cursor(self._base)

    def resume(self, after: Mapping[int, ChunkId]) -> Cursor:
        """Return a cursor at the first chunk that comes after `after` in any of its tracks; with no track, `join`.

        Each track goes on after its own chunk; where the ring does not hold the very next one, or may not, the reader
        is told a `Gap`. Tracks not named in `after` begin at the same place as the others. A chunk that is newer than
        all we have is taken as it is: we will get there.
        """
        if not after:
            return self.join()
        cursor = Cursor(None)
        if self.awaited:
            cursor.state = self.state
        for position, entry in enumerate(self._log, self._base):
            if not isinstance(entry, Chunk) or entry.id.track not in after:
                continue
            had = after[entry.id.track]
            if entry.id == had:
                cursor._had[had.track] = place_of(entry)
            elif cursor.position is None and entry.id.position > had.position:
                cursor.position = position
        if cursor.position is None:
            cursor.position = self.end
        for track, id in after.items():
            cursor._had.setdefault(track, Place(id.position, None))
        return cursor

    def read(self, cursor: Cursor, max_bytes: int = 2**63) -> list[Entry]:
        """Return what came since `cursor` last read, oldest first, and move it on.

        Args:
            cursor: of this broadcast.
            max_bytes: stop after the chunk that reaches this many bytes of records; at least one entry is returned
                when there is one.
        """
        entries: list[Entry] = []
        if cursor.position is None or cursor.position < self._base:
            self._catch_up(cursor)
        self._tell_missed_state(cursor, entries)
        self._tell_missed_rates(cursor, entries)
        if cursor.position is None:
            self._tell_epoch(cursor, self.epoch, entries)
            return entries
        taken = 0
        end = self.end
        while cursor.position < end and taken < max_bytes:
            entry = self._log[cursor.position - self._base]
            cursor.position += 1
            if isinstance(entry, Chunk):
                taken += self._deliver(cursor, entry, entries)
            else:
                self._tell(cursor, entry, entries)
        return entries

    def is_level(self, cursor: Cursor) -> bool:
        """Return whether `cursor` has read everything, and will from now on read the same as any other that has."""
        return (
            cursor.position == self.end
            and cursor.epoch == self.epoch
            and all(place == self._heads.get(track, place) for track, place in cursor._had.items())
            and not any(self._is_ahead(track, place.position) for track, place in cursor._had.items())
            and not any(self._is_ahead(track, floor) for track, floor in cursor._floor.items())
        )

    def has_left(self, cursor: Cursor) -> bool:
        """Return whether the ring went on past `cursor`: its next `read` begins elsewhere, or waits."""
        return cursor.position is not None and cursor.position < self._base

    def lag(self, cursor: Cursor) -> int:
        """Return how many entries `cursor` is behind; 0 while it waits for a random access point."""
        return 0 if cursor.position is None else self.end - cursor.position

    def skip(self, cursor: Cursor) -> int:
        """Move a slow cursor forward to the newest random access point; return how many entries it passes over.

        0 means that there is no random access point ahead of it.
        """
        if self._join is None or cursor.position is None or cursor.position >= self._join:
            return 0
        before = max(cursor.position, self._base)
        passed = (self._place(cursor) or before) - before
        cursor.skipped += passed
        return passed

    # -- inside: reading ---------------------------------------------------------------------------

    def _tell(self, cursor: Cursor, entry: Opened | Gap | StateChange, entries: list[Entry]) -> None:
        """Add an entry that is no chunk, if it is news to `cursor`."""
        if isinstance(entry, Opened):
            self._tell_tracks(cursor, entry, entries)
        elif isinstance(entry, Gap):
            had = cursor._had.get(entry.next.track)
            if had is None or not had.knows(entry):
                cursor._had[entry.next.track] = Place(entry.next.position, None, lost=True)
                entries.append(entry)
        elif entry is self.state and entry is not cursor.state:
            cursor.state = entry
            entries.append(entry)

    def _tell_epoch(self, cursor: Cursor, epoch: Epoch, entries: list[Entry]) -> None:
        if epoch > cursor.epoch:
            self._tell_tracks(cursor, self._opened[epoch], entries)

    def _tell_tracks(self, cursor: Cursor, opened: Opened, entries: list[Entry]) -> None:
        if (opened.epoch, opened.revision) > (cursor.epoch, cursor.revision):
            cursor.epoch, cursor.revision = opened.epoch, opened.revision
            entries.append(opened)

    def _deliver(self, cursor: Cursor, chunk: Chunk, entries: list[Entry]) -> int:
        """Add a chunk, with what must be told before it, if `cursor` wants it; return its bytes."""
        track = chunk.id.track
        if cursor._floor and track in cursor._floor:
            if chunk.id.position <= cursor._floor[track]:
                return 0
            del cursor._floor[track]
        had = cursor._had.get(track)
        if had is not None and had.has(chunk.id):
            if had.ends is None and chunk.id.position == had.position:
                cursor._had[track] = had._replace(ends=chunk.ends_segment)  # it was named when we did not have it yet
            return 0
        self._tell_epoch(cursor, chunk.id.epoch, entries)
        if had is not None and not had.is_followed_by(chunk.id):
            entries.append(Gap(chunk.id))
        cursor._had[track] = place_of(chunk)
        entries.append(chunk)
        return len(chunk.record)

    def _catch_up(self, cursor: Cursor) -> None:
        """Take a cursor that waits, or that the ring left behind, to the newest random access point if there is one."""
        before = cursor.position
        cursor.position = None
        placed = self._place(cursor)
        if before is not None:
            cursor.skipped += (self._base if placed is None else placed) - before

    def _tell_missed_state(self, cursor: Cursor, entries: list[Entry]) -> None:
        """Tell the newest state to a cursor that was told none, or was moved past its entry."""
        missed = cursor.state is None or cursor.position is None or cursor.position > self._state_at
        if missed and cursor.state is not self.state:
            cursor.state = self.state
            entries.append(self.state)

    def _tell_missed_rates(self, cursor: Cursor, entries: list[Entry]) -> None:
        """Tell the newest rates of its epoch to a cursor that was moved past their entry."""
        passed = cursor.position is None or cursor.position > self._told_at
        if self._told_at >= 0 and cursor.epoch == self.epoch and passed:
            self._tell_tracks(cursor, self._opened[self.epoch], entries)

    def _place(self, cursor: Cursor) -> int | None:
        """Move `cursor` to the newest random access point and return its position; `None` when there is none.

        Chunks of other tracks that came a little earlier but sound or show at that point or after it are included.
        """
        if self._join is None:
            return None
        start = at = self._join if cursor._back_seconds <= 0 else self._earlier_point(cursor._back_seconds)
        point = self._log[at - self._base]
        assert isinstance(point, Chunk)
        begin = self._seconds(point)
        floor: dict[int, tuple[int, int, int]] = {}
        oldest = max(self._base, at - JOIN_LOOKBACK_ENTRIES, cursor.position or 0)
        for position in range(at - 1, oldest - 1, -1):
            entry = self._log[position - self._base]
            if not isinstance(entry, Chunk) or entry.id.track in floor:
                continue
            if entry.id.track == point.id.track or entry.id.epoch != point.id.epoch or self._ends(entry) <= begin:
                floor[entry.id.track] = entry.id.position
            else:
                start = position
        cursor.position = start
        cursor._back_seconds = 0.0
        cursor._floor = floor
        cursor._had = {track: place._replace(passed=True) for track, place in cursor._had.items()}
        return start

    def _earlier_point(self, back_seconds: float) -> int:
        """Return the newest random access point that is `back_seconds` old, or the oldest of this epoch."""
        assert self._join is not None
        found = self._join
        for position in range(self._join, self._base - 1, -1):
            entry = self._log[position - self._base]
            if not isinstance(entry, Chunk) or entry.id.track != self._lead_track or not entry.random_access:
                continue
            if entry.id.epoch != self.epoch:
                break
            found = position
            if self._seconds(entry) <= self._newest_seconds - back_seconds:
                break
        return found

    def _is_ahead(self, track: int, position: tuple[int, int, int]) -> bool:
        """Return whether chunks of `track` up to `position` are still to come."""
        if position[0] > self.epoch:
            return True  # the epoch itself is: a cold node knows no track yet
        if track not in self.tracks:
            return False
        head = self._heads.get(track)
        return position > ((self.epoch, 0, -1) if head is None else head.position)

    # -- inside: the log ---------------------------------------------------------------------------

    def _append(self, entry: Entry) -> None:
        self._log.append(entry)
        self.bytes += cost(entry)
        self._trim()
        self._notify()

    def _log_gap(self, following: ChunkId) -> None:
        self.gaps += 1
        gap = Gap(following)
        self._log.append(gap)
        self.bytes += cost(gap)

    def _notify(self) -> None:
        for listener in tuple(self.listeners):
            listener()

    def _seconds(self, chunk: Chunk) -> float:
        """Return the decode time at which `chunk` begins, in seconds."""
        return chunk.decode_time / self._timescales[chunk.id.epoch][chunk.id.track]

    def _ends(self, chunk: Chunk) -> float:
        """Return the decode time at which `chunk` ends, in seconds."""
        return (chunk.decode_time + chunk.duration) / self._timescales[chunk.id.epoch][chunk.id.track]

    def _trim(self) -> None:
        """Let go of what is too old, but for the newest random access point and after, or beyond the byte limit."""
        drop = freed = passed = 0
        expiry = self._newest_seconds - self.limits.seconds
        for index in range(len(self._log) - 1):
            entry = self._log[index]
            passed += cost(entry)
            if self.bytes - freed <= self.limits.bytes:
                if not isinstance(entry, Chunk):
                    continue  # leaves with the next chunk that does
                if self._is_kept(index) or self._seconds(entry) >= expiry:
                    break
            freed, drop = passed, index + 1
        if drop:
            self.bytes -= freed
            self._forget(drop)

    def _is_kept(self, index: int) -> bool:
        return self._join is not None and self._base + index >= self._join

    def _forget(self, entries: int) -> None:
        del self._log[:entries]
        self._base += entries
        if self._join is not None and self._join < self._base:
            self._join = None
        if len(self._opened) > 1:
            held = {entry.id.epoch for entry in self._log if isinstance(entry, Chunk)} | {self.epoch}
            held |= {entry.epoch for entry in self._log if isinstance(entry, Opened)}
            self._opened = {epoch: opened for epoch, opened in self._opened.items() if epoch in held}
            self._timescales = {epoch: self._timescales[epoch] for epoch in self._opened}
