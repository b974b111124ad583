"""Every outlet of this edge: opened by the first request for a stream, closed when nobody has asked for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any

import structlog

from headrace.clock import Clock, next_beat
from headrace.identifiers import StreamName
from headrace.relay.hub import Hub, TooManyStreams
from headrace.relay.window import WindowLimits
from headrace.wire.stream import StreamState
from headrace_edge.live.metrics import LiveMetrics
from headrace_edge.live.outlet import Outlet
from headrace_edge.live.past import Recall
from headrace_edge.live.quick import Quick
from headrace_edge.live.ready import Shelf
from headrace_edge.live.waiting import Busy, Places
from headrace_edge.seeing import SeenBy

SWEEP_SECONDS = 1.0
"""How often idle outlets are looked for."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks.

    Attributes:
        address: whose requests are counted together, see `headrace_edge.live.waiting.whose`.
        connection: theirs; what waits ends with it.
    """

    address: str
    connection: Quick


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How an edge serves HTTP.

    Attributes:
        window: how far back one can seek, and what is held for that.
        hold_seconds: longest wait of a request for what is about to exist; players give up after ten.
        cold_seconds: longest wait for the first media of a stream.
        idle_seconds: how long a stream is kept ready after the last request for it.
        gone_seconds: how long it is answered for once nobody publishes it any more, unless it has ended: another
            ingress may take it over, whose viewers then go on. Edges that did not carry it answer 404 meanwhile.
        streams_max: most streams kept ready at once.
        waiting_max: most requests that wait at once.
    """

    window: WindowLimits = field(default_factory=WindowLimits)
    hold_seconds: float = 6.0
    cold_seconds: float = 8.0
    idle_seconds: float = 30.0
    gone_seconds: float = 30.0
    streams_max: int = 1000
    waiting_max: int = 20_000


class Outlets:
    """The outlets by stream; a component of the process.

    Attributes:
        options: how this edge serves.
        metrics: what is counted.
        clock: its time.
        shelf: the answers kept ready of every outlet.
    """

    def __init__(
        self,
        options: LiveOptions,
        hub: Hub,
        registry: SeenBy,
        clock: Clock,
        metrics: LiveMetrics,
        spawn: Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]],
        recall: Recall | None = None,
    ) -> None:
        """Serve what `hub` carries; with `recall`, begin a stream with what this edge's parent remembers of it."""
        self._recall = recall
        self.options = options
        self.metrics = metrics
        self.clock = clock
        self.shelf = Shelf()
        self._hub = hub
        self._registry = registry
        self._spawn = spawn
        self._outlets: dict[StreamName, Outlet] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._places = Places(options.waiting_max, metrics)

    async def start(self) -> None:
        """Begin to look after idle outlets."""
        self._task = self._spawn("live-sweep", self._sweep())

    async def stop(self) -> None:
        """Close every outlet; who waits is answered."""
        self._stopping = True
        for name in tuple(self._outlets):
            self._close(name)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def get(self, name: StreamName) -> Outlet | None:
        """Return the outlet of a stream, opened now if need be; `None` when nobody publishes it.

        Raises:
            Busy: when too many streams are asked for, or the edge goes away.
        """
        outlet = self._outlets.get(name)
        if outlet is None:
            if not self._exists(name):
                return None
            outlet = self._open(name)
        outlet.used_at = self.clock.monotonic()
        return outlet

    def opened(self, name: StreamName) -> Outlet | None:
        """Return the outlet of a stream where it is open."""
        return self._outlets.get(name)

    async def wait(
        self, client: Client, outlet: Outlet, key: Hashable, ready: Callable[[], bool], seconds: float
    ) -> bool:
        """Wait as `Outlet.wait` does, for as long as the client is there.

        Raises:
            Busy: when too many requests wait already.
        """
        if ready():
            return True
        with self._places.taken(client.address, cold=not outlet.is_known), client.connection.awaited():
            return await outlet.wait(key, ready, seconds)

    def _exists(self, name: StreamName) -> bool:
        """Return whether it is worth asking for: published as far as is known, or live here."""
        carried = self._hub.streams.get(name)
        is_live = carried is not None and carried.epoch != 0 and carried.state.state is StreamState.LIVE
        return is_live or self._hub.produced(name) or name in self._registry.streams

    def _open(self, name: StreamName) -> Outlet:
        if self._stopping:
            raise Busy("this edge goes away")
        if len(self._outlets) >= self.options.streams_max:
            self.metrics.refused.labels("streams").inc()
            raise Busy(f"this edge keeps {len(self._outlets)} streams ready, its limit")
        try:
            demand = self._hub.demand(name)
        except TooManyStreams as error:
            self.metrics.refused.labels("streams").inc()
            raise Busy(str(error)) from None
        outlet = self._outlets[name] = Outlet(
            demand, self.options.window, self.clock, None if self._hub.produced(name) else self._recall
        )
        self.metrics.streams.inc()
        log.info("live_opened", stream=name)
        return outlet

    def _close(self, name: StreamName) -> None:
        outlet = self._outlets.pop(name)
        self.shelf.forget(outlet)
        outlet.close()
        self.metrics.streams.dec()
        log.info("live_closed", stream=name)

    async def _sweep(self) -> None:
        while True:
            await next_beat(SWEEP_SECONDS)
            now = self.clock.monotonic()
            for name, outlet in tuple(self._outlets.items()):
                if self._exists(name):
                    outlet.published_at = now
                is_idle = not outlet.waiting and outlet.used_at < now - self.options.idle_seconds
                if is_idle or outlet.published_at < now - self._patience(outlet):
                    self._close(name)

    def _patience(self, outlet: Outlet) -> float:
        """Return how long a stream is answered for that nobody publishes: its end for who is furthest behind it."""
        window = self.options.window
        return window.seconds + window.grace_seconds if outlet.window.ended else self.options.gone_seconds
