"""What a relay connection tells its user; one class for each thing that can happen (docs/protocol.md, section 4)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.identifiers import ChunkId, Epoch, NodeId, StreamName
from headrace.relay.heartbeat import ClockSample
from headrace.wire.chunk import Chunk
from headrace.wire.relay import Alternative
from headrace.wire.stream import RouteHop, StreamState, Track


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """Both proofs were good: streams may be offered and subscribed to from now on."""

    node: NodeId
    role: str
    key: str
    software: str


@dataclass(frozen=True, slots=True)
class LinkFailed:
    """The connection is over by our own decision: close the WebSocket with `close_code` and `code` as reason.

    Attributes:
        close_code: of RFC 6455, section 7.4.
        code: a short word for metrics and for the peer.
        detail: a sentence for the log; it holds no secret.
    """

    close_code: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class OffersChanged:
    """The streams that the peer offers are different now; `offers` holds them all, with their epochs."""

    offers: Mapping[StreamName, Epoch]


class Overreach(enum.Enum):
    """What a peer tried that its credential does not cover."""

    OFFER = "offer"
    """It offered a stream."""
    SUBSCRIBE = "subscribe"
    """It asked for a stream."""
    DELIVER = "deliver"
    """A stream was to be had from it, whoever said so."""


@dataclass(frozen=True, slots=True)
class Overreached:
    """The peer tried what its credential does not cover; nothing came of it."""

    what: Overreach
    stream: StreamName


@dataclass(frozen=True, slots=True)
class SubscribeReceived:
    """The peer wants a stream: answer with `send_state`, `send_tracks` and chunks, or with `refuse`."""

    handle: int
    stream: StreamName
    after: Mapping[int, ChunkId] | None
    history_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RecallReceived:
    """The peer wants a stream's past: answer with `send_tracks` and chunks, and in the end `refuse` with `done`."""

    handle: int
    stream: StreamName
    history_seconds: float


@dataclass(frozen=True, slots=True)
class UnsubscribeReceived:
    """The peer wants a stream no longer; its handle is free."""

    handle: int
    stream: StreamName


@dataclass(frozen=True, slots=True)
class TracksReceived:
    """An epoch of a stream that we subscribed to begins."""

    handle: int
    epoch: Epoch
    tracks: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class StateReceived:
    """How a stream that we subscribed to is doing."""

    handle: int
    state: StreamState
    reason: str
    route: tuple[RouteHop, ...]


@dataclass(frozen=True, slots=True)
class GapReceived:
    """Chunks of a track before `next` that were not had will not come."""

    handle: int
    next: ChunkId


@dataclass(frozen=True, slots=True)
class ChunkReceived:
    """A chunk; `sent_us` is the peer's UTC, in microseconds, when it left there."""

    handle: int
    chunk: Chunk
    sent_us: int


@dataclass(frozen=True, slots=True)
class RefusedReceived:
    """A subscription of ours is over; its handle is free."""

    handle: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class GoingAwayReceived:
    """The peer stops in `deadline_ms`: take its streams elsewhere, then unsubscribe."""

    alternatives: tuple[Alternative, ...]
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class ClockSampled:
    """A ping was answered."""

    sample: ClockSample


@dataclass(frozen=True, slots=True)
class UnknownReceived:
    """A message of a type that this version does not know was ignored."""

    kind: int


Event = (
    LinkOpened
    | LinkFailed
    | OffersChanged
    | Overreached
    | SubscribeReceived
    | RecallReceived
    | UnsubscribeReceived
    | TracksReceived
    | StateReceived
    | GapReceived
    | ChunkReceived
    | RefusedReceived
    | GoingAwayReceived
    | ClockSampled
    | UnknownReceived
)
