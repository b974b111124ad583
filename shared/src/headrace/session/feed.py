"""One stream from one parent: what a link delivers, handed to the fetch that asked for it."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Mapping
from typing import Protocol

from headrace.identifiers import ChunkId, Epoch, NodeId, StreamName
from headrace.registry.placement import Candidate
from headrace.relay.broadcast import Broadcast, Gap, StateChange
from headrace.session.link import Link, LinkError
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, StreamState, Track


class FeedEnd(enum.Enum):
    """Why a parent's feed does not do any more."""

    LOST = "lost"
    """The link ended."""
    REFUSED = "refused"
    """The parent refused the subscription or ended it."""
    LOOP = "loop"
    """The parent is fed by this node."""
    ASTRAY = "astray"
    """The parent has no way to the stream's source; it delivers if it finds one."""
    LEAVING = "leaving"
    """The parent stops soon; it delivers until then."""
    MOVED = "moved"
    """Somebody moved the stream to another parent; this one delivers until that one does."""
    NEARER = "nearer"
    """The stream had gone past the node's layer, which is there again; this one delivers until that one does."""


class FeedOwner(Protocol):
    """Who fetches the stream."""

    @property
    def broadcast(self) -> Broadcast: ...

    def chunk_came(self, feed: ParentFeed, chunk: Chunk, sent_us: int) -> None: ...

    def state_came(self, feed: ParentFeed, state: StreamState, reason: str, route: tuple[RouteHop, ...]) -> None: ...

    def feed_over(self, feed: ParentFeed) -> None: ...


class ParentFeed:
    """One subscription to one parent, until `ended` says why it does not do any more.

    Attributes:
        candidate: the parent, as it was chosen.
        delivers: a chunk or a good state has come.
        is_astray: the parent said that it has no way to the source.
        is_overdue: it has had the time to find one.
        said: what the parent said last of the stream's state, with this node at the end of the route.
        leaves: the parent said that it goes away.
        ended: done when another parent is to be looked for; what comes until the end is taken all the same.
        detail: why, for the log.
    """

    def __init__(self, fetch: FeedOwner, link: Link, candidate: Candidate) -> None:
        self.link = link
        self.candidate = candidate
        self.node = link.peer or NodeId("?")
        self.detail = ""
        self.delivers = False
        self.is_astray = False
        self.is_overdue = False
        self.leaves = False
        self.said: StateChange | None = None
        self.ended: asyncio.Future[FeedEnd] = asyncio.get_running_loop().create_future()
        self._fetch = fetch
        self._handle: int | None = None
        self._patience: asyncio.TimerHandle | None = None

    def begin(self, stream: StreamName, after: Mapping[int, ChunkId] | None, history_seconds: float) -> None:
        """Subscribe, see `RelayConnection.subscribe`.

        Raises:
            CannotSubscribe: when the link has no free handle, or its peer may not deliver the stream.
            LinkError: when the link ended meanwhile.
        """
        if not self.link.is_open:
            raise LinkError("connection_lost", f"the link to {self.node} ended")
        self._handle = self.link.subscribe(stream, after, history_seconds, self)

    def stop(self) -> None:
        """Unsubscribe, if that did not happen yet."""
        self.be_content()
        handle, self._handle = self._handle, None
        if handle is not None and self.link.is_open:
            self.link.unsubscribe(handle)

    def finish(self, end: FeedEnd, detail: str) -> None:
        """Say why it ended; the first reason counts."""
        if not self.ended.done():
            self.detail = detail
            self.ended.set_result(end)

    @property
    def may_be_kept(self) -> bool:
        """Whether nothing was wrong with it when it was ended, and nothing is yet."""
        done = self.ended.done() and self.ended.result() in (FeedEnd.MOVED, FeedEnd.NEARER)
        return done and self.delivers and not self.leaves and not self.is_astray and self.link.is_open

    def keep(self) -> None:
        """Go on after all."""
        self.ended = asyncio.get_running_loop().create_future()
        self.detail = ""

    def be_patient(self, seconds: float, on_end: Callable[[ParentFeed], None]) -> None:
        """Be overdue in so many seconds, and call `on_end` then; unless it is to be called already."""
        if self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(seconds, self._lose_patience, on_end)

    def be_content(self) -> None:
        """Nothing is overdue."""
        self.is_overdue = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self, on_end: Callable[[ParentFeed], None]) -> None:
        self._patience = None
        self.is_overdue = True
        on_end(self)

    def tracks_received(self, epoch: Epoch, tracks: tuple[Track, ...]) -> None:
        """Begin an epoch."""
        self._fetch.broadcast.open(epoch, tracks)

    def state_received(self, state: StreamState, reason: str, route: tuple[RouteHop, ...]) -> None:
        """Pass the parent's state on."""
        self._fetch.state_came(self, state, reason, route)

    def gap_received(self, following: ChunkId) -> None:
        """Pass a told gap on."""
        self._fetch.broadcast.lose(Gap(following))

    def chunk_received(self, chunk: Chunk, sent_us: int) -> None:
        """Pass a chunk on."""
        self._fetch.chunk_came(self, chunk, sent_us)

    def refused(self, code: str, reason: str) -> None:
        """End: the parent does not deliver."""
        self._handle = None
        self.finish(FeedEnd.REFUSED, f"{code}: {reason}")
        self._fetch.feed_over(self)

    def link_lost(self, reason: str) -> None:
        """End: the parent is gone."""
        self._handle = None
        self.finish(FeedEnd.LOST, reason)
        self._fetch.feed_over(self)

    def parent_leaving(self) -> None:
        """Look for another parent, while this one still delivers."""
        self.leaves = True
        self.finish(FeedEnd.LEAVING, "")
