"""Whom a link speaks with on its own side: who receives a stream over it, and who serves what the peer asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, StreamState, Track


class Feed(Protocol):
    """Who receives one stream over a link."""

    def tracks_received(self, epoch: Epoch, tracks: tuple[Track, ...]) -> None: ...

    def state_received(self, state: StreamState, reason: str, route: tuple[RouteHop, ...]) -> None: ...

    def gap_received(self, following: ChunkId) -> None: ...

    def chunk_received(self, chunk: Chunk, sent_us: int) -> None: ...

    def refused(self, code: str, reason: str) -> None:
        """The subscription is over: the parent ended it."""

    def link_lost(self, reason: str) -> None:
        """The subscription is over: the link ended."""

    def parent_leaving(self) -> None:
        """The parent will stop soon; it delivers until then."""


class Sender(Protocol):
    """Who serves the peer's subscriptions."""

    def subscribe(
        self, handle: int, stream: StreamName, after: Mapping[int, ChunkId] | None, history_seconds: float
    ) -> None: ...

    def recall(self, handle: int, stream: StreamName, history_seconds: float) -> None: ...

    def unsubscribe(self, handle: int) -> None: ...

    def became_writable(self) -> None: ...

    @property
    def is_idle(self) -> bool:
        """Whether it serves nothing now."""

    def close(self) -> None:
        """The link is over: release everything."""
