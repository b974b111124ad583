"""An outlet: one stream kept ready for HTTP, with everything that is said of it made once.

It reads the stream's broadcast once in a turn of the event loop, whatever the number of requests, keeps a window of it
and texts made from that. Who waits for a part shares one future with all others who wait for it; the body that they all
get is made by the first. A wait ends by itself after a while, for everybody at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from headrace.clock import Clock
from headrace.media.manifest import ManifestView, manifest
from headrace.media.playlists import MediaView, media_playlist, multivariant_playlist
from headrace.media.segments import Segment, media_bytes
from headrace.relay.broadcast import Opened
from headrace.relay.hub import Demand
from headrace.relay.window import TrackWindow, Window, WindowLimits
from headrace.wire.chunk import Chunk
from headrace.wire.stream import StreamState
from headrace_edge.live.answers import Text
from headrace_edge.live.mending import Mending
from headrace_edge.live.past import Past, Recall

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
MANIFEST_TYPE = "application/dash+xml"

TEXTS_MAX = 64
"""Most texts kept for one stream: two for each of some tracks and ends, and some places to start at."""

BODIES_MAX_BYTES = 16 * 1024 * 1024
"""Most bytes of parts and segments kept joined, for one stream: what is asked for by many is the newest of it."""


@dataclass(slots=True)
class _Wait:
    ready: Callable[[], bool]
    future: asyncio.Future[None]
    timer: asyncio.TimerHandle


class Outlet:
    """One stream by HTTP, from its first request until it is closed.

    Attributes:
        window: what can be named.
        used_at: when it was asked for last, by the monotonic clock.
        published_at: when somebody was last known to publish it, by that clock.
        waiting: requests that wait now.
        turns: how often it has read on: what was said of it in one turn is true until the next.
    """

    def __init__(self, demand: Demand, limits: WindowLimits, clock: Clock, recall: Recall | None = None) -> None:
        self.window = Window(limits)
        self.used_at = self.published_at = clock.monotonic()
        self.waiting = 0
        self.turns = 0
        self._known = False
        self._demand = demand
        self._broadcast = demand.broadcast
        held_seconds = limits.seconds + limits.grace_seconds
        self._past = Past(self._broadcast.name, held_seconds, recall, clock)
        self._mending = Mending(self._broadcast.name, held_seconds, recall)
        self._cursor = self._broadcast.replay()
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._closed = False
        self._waits: dict[Hashable, _Wait] = {}
        self._texts: dict[Hashable, tuple[Hashable, Text]] = {}
        self._bodies: dict[Hashable, bytes] = {}
        self._bodies_bytes = 0
        self._broadcast.listeners.add(self._schedule)
        self._read()

    @property
    def is_late(self) -> bool:
        """Whether media that were waited for in vain should have come: nobody has said that the source is away."""
        return self.window.state is StreamState.LIVE and not self._closed

    @property
    def is_known(self) -> bool:
        """Whether there is anything to list, and nothing older is expected."""
        if not self._known:
            lead = self.window.lead
            self._known = (
                self._past.settled
                and lead is not None
                and lead.head[1] >= 0
                and bool(lead.listed(self.window.limits.seconds))
            )
        return self._known

    def close(self) -> None:
        """Let go of the stream; who waits is woken."""
        self._closed = True
        self._past.stop()
        self._mending.stop()
        self._broadcast.listeners.discard(self._schedule)
        for key in tuple(self._waits):
            self._wake(key)
        self._demand.release()

    # -- waiting ---------------------------------------------------------------------------------------------------

    async def wait(self, key: Hashable, ready: Callable[[], bool], seconds: float) -> bool:
        """Wait until `ready()`, and return it; False after `seconds` of the first who waits for the same `key`."""
        if ready() or self._closed:
            return ready()
        wait = self._waits.get(key)
        if wait is None:
            timer = self._loop.call_later(seconds, self._wake, key)
            wait = self._waits[key] = _Wait(ready, self._loop.create_future(), timer)
        self.waiting += 1
        try:
            await asyncio.shield(wait.future)
        finally:
            self.waiting -= 1
        return ready()

    def _wake(self, key: Hashable) -> None:
        wait = self._waits.pop(key)
        wait.timer.cancel()
        if not wait.future.done():
            wait.future.set_result(None)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._closed:
            return
        self._read()
        for key in [key for key, wait in self._waits.items() if wait.ready()]:
            self._wake(key)

    def _read(self) -> None:
        self.turns += 1
        for entry in self._broadcast.read(self._cursor):
            self.window.take(entry)
        if self.window.epoch and not self._past.settled:
            self._past.look(self._broadcast.reach_seconds, self._begin_earlier)

    def _begin_earlier(self) -> None:
        """The past came: begin with it, and take what is held here after it. Nobody was answered before."""
        if self._closed:
            return
        self.turns += 1
        if self._past.entries:
            self.window = Window(self.window.limits)
            for entry in self._past.entries:
                self.window.take(entry)
            self._past.entries = ()
            self._cursor = self._broadcast.replay()
        self._schedule()

    def mend(self, segment: Segment) -> bool:
        """Ask this edge's parent for a segment that was lost, once; return whether that is under way."""
        return segment.lost and self._mending.ask(segment, self._take_missing)

    @property
    def is_mending(self) -> bool:
        """Whether the parent's answer to that is awaited."""
        return self._mending.is_asking

    def _take_missing(self, entries: Sequence[Opened | Chunk]) -> None:
        self.turns += 1
        self.window.mend(entries)
        self._schedule()

    # -- texts -----------------------------------------------------------------------------------------------------

    def index(self, start_seconds: float | None) -> Text:
        """Return the multivariant playlist."""
        return self._text(
            ("index", start_seconds),
            tuple(self.window.tracks.values()),
            lambda: multivariant_playlist(self.window.tracks, start_seconds),
            PLAYLIST_TYPE,
        )

    def playlist(self, track: TrackWindow, *, skip: bool, last: Segment | None = None) -> Text | None:
        """Return the media playlist of a track; `None` while there is nothing to list.

        Args:
            track: of the window.
            skip: whether it shall be a delta update.
            last: what it ends with, of `TrackWindow.end_with`; `None` for all there is.
        """
        if self.window.ended:
            last = None
        segments = track.listed(self.window.limits.seconds, last)
        if not segments:
            return None
        end = segments[-1]
        key = ("playlist", track.number, skip, end.number, end.parts_listed, end.closed)

        def render() -> str:
            return media_playlist(MediaView(segments, self.window.ended, self.window.epochs), skip=skip)

        return self._text(key, (track.since, track.version), render, PLAYLIST_TYPE)

    def manifest(self, start_seconds: float | None) -> Text | None:
        """Return the DASH manifest as it stands; `None` while there is nothing to list."""
        tracks = [self._timed(window) for _, window in sorted(self.window.windows.items())]
        if not any(tracks):
            return None
        view = ManifestView(
            [segments for segments in tracks if segments],
            self.window.limits.seconds,
            self.window.ended,
            start_seconds,
            self.window.tracks.values(),
        )
        versions = tuple((window.number, window.since, window.progress) for window in self.window.windows.values())
        return self._text(("manifest", start_seconds), versions, lambda: manifest(view), MANIFEST_TYPE)

    def _timed(self, window: TrackWindow) -> list[Segment]:
        """Return what the manifest lists of a track: as in HLS, and the open segment from its first chunk on.

        It goes back a little further than it says that one may seek: FFmpeg begins a minute before the end, whatever
        is said, and begins again where the first that is listed is what it wants next.
        """
        limits = self.window.limits
        segments = window.listed(limits.seconds + limits.grace_seconds / 2)
        newest = window.newest
        if newest is not None and not self.window.ended and newest.parts and not (segments and segments[-1] is newest):
            segments.append(newest)
        return segments

    def _text(self, key: Hashable, version: Hashable, render: Callable[[], str], content_type: str) -> Text:
        held = self._texts.get(key)
        if held is None or held[0] != version:
            if len(self._texts) > TEXTS_MAX:
                self._texts.clear()
            held = self._texts[key] = (version, Text.make(render(), content_type))
        return held[1]

    # -- media -----------------------------------------------------------------------------------------------------

    def body(self, segment: Segment, part: int | None) -> bytes:
        """Return the media of a whole segment, or of one of its whole parts."""
        key = (segment.epoch, segment.track.track, segment.number, part)
        body = self._bodies.get(key)
        if body is None:
            chunks = segment.chunks() if part is None else segment.parts[part].chunks
            body = self._bodies[key] = media_bytes(chunks)
            self._bodies_bytes += len(body)
            while self._bodies_bytes > BODIES_MAX_BYTES and len(self._bodies) > 1:
                self._bodies_bytes -= len(self._bodies.pop(next(iter(self._bodies))))
        return body
