"""The edge: every fan-out of this process, who may come in, the heartbeat, and leaving in good order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from headrace.access.gate import Gate
from headrace.access.passes import Pass
from headrace.access.policy import Asked
from headrace.access.tokens import TokenRefused
from headrace.clock import Clock, microseconds, next_beat
from headrace.identifiers import ChunkId, NodeId, StreamName
from headrace.relay.broadcast import Broadcast
from headrace.relay.hub import Hub
from headrace.wire import play
from headrace_edge.addresses import rank_edges, socket_url
from headrace_edge.asking import status_of
from headrace_edge.fanout import FanOut, FanOutLimits
from headrace_edge.frames import CloseCode
from headrace_edge.framing import Framing, PlayFraming, message_frame
from headrace_edge.metrics import EdgeMetrics
from headrace_edge.seeing import SeenBy
from headrace_edge.sender import Sender
from headrace_edge.spreading import CallSpreader, Spreader, make_spreader
from headrace_edge.viewer import Viewer

DRAIN_SECONDS = 1.5
"""How long players may take to move to another edge before this one closes their connections."""

SWEEP_SECONDS = 1.0
"""How often stuck viewers are looked for."""

CUT_AT_ONCE, CUT_SECONDS = 20, 0.02
"""Stuck viewers of a fan-out cut off in one turn, and the seconds to the next while there are more: each has its end to
be told and logged, and thousands may be due together."""

QUIET_SHARE = 0.25
"""Part of a heartbeat for which nothing was sent before a ping is: a stream that flows needs no pings, and ten thousand
players no ten thousand pongs a second; between two messages there is at most a heartbeat and this."""

PINGS_AT_ONCE = 100
"""Pings in one turn: a millisecond. Ten thousand who wait for a stream are pinged, and others watch meanwhile."""

CLOSING_SECONDS = 0.5
"""How long players may take to answer the close when the edge stops; they have nothing to finish."""

log = structlog.get_logger(__name__)


class Refusal(Exception):
    """A viewer that is not let in now.

    Attributes:
        code: a short word for metrics.
        reason: for people.
        status: the HTTP status that says it before the handshake.
    """

    def __init__(self, code: str, reason: str, status: int = 503) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.status = status

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True)
class EdgeOptions:
    """How an edge serves.

    Attributes:
        node: its node id.
        region: where it is; edges of the same region are told to players first.
        public_url: where browsers reach it; empty when every request says it best (its Host header).
        viewers_max: most viewers at all doors together.
        heartbeat_seconds: how often players are pinged.
        fan_out: what slow viewers are allowed.
    """

    node: NodeId
    region: str = ""
    public_url: str = ""
    viewers_max: int = 10_000
    heartbeat_seconds: float = 1.0
    fan_out: FanOutLimits = field(default_factory=FanOutLimits)


class Edge:
    """Brings viewers and streams together.

    `spawn` runs a coroutine under a name, as a task that this edge ends.

    Attributes:
        options: how it serves.
        metrics: what it counts.
        clock: its time.
        registry: who else is there.
        gate: who may watch; `None` when everybody may.
        elsewhere: how many viewers this node has in other processes; they count against its limit.
    """

    def __init__(
        self,
        options: EdgeOptions,
        hub: Hub,
        registry: SeenBy,
        clock: Clock,
        metrics: EdgeMetrics,
        spawn: Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]],
        gate: Gate | None = None,
    ) -> None:
        self.gate = gate
        self.options = options
        self.metrics = metrics
        self.clock = clock
        self.registry = registry
        self.elsewhere = 0
        self._spawn = spawn
        self._hub = hub
        self._fan_outs: dict[tuple[StreamName, str], FanOut] = {}
        self._conversations: set[asyncio.Task[None]] = set()
        self._spreader: Spreader = CallSpreader()
        self._viewers = 0
        self._draining = False
        self._sent_away = False
        self._pings = 0
        self._others: tuple[str, ...] = ()
        self._told_others: tuple[str, ...] = ()
        self._others_changed = True
        self._empty = asyncio.Event()
        self._empty.set()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def viewers(self) -> int:
        """How many viewers are connected, at all doors."""
        return self._viewers

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin the heartbeat; viewers may come before."""
        self.registry.watchers.add(self._note_change)
        self._told_others = self._find_others()
        self._spreader = make_spreader()
        self._tasks = [self._spawn("edge-heartbeat", self._beat()), self._spawn("edge-sweep", self._sweep())]

    async def stop(self) -> None:
        """Send players elsewhere where there is an elsewhere, then close every connection."""
        self._draining = True
        self.registry.watchers.discard(self._note_change)
        others = self._find_others()
        self._tell(message_frame(play.GoingAway(edges=others)))
        if others:
            await self._wait_empty(DRAIN_SECONDS)
        for fan_out in tuple(self._fan_outs.values()):
            fan_out.finish(CloseCode.GOING_AWAY, "going_away")
        await self._wait_empty(CLOSING_SECONDS)
        tasks = [*self._tasks, *self._conversations]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._spreader.close()

    async def _wait_empty(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()

    # -- viewers -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def seat(self, door: str) -> Iterator[None]:
        """Take one of the places for viewers for as long as the block lasts.

        Raises:
            Refusal: `full` when none is left, `draining` when this edge goes away.
        """
        if self._draining:
            raise self.refusal(door, "draining", "this edge goes away; connect to another one")
        if (viewers := self._viewers + self.elsewhere) >= self.options.viewers_max:
            raise self.refusal(door, "full", f"this edge has {viewers} viewers, its limit; try another one")
        gauge = self.metrics.viewers.labels(door)
        self._viewers += 1
        self._empty.clear()
        gauge.inc()
        try:
            yield
        finally:
            gauge.dec()
            self._viewers -= 1
            if not self._viewers:
                self._empty.set()

    def refusal(self, door: str, code: str, reason: str, status: int = 503) -> Refusal:
        """Count a viewer that is turned away and return what to raise or to say."""
        self.metrics.refused.labels(door, code).inc()
        return Refusal(code, reason, status)

    @contextlib.asynccontextmanager
    async def admitted(self, door: str, asked: Asked) -> AsyncIterator[Pass]:
        """Let a viewer in for as long as the block lasts; who must go earlier is told by the pass.

        Raises:
            Refusal: when the gate does not let it in.
        """
        if self.gate is None:
            yield Pass(asked)
            return
        try:
            held = await self.gate.admit(replace(asked, door=door))
        except TokenRefused as refused:
            raise self.refusal(door, refused.code, refused.reason, status_of(refused.code)) from None
        try:
            yield held
        finally:
            self.gate.leave(held)

    def host(
        self, sender: Sender, conversation: Coroutine[Any, Any, None], held: contextlib.AbstractAsyncContextManager[Any]
    ) -> None:
        """Let `conversation` go on after the viewer's request was answered; at its end `held` is released."""
        task = asyncio.create_task(self._converse(sender, conversation, held), name="viewer")
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)

    async def _converse(
        self, sender: Sender, conversation: Coroutine[Any, Any, None], held: contextlib.AbstractAsyncContextManager[Any]
    ) -> None:
        async with held:
            try:
                await conversation
            except Exception:
                log.exception("conversation_failed")  # a fault of ours, and the end of this viewer's connection only
                sender.abort()
            except asyncio.CancelledError:
                sender.abort()
                raise

    @contextlib.contextmanager
    def watching(
        self,
        name: StreamName,
        framing: Framing,
        sender: Sender,
        after: Mapping[int, ChunkId] | None = None,
        session: str = "",
    ) -> Iterator[Viewer]:
        """Send stream `name` to `sender` for as long as the block lasts, and log it at its end.

        Raises:
            TooManyStreams: when the stream is not carried here and no more can be.
        """
        began = self.clock.monotonic()
        demand = self._hub.demand(name, after)  # one for each viewer: their number is the load that the node announces
        fan_out = self._fan_outs.get((name, framing.door)) or self._open(demand.broadcast, framing)
        viewer = fan_out.add(sender, after)
        try:
            yield viewer
        finally:
            fan_out.remove(viewer)
            if not fan_out.viewers:
                self._close(name, fan_out)
            demand.release()
            log.info(
                "viewer_left",
                door=framing.door,
                stream=name,
                seconds=round(self.clock.monotonic() - began, 1),
                sent_bytes=viewer.sent_bytes,
                skips=viewer.skips,
                **({"session": session} if session else {}),
            )

    def _open(self, broadcast: Broadcast, framing: Framing) -> FanOut:
        counts = self.metrics.output(framing.door)
        fan_out = FanOut(broadcast, framing, self.options.fan_out, counts, self.clock, spreader=self._spreader)
        self._fan_outs[broadcast.name, framing.door] = fan_out
        self.metrics.outputs.labels(framing.door).inc()
        return fan_out

    def _close(self, name: StreamName, fan_out: FanOut) -> None:
        door = fan_out.framing.door
        if self._fan_outs.get((name, door)) is fan_out:
            del self._fan_outs[name, door]
            fan_out.close()
            self.metrics.outputs.labels(door).dec()

    # -- other edges -------------------------------------------------------------------------------------------------

    def edges(self, asked: str) -> tuple[str, ...]:
        """Return the base URLs of the edges, this one first: its public URL, else `asked`, where the player is.

        Players are told of changes only, so all must know the same: if these are news, the others are told now.
        """
        self._tell_others()
        own = socket_url(self.options.public_url or asked)
        return (own, *(url for url in self._find_others() if url != own))

    def _note_change(self) -> None:
        self._others_changed = True
        self._follow_orders()

    def _follow_orders(self) -> None:
        """While this edge's node drains take nobody new, and send players elsewhere as soon as there is one."""
        own = self.registry.nodes.get(self.options.node)
        self._draining = own is not None and own.draining
        if self._draining and not self._sent_away and (others := self._find_others()):
            self._sent_away = True
            self._tell(message_frame(play.GoingAway(edges=others)))
        elif not self._draining:
            self._sent_away = False

    def _find_others(self) -> tuple[str, ...]:
        if self._others_changed:
            self._others_changed = False
            self._others = rank_edges(self.options.node, self.options.region, self.registry.nodes.values())
        return self._others

    def _tell_others(self) -> None:
        """Tell players when edges came or went; a new order alone is no news."""
        others = self._find_others()
        if set(others) != set(self._told_others):
            self._told_others = others
            own = (socket_url(self.options.public_url),) if self.options.public_url else ()
            self._tell(message_frame(play.Edges(edges=own + others)))

    # -- heartbeat ---------------------------------------------------------------------------------------------------

    def utc_us(self) -> int:
        """Return the UTC in microseconds."""
        return microseconds(self.clock.utc())

    async def _beat(self) -> None:
        while True:
            await next_beat(self.options.heartbeat_seconds)
            self._pings += 1
            ping = message_frame(play.Ping(id=self._pings, utc_us=self.utc_us()))
            quiet = self.options.heartbeat_seconds * QUIET_SHARE
            silent = [sender for fan_out in self._players() for sender in fan_out.silent(quiet)]
            for number, sender in enumerate(silent, 1):
                sender.write(ping)
                if number % PINGS_AT_ONCE == 0:
                    await asyncio.sleep(0)
            self._tell_others()

    async def _sweep(self) -> None:
        while True:
            more = [fan_out.sweep(CUT_AT_ONCE) for fan_out in tuple(self._fan_outs.values())]
            await (asyncio.sleep(CUT_SECONDS) if any(more) else next_beat(SWEEP_SECONDS))

    def _players(self) -> list[FanOut]:
        return [fan_out for fan_out in self._fan_outs.values() if isinstance(fan_out.framing, PlayFraming)]

    def _tell(self, frame: bytes) -> None:
        """Send `frame` to every player."""
        for fan_out in self._players():
            fan_out.tell(frame)
