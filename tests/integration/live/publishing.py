"""Writing a made-up programme into an edge's hub."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from headrace.identifiers import StreamName
from headrace.relay.broadcast import Broadcast, Opened
from headrace.relay.hub import Hub
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, StreamState
from unit.live.streams import Programme

EPOCH = 1_790_000_000_000


class Publisher(Protocol):
    """Whatever has the hub that a stream is published in."""

    hub: Hub


def publish(rig: Publisher, entries: Iterable[Opened | Chunk], name: str = "demo") -> Broadcast:
    """Write `entries` into the stream."""
    broadcast = rig.hub.produce(StreamName(name))
    for entry in entries:
        if isinstance(entry, Opened):
            broadcast.open(entry.epoch, entry.tracks)
            broadcast.set_state(StreamState.LIVE, "", (RouteHop("ingress-1", "ingress"),))
        else:
            broadcast.append(entry)
    return broadcast


def split(seconds: float, after: float) -> tuple[list[Opened | Chunk], list[Opened | Chunk]]:
    """Return an epoch as what comes within `after` seconds, and the rest."""
    entries = Programme().epoch(seconds)
    times = {1: 90_000, 2: 48_000}
    early = [
        entry
        for entry in entries
        if isinstance(entry, Opened) or entry.decode_time / times[entry.id.track] < 1_790_000_000 + after
    ]
    return early, entries[len(early) :] if entries[: len(early)] == early else [e for e in entries if e not in early]
