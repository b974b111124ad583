"""A stream of another cluster as it comes: over a relay link, or the way a player gets it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.relay.link import NORMAL, CannotSubscribe
from headrace.session.border import SUBSCRIBER, Border, BorderError, Far
from headrace.session.link import Link, LinkError
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, StreamState, Track


class Taker(Protocol):
    """Who takes what comes; all are called from the event loop."""

    def opened(self, epoch: Epoch, tracks: tuple[Track, ...]) -> None: ...

    def came(self, chunk: Chunk) -> None: ...

    def told(self, state: StreamState, reason: str) -> None: ...


class Upstream(Protocol):
    """One way to get a stream of another cluster."""

    async def follow(self, taker: Taker, after: Mapping[int, ChunkId] | None) -> None:
        """Have `taker` take the stream, on after those chunks; cancel it to end.

        Raises:
            BorderError: when it does not come, or comes no more.
        """


class NoUpstream:
    """What never comes, since its address leads nowhere."""

    def __init__(self, error: BorderError) -> None:
        self._error = error

    async def follow(self, taker: Taker, after: Mapping[int, ChunkId] | None) -> None:
        """See `Upstream`."""
        raise self._error


class LinkFeed:
    """What comes over a link, until `ended` says why nothing does any more."""

    def __init__(self, taker: Taker) -> None:
        self.ended: asyncio.Future[BorderError] = asyncio.get_running_loop().create_future()
        self._taker = taker

    def tracks_received(self, epoch: Epoch, tracks: tuple[Track, ...]) -> None:
        """Pass an epoch on."""
        self._taker.opened(epoch, tracks)

    def state_received(self, state: StreamState, reason: str, route: tuple[RouteHop, ...]) -> None:
        """Pass a state on."""
        self._taker.told(state, reason)

    def gap_received(self, following: ChunkId) -> None:
        """The numbers that are missing tell it again."""

    def chunk_received(self, chunk: Chunk, sent_us: int) -> None:
        """Pass a chunk on."""
        self._taker.came(chunk)

    def refused(self, code: str, reason: str) -> None:
        """End: the other side does not deliver."""
        self._end(BorderError("refused", f"the other server refuses: {code} {reason}".rstrip()))

    def link_lost(self, reason: str) -> None:
        """End: the other side is gone."""
        self._end(BorderError("lost", f"the link to the other server ended: {reason}"))

    def parent_leaving(self) -> None:
        """It delivers until it goes; then the link is dialled again."""

    def _end(self, error: BorderError) -> None:
        if not self.ended.done():
            self.ended.set_result(error)


class NothingServed:
    """The sender and owner of a link on which nothing is delivered."""

    is_idle = True

    def __init__(self) -> None:
        self._link: Link | None = None

    def link_opened(self, link: Link) -> NothingServed:
        """Serve it."""
        self._link = link
        return self

    def link_ended(self, link: Link, end: LinkError) -> None:
        """Who uses the link is told by its feed."""

    def offers_changed(self, link: Link) -> None:
        """Nothing is taken that was not asked for."""

    def subscribe(
        self, handle: int, stream: StreamName, after: Mapping[int, ChunkId] | None, history_seconds: float
    ) -> None:
        """Refuse."""
        self._refuse(handle)

    def recall(self, handle: int, stream: StreamName, history_seconds: float) -> None:
        """Refuse."""
        self._refuse(handle)

    def unsubscribe(self, handle: int) -> None:
        """Nothing was served."""

    def became_writable(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing was served."""

    def _refuse(self, handle: int) -> None:
        if self._link is not None:
            self._link.refuse(handle, "not_here", "nothing is delivered on this link")


class RelayUpstream:
    """A stream over a relay link of its own.

    Args:
        border: makes the link.
        far: where to, or the name of a node of this cluster.
        stream: its name there.
    """

    def __init__(self, border: Border, far: Far | str, stream: StreamName) -> None:
        self._border = border
        self._far = far
        self._stream = stream

    async def follow(self, taker: Taker, after: Mapping[int, ChunkId] | None) -> None:
        """See `Upstream`."""
        far = self._border.own(self._far) if isinstance(self._far, str) else self._far
        link = await self._border.link(far, SUBSCRIBER, NothingServed())
        feed = LinkFeed(taker)
        try:
            link.subscribe(self._stream, after, 0.0, feed)
            raise await feed.ended
        except CannotSubscribe as error:
            raise BorderError("refused", str(error)) from None
        finally:
            link.close(NORMAL, "stopped")
