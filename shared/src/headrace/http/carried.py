"""What a node carries, told to the control API: by which way each stream comes, how fast, and how late.

It is measured when somebody asks, from what the node holds and hears anyway; nobody who does not ask pays for it.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import hdrs, web

from headrace.clock import Clock
from headrace.http.proof import is_of_cluster
from headrace.identifiers import InvalidName, stream_name
from headrace.relay.broadcast import Broadcast
from headrace.relay.hub import Hub
from headrace.wire.chunk import RECORD_HEADER_BYTES, Chunk

CARRIED: Final = "/carried"

LISTEN_SECONDS: Final = 0.6
"""How long chunks are listened to for their age: half a dozen chunks of 100 ms."""

STREAMS_MAX: Final = 10_000
"""Most streams whose route one answer tells; a node carries no more."""

LISTENERS_MAX: Final = 64
"""Most measurements at once."""


class CarriedDoor:
    """Answers `GET /carried` and `GET /carried/{stream}` of processes of the same cluster.

    Args:
        hub: the streams of this process.
        node: whose they are.
        secret: that the cluster shares; without one only this machine is answered.
        clock: its time.
    """

    def __init__(self, hub: Hub, node: str, secret: str, clock: Clock) -> None:
        self._hub = hub
        self._node = node
        self._secret = secret
        self._clock = clock
        self._listening = 0

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.add_routes([web.get(CARRIED, self._list), web.get(CARRIED + "/{stream:.+}", self._measure)])

    async def _list(self, request: web.Request) -> web.Response:
        self._check(request)
        carried = list(self._hub.streams.items())[:STREAMS_MAX]
        routes = {name: route_of(broadcast) for name, broadcast in carried if broadcast.epoch}
        return _json({"node": self._node, "routes": routes})

    async def _measure(self, request: web.Request) -> web.Response:
        self._check(request)
        try:
            broadcast = self._hub.streams.get(stream_name(request.match_info["stream"]))
        except InvalidName as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        if broadcast is None or not broadcast.epoch:
            raise web.HTTPNotFound(text=f"{self._node} does not carry it")
        if self._listening >= LISTENERS_MAX:
            raise web.HTTPServiceUnavailable(text="too many measurements at once")
        self._listening += 1
        try:
            age = await age_of(broadcast, self._clock)
        finally:
            self._listening -= 1
        return _json(
            {
                "node": self._node,
                "state": broadcast.state.state.value,
                "route": route_of(broadcast),
                "bitrates": {str(track): bits for track, bits in bitrates(broadcast).items()},
                "age_seconds": age,
            }
        )

    def _check(self, request: web.Request) -> None:
        if not is_of_cluster(request, self._secret, self._clock.utc()):
            raise web.HTTPForbidden(text="only processes of this cluster are answered")


def route_of(broadcast: Broadcast) -> list[str]:
    """Return the nodes that a stream came through, this one last."""
    return [hop.node for hop in broadcast.state.route]


def bitrates(broadcast: Broadcast) -> Mapping[int, int]:
    """Return the bits a second of each track, of the media that the ring holds of this epoch."""
    held: dict[int, list[Chunk]] = {}
    for entry in broadcast.read(broadcast.replay()):
        if isinstance(entry, Chunk) and entry.id.epoch == broadcast.epoch and entry.duration:
            held.setdefault(entry.id.track, []).append(entry)
    found = {}
    for number, chunks in held.items():
        ticks = chunks[-1].decode_time + chunks[-1].duration - chunks[0].decode_time
        length = sum(len(chunk.record) - RECORD_HEADER_BYTES for chunk in chunks)
        if ticks > 0:
            found[number] = round(8 * length * broadcast.tracks[number].timescale / ticks)
    return found


async def age_of(broadcast: Broadcast, clock: Clock) -> float | None:
    """Return how old chunks are when they get here, in seconds: the median over `LISTEN_SECONDS`, `None` without any.

    It is the time since the capture of a chunk's last sample, as the clocks of this node and of the ingress tell it.
    """
    ages: list[float] = []
    seen = dict(broadcast.last)

    def note() -> None:
        now = clock.utc()
        for number, chunk in broadcast.last.items():
            track = broadcast.tracks.get(number)
            if seen.get(number) is chunk or track is None:
                continue
            seen[number] = chunk
            if chunk.samples and chunk.capture_us:
                before_last = chunk.duration * (chunk.samples - 1) / chunk.samples / track.timescale
                ages.append(now - chunk.capture_us / 1_000_000 - before_last)

    broadcast.listeners.add(note)
    try:
        await asyncio.sleep(LISTEN_SECONDS)
    finally:
        broadcast.listeners.discard(note)
    return round(statistics.median(ages), 4) if ages else None


def _json(document: Mapping[str, Any]) -> web.Response:
    return web.json_response(document, headers={hdrs.CACHE_CONTROL: "no-store"})
