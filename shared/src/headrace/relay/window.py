"""The window: what of a stream's recent past can be named, as segments and parts of each track.

Theory of operation
-------------------
A `Window` is a consumer of a broadcast: `take` every entry that a cursor reads. It holds the chunks of its segments by
reference, as the ring does, for as long as playlists name them and a little longer. Everything that playlists say comes
from the identities and times of chunks, so two nodes that took the same chunks say the same.

A hole in a segment makes it a gap with the times that its neighbours leave for it, for decode times have no holes
inside an epoch. A segment that an epoch left open is a gap too: its publisher died, and of the last it said one node
may have heard more than another. What came before the first whole segment of a track is not named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from headrace.identifiers import Epoch
from headrace.media.segments import PARTS_SEGMENTS, Segment, whole_segment
from headrace.relay.broadcast import Entry, Opened, StateChange
from headrace.wire.chunk import Chunk
from headrace.wire.stream import StreamState, Track

LOST_MAX = 64
"""Most segments in a row that are told as lost; a longer hole ends what can be named before it."""


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """How much is named and how much is held.

    Attributes:
        seconds: media time behind the end of the newest whole segment that playlists list.
        grace_seconds: media time for which a segment can still be had after it left the playlists.
        bytes: most media held, of all tracks.
    """

    seconds: float = 60.0
    grace_seconds: float = 12.0
    bytes: int = 96 * 1024 * 1024


@dataclass(slots=True)
class TrackWindow:
    """One track of the window.

    Attributes:
        number: of the track.
        since: the epoch that it begins with: a track that was left out of one begins anew.
        segments: by number, in order, without holes; the last one may be open.
        version: grows whenever something that a playlist says has changed.
        progress: grows with each chunk.
        fresh: whether the next chunk must begin a segment to be taken.
        cut_off: the segment that was open when the stream ended, `None` if it was whole.
    """

    number: int
    since: Epoch = Epoch(0)
    segments: dict[int, Segment] = field(default_factory=dict)
    version: int = 0
    progress: int = 0
    fresh: bool = True
    cut_off: Segment | None = None

    @property
    def newest(self) -> Segment | None:
        """The newest segment, open or closed."""
        return self.segments[next(reversed(self.segments))] if self.segments else None

    @property
    def head(self) -> tuple[int, int]:
        """The last that can be listed: segment number, and its complete parts (-1 parts: nothing at all)."""
        newest = self.newest
        return (0, -1) if newest is None else (newest.number, newest.parts_listed)

    def has(self, segment: int, part: int | None) -> bool:
        """Return whether the playlist holds `part` of `segment`, or the whole segment when `part` is `None`.

        A part beyond the last of a segment that is closed is the first of the next one (8216bis, 6.2.5.2).
        """
        newest = self.newest
        while newest is not None and segment <= newest.number:
            held = self.segments.get(segment)
            if held is None:
                return True  # it left the window
            if not held.closed:
                return part is not None and part < held.parts_listed
            if part is None or part < len(held.parts):
                return True
            segment, part = segment + 1, 0
        return False

    def reaches_back_to(self, time: int) -> bool:
        """Return whether the oldest segment does not begin after a decode time in ticks."""
        return any(one.start <= time for one in self.segments.values())

    def at(self, time: int) -> Segment | None:
        """Return the segment whose media begin at a decode time in ticks."""
        return next((one for one in reversed(self.segments.values()) if one.start == time and one.parts), None)

    def after(self, time: int, *, lost: bool = False) -> Segment | None:
        """Return the first segment with media that begins after `time`; with `lost` also one that was lost there."""
        found = None
        for segment in reversed(self.segments.values()):
            if (segment.end if segment.lost else segment.start) <= time:
                break
            if segment.parts or (lost and segment.lost):
                found = segment
        return found

    def end_with(self, segment: int, part: int | None) -> Segment | None:
        """Return the segment that a playlist ends with as soon as it holds what was asked for, as it is then.

        It follows from the media and not from what came meanwhile, so every edge ends its playlist there. `None` when
        that is so long ago that its parts are not listed any more, or has not come.
        """
        recent = list(self.segments)[-PARTS_SEGMENTS - 1 :]
        while segment in recent:
            held = self.segments[segment]
            if part is None:
                return held if held.closed else None
            if part < held.parts_told:
                return held.until(part)
            if part < len(held.parts):  # told as a whole only
                part = None
                continue
            segment, part = segment + 1, 0
        return None

    def seconds_after(self, last: Segment) -> float:
        """Return how much is listed after `last`, in seconds."""
        return max((one.listed_end_seconds for one in self.segments.values()), default=0.0) - last.listed_end_seconds

    def listed(self, seconds: float, last: Segment | None = None) -> list[Segment]:
        """Return the segments that playlists list, oldest first: no holes, no unknown number of epochs between them.

        With `last`, of `end_with`, nothing after it.
        """
        found: list[Segment] = []
        end: float | None = None
        for held in reversed(self.segments.values()):
            segment = last if last is not None and held.number == last.number else held
            if last is not None and segment.number > last.number:
                continue
            if not segment.closed and not segment.parts_listed:
                continue
            if found and not segment.leads_to(found[-1]):
                break
            if segment.closed and end is None:
                end = segment.end_seconds
            if end is not None and end - segment.end_seconds > seconds:
                break
            found.append(segment)
        found.reverse()
        return found


class Window:
    """The recent past of one stream.

    Attributes:
        limits: how much of it.
        epoch: the newest epoch, 0 before the first.
        tracks: of that epoch, by number.
        state: of the stream.
        windows: of each track of that epoch, by number.
        epochs: the tracks of each epoch that is held, by number.
        bytes: of media held.
    """

    def __init__(self, limits: WindowLimits | None = None) -> None:
        self.limits = limits or WindowLimits()
        self.epoch = Epoch(0)
        self.tracks: dict[int, Track] = {}
        self.state = StreamState.INTERRUPTED
        self.windows: dict[int, TrackWindow] = {}
        self.bytes = 0
        self.epochs: dict[Epoch, dict[int, Track]] = {}
        self._announced: Opened | None = None

    @property
    def ended(self) -> bool:
        """Whether somebody said that the stream is over."""
        return self.state is StreamState.ENDED

    @property
    def lead(self) -> TrackWindow | None:
        """The first video track, else the first track."""
        videos = [number for number, track in self.tracks.items() if track.kind == "video"]
        return self.windows.get(min(videos or self.tracks, default=0))

    def header(self, epoch: int, track: int) -> bytes | None:
        """Return the CMAF header of a track of an epoch that is still in the window."""
        described = self.epochs.get(Epoch(epoch), {}).get(track)
        return None if described is None else described.header

    def segment(self, epoch: int, track: int, number: int) -> Segment | None:
        """Return a segment that is held."""
        window = self.windows.get(track)
        found = None if window is None else window.segments.get(number)
        return found if found is not None and found.epoch == epoch else None

    def take(self, entry: Entry) -> None:
        """Take the next entry of the broadcast."""
        if isinstance(entry, Chunk):
            self._take_chunk(entry)
        elif isinstance(entry, Opened) and entry.epoch == self.epoch:
            self._take_rates(entry)
        elif isinstance(entry, Opened):
            self._announced = entry
        elif isinstance(entry, StateChange) and entry.state is not self.state:
            if StreamState.ENDED in (entry.state, self.state):
                self._touch()
            self.state = entry.state
            if self.ended:
                for window in self.windows.values():
                    self._finish(window)

    def mend(self, entries: Iterable[Opened | Chunk]) -> None:
        """Put whole segments in the place of lost ones, as far as `entries` have all of them."""
        found: dict[tuple[int, Epoch, int], list[Chunk]] = {}
        for entry in entries:
            if isinstance(entry, Chunk):
                found.setdefault((entry.id.track, entry.id.epoch, entry.id.segment), []).append(entry)
        for window in self.windows.values():
            for number, segment in window.segments.items():
                chunks = found.get((window.number, segment.epoch, number), []) if segment.lost else []
                whole = whole_segment(segment, chunks)
                if whole is not None:
                    window.segments[number] = whole
                    window.version += 1
                    window.progress += 1
                    self.bytes += whole.bytes

    # -- inside ----------------------------------------------------------------------------------------------------

    def _begin(self, opened: Opened) -> None:
        """An epoch begins with its first chunk: what the one before left open is lost.

        One without any changes nothing: not every node hears of it.
        """
        for window in self.windows.values():
            self._reopen(window)
            self._end_open(window, None)
        self.epoch = opened.epoch
        self.tracks = {track.track: track for track in opened.tracks}
        self.epochs[opened.epoch] = self.tracks
        for number in self.windows.keys() - self.tracks.keys():
            self._forget(self.windows.pop(number).segments.values())
        for number in self.tracks:
            window = self.windows.setdefault(number, TrackWindow(number, opened.epoch))
            window.fresh = True
        self._touch()

    def _take_rates(self, opened: Opened) -> None:
        """The epoch's tracks are the same, but for what they take: that holds for all of it."""
        if opened.tracks == tuple(self.tracks.values()):
            return
        self.tracks = self.epochs[opened.epoch] = {track.track: track for track in opened.tracks}
        for number, window in self.windows.items():
            for segment in window.segments.values():
                if segment.epoch == opened.epoch:
                    segment.track = self.tracks[number]
        self._touch()

    def _touch(self) -> None:
        for window in self.windows.values():
            window.version += 1
            window.progress += 1

    def _take_chunk(self, chunk: Chunk) -> None:
        announced = self._announced
        if announced is not None and announced.epoch == chunk.id.epoch > self.epoch:
            self._begin(announced)
        window = self.windows.get(chunk.id.track)
        if chunk.id.epoch != self.epoch or window is None:
            return
        segment = self._segment_for(window, chunk)
        if segment is None:
            return
        if 0 <= chunk.id.chunk < segment.next_chunk:
            return  # had already
        before = (segment.parts_complete, segment.closed)
        if chunk.id.chunk == segment.next_chunk and not segment.lost:
            held = segment.bytes
            segment.add(chunk)
            self.bytes += segment.bytes - held
            if segment.closed and not segment.parts:
                self._place_empty(window, segment, chunk.decode_time)
        elif not segment.closed:
            self.bytes -= segment.bytes
            segment.lose(chunk.decode_time + chunk.duration)
            segment.closed = chunk.ends_segment
        window.progress += 1
        if before != (segment.parts_complete, segment.closed):
            window.version += 1
            if segment.closed:
                self._trim(window)

    def _segment_for(self, window: TrackWindow, chunk: Chunk) -> Segment | None:
        """Return the segment that `chunk` belongs to, made now if it begins one; `None` when it cannot be named."""
        number = chunk.id.segment
        segment = window.segments.get(number)
        if segment is not None:
            return segment if segment.epoch == chunk.id.epoch and not segment.closed else None
        newest = window.newest
        if newest is not None and newest.number > number:
            return None
        if window.fresh and chunk.id.chunk != 0:
            return None
        self._bridge(window, chunk, newest)
        window.fresh = False
        segment = Segment(chunk.id.epoch, self.tracks[window.number], number, chunk.decode_time)
        window.segments[number] = segment
        if chunk.id.chunk != 0:
            segment.next_chunk = -1  # its beginning is missing
        return segment

    def _bridge(self, window: TrackWindow, chunk: Chunk, newest: Segment | None) -> None:
        """Close what should have been closed, and name what is missing, before a segment that begins with `chunk`."""
        if newest is None:
            return
        missing = chunk.id.segment - newest.number - 1
        if newest.epoch == chunk.id.epoch:
            until = chunk.decode_time if not missing else newest.end
            self._end_open(window, until)
            self._name_lost(window, newest, missing, chunk.decode_time - newest.end)
            return
        unseen = self.tracks[window.number].discontinuity - newest.track.discontinuity - 1
        if 0 <= unseen <= missing:
            # Numbers that may have been given out by a publisher that died (docs/protocol.md, section 2.1).
            self._name_lost(window, newest, missing, missing * _usual_ticks(newest.track), unseen)

    def _name_lost(self, window: TrackWindow, newest: Segment, missing: int, ticks: int, unseen: int = 0) -> None:
        """Name `missing` segments after `newest`, which take `ticks` together, as gaps.

        The last `unseen` of them stand for an epoch each that was announced and never came.
        """
        if missing > LOST_MAX:
            return
        for index in range(missing):
            later = newest.track.discontinuity + max(0, unseen - missing + index + 1)
            track = newest.track if not unseen else msgspec.structs.replace(newest.track, discontinuity=later)
            lost = Segment(newest.epoch, track, newest.number + 1 + index, newest.end + ticks * index // missing)
            lost.lose(newest.end + ticks * (index + 1) // missing)
            window.segments[lost.number] = lost
            window.version += 1

    def _end_open(self, window: TrackWindow, until: int | None) -> None:
        """End the open segment, if any, as a gap up to `until` ticks, or of the usual length when its epoch ended."""
        newest = window.newest
        if newest is None or newest.closed:
            return
        self.bytes -= newest.bytes
        newest.lose(newest.start + _usual_ticks(newest.track) if until is None else until)
        window.version += 1

    def _finish(self, window: TrackWindow) -> None:
        """Close the open segment, if any, with what came of it: whoever said that the stream is over said no more."""
        newest = window.newest
        if newest is None or newest.closed:
            return
        window.cut_off = newest
        if newest.parts:
            newest.close()
        else:
            self._forget((window.segments.pop(newest.number),))
        self._trim(window)

    def _reopen(self, window: TrackWindow) -> None:
        """The stream goes on after its end, of which those that begin later hear nothing: it is as if it was not."""
        cut_off, window.cut_off = window.cut_off, None
        if cut_off is not None and (window.newest is cut_off or not cut_off.parts):
            cut_off.closed = False
            window.segments[cut_off.number] = cut_off

    def _place_empty(self, window: TrackWindow, segment: Segment, end: int) -> None:
        """Give a segment that never had media the time that its neighbours leave for it."""
        before = window.segments.get(segment.number - 1)
        if before is not None and before.epoch == segment.epoch:
            segment.start = before.end
        else:
            segment.start = end - _usual_ticks(segment.track)
        segment.lose(max(end, segment.start))

    def _trim(self, window: TrackWindow) -> None:
        newest = window.newest
        assert newest is not None
        keep = self.limits.seconds + self.limits.grace_seconds
        over = newest.end_seconds - keep
        self._drop_oldest(window, lambda segment: segment.end_seconds < over)
        while self.bytes > self.limits.bytes:
            fullest = max(self.windows.values(), key=lambda each: sum(one.bytes for one in each.segments.values()))
            if len(fullest.segments) < 2:
                break
            self._forget((fullest.segments.pop(next(iter(fullest.segments))),))
            fullest.version += 1
        held = {segment.epoch for each in self.windows.values() for segment in each.segments.values()} | {self.epoch}
        self.epochs = {epoch: tracks for epoch, tracks in self.epochs.items() if epoch in held}

    def _drop_oldest(self, window: TrackWindow, is_old: Callable[[Segment], bool]) -> None:
        old = []
        for segment in window.segments.values():
            if not segment.closed or not is_old(segment):
                break
            old.append(segment)
        for segment in old:
            del window.segments[segment.number]
        self._forget(old)

    def _forget(self, segments: Iterable[Segment]) -> None:
        self.bytes -= sum(segment.bytes for segment in segments)


def _usual_ticks(track: Track) -> int:
    """Return how long a segment is that nothing is known of: as long as most."""
    return round((track.segment_seconds or 1.0) * track.timescale)
