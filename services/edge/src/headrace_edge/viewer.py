"""A viewer: a place in a stream and a few counters."""

from __future__ import annotations

from typing import Protocol

from headrace.relay.broadcast import Cursor, Opened
from headrace_edge.sender import Sender


class Owner(Protocol):
    """Who is told how the ways to its viewers are."""

    def pause(self, viewer: Viewer) -> None:
        """Too much is unsent."""
        ...

    def resume(self, viewer: Viewer) -> None:
        """What was unsent was taken."""
        ...

    def remove(self, viewer: Viewer) -> None:
        """Nothing more can be sent."""
        ...


class Viewer:
    """One viewer of a fan-out, made by that; its sender's listener.

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
        "_owner",
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

    def __init__(self, owner: Owner, sender: Sender, cursor: Cursor, mark: int, now: float) -> None:
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
        self._owner = owner

    def paused(self) -> None:
        self._owner.pause(self)

    def resumed(self) -> None:
        self._owner.resume(self)

    def lost(self) -> None:
        self._owner.remove(self)
