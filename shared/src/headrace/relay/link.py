"""What a link is told and what it can be: its states, its patience, its limits. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from headrace.wire.relay import HANDLE_MAX

OPENING_SECONDS = 5.0
"""How long an opening may take: several round trips around the world."""

OFFERS_MAX = 10_000
"""Most streams that one peer may offer: as many as a process carries."""

PROTOCOL_ERROR = 1002
POLICY_VIOLATION = 1008
GOING_AWAY = 1001
NORMAL = 1000

FLOOD = "flood"
"""The code of a peer that pings more often than it is answered."""


class LinkState(enum.Enum):
    """Where a link is in its life."""

    HELLO = "hello"
    """Waiting for the peer's hello."""
    PROOF = "proof"
    """Waiting for the peer's proof."""
    OPEN = "open"
    """Both sides know each other."""
    CLOSED = "closed"
    """Over; nothing is taken and nothing leaves."""


class CannotSubscribe(Exception):
    """A stream cannot be asked for on a link."""


class TooManySubscriptions(CannotSubscribe):
    """All handles of a link are in use."""

    def __str__(self) -> str:
        return f"{HANDLE_MAX} streams on one link, its limit"


class NotCovered(CannotSubscribe):
    """The peer's credential does not cover that it delivers this stream."""

    def __init__(self, key: str, stream: str) -> None:
        super().__init__(key, stream)
        self.key = key
        self.stream = stream

    def __str__(self) -> str:
        return f"key {self.key!r} does not cover that its holder delivers {self.stream!r}"


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient a link is, in seconds.

    Attributes:
        heartbeat: between two signs of life of a side.
        timeout: of silence, after which the peer counts as gone; several heartbeats.
        opening: for hello and proof.
    """

    heartbeat: float = 0.1
    timeout: float = 0.4
    opening: float = OPENING_SECONDS
