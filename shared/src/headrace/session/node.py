"""The node: what a process is among others. It announces itself, fetches what is wanted here and serves children.

The hub says what is wanted (`Hub.on_demand`), the registry who is there, placement whom to ask; links and fetches do
the rest. Nothing here looks at media.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from headrace.clock import Clock, next_beat
from headrace.identifiers import ChunkId, NodeId, StreamName
from headrace.registry.placement import INGRESS_LAYER, Candidate
from headrace.registry.records import NodeRecord
from headrace.relay.hub import Hub
from headrace.relay.protocol import GOING_AWAY
from headrace.session.border import PUBLISHER
from headrace.session.clocks import Clocks
from headrace.session.context import FetchContext
from headrace.session.door import relay_door
from headrace.session.fetching import Fetch
from headrace.session.link import Link, LinkError
from headrace.session.links import Links
from headrace.session.metrics import PROTOCOL_ERRORS, RelayMetrics
from headrace.session.options import RelayGroup, RelayOptions
from headrace.session.parties import Sender
from headrace.session.placing import MOVE_SECONDS, Cluster, Placing, Refusal
from headrace.session.recalling import OnRecalled, Recalling, recall
from headrace.session.remembering import Remembering, remember
from headrace.session.serving import HubSender
from headrace.session.standing import busy, carrying
from headrace.session.trust import Trust
from headrace.session.upstreams import Upstreams, offered
from headrace.telemetry.faults import outlive_faults
from headrace.wire.stream import RouteHop

TICK_SECONDS = 1.0
"""How often the node's record is brought up to date and idle links are looked for."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    """A stream that is being fetched."""

    fetch: Fetch
    task: asyncio.Task[None]


class Node:
    """A node among nodes; a component with `start` and `stop`.

    Args:
        record: what the node announces of itself; streams and load are kept up to date here.
        hub: the streams of this process.
        registry: who else is there; started and closed by others.
        settings: the settings group `relay`, or options.
        clock: where the time is read.
        metrics: where the relay's metrics are exported.
        relay_url: asked at start when the record has no relay URL, for nodes that listen on any free port.

    Attributes:
        on_offers: called with a link whose peer offers other streams than before.
    """

    def __init__(
        self,
        record: NodeRecord,
        hub: Hub,
        registry: Cluster,
        settings: RelayGroup | RelayOptions,
        clock: Clock,
        metrics: CollectorRegistry,
        relay_url: Callable[[], str] | None = None,
    ) -> None:
        self.record = record
        self._hub = hub
        self._registry = registry
        self._options = settings if isinstance(settings, RelayOptions) else RelayOptions.of(settings)
        self._clock = clock
        self._relay_url = relay_url
        self._metrics = RelayMetrics.make(metrics)
        self._hop = RouteHop(record.node, record.role)
        self._clocks = Clocks(self._metrics.clock_offset)
        self._trust = Trust(self._options, record.node, record.role, record.software)
        self._links = Links(self._trust.identity, self._options, self, clock, self._metrics)
        self._upstreams = Upstreams(self._options.upstreams, self._links, hub, self._trust.covers)
        self._placing = Placing(lambda: self.record, registry, lambda: self._links.open_links, clock)
        self._context = FetchContext(
            (self._hop,) if self._options.own_hop else (),
            self._links,
            self._placing.rank,
            self._placing.owner,
            self._options.switch_seconds,
            self._options.history_seconds,
            clock,
            self._metrics,
            self._placing.preferred,
            self._placing.look_for_room,
            self._placing.is_draining,
        )
        self._fetches: dict[StreamName, _Running] = {}
        self._lingering: dict[StreamName, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._senders: dict[Link, HubSender] = {}
        self._ticker: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()
        self._warned_at = 0.0
        self.on_offers: Callable[[Link], None] = lambda link: None

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Announce the node, and fetch what is wanted from now on."""
        if not self.record.relay_url and self._relay_url is not None and not self._options.upstreams:
            self.record = msgspec.structs.replace(self.record, relay_url=self._relay_url())
        self._registry.watchers.add(self._wake)
        self._hub.on_demand = self._on_demand
        self._hub.may_produce = self.may_publish
        self._announce()
        self._follow_orders()
        self._ticker = asyncio.create_task(outlive_faults("node-tick", self._tick), name="node-tick")
        self._upstreams.start()
        for name in tuple(self._hub.streams):
            if self._hub.demands(name) and not self._hub.produced(name):
                self._on_demand(name, 1)

    async def stop(self) -> None:
        """Ask children to go elsewhere, give them a moment, and end every link and fetch."""
        self._hub.on_demand = lambda name, count: None
        self._registry.watchers.discard(self._wake)
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)
        await self._drain()
        await self._upstreams.stop()
        for timer in self._lingering.values():
            timer.cancel()
        for name in tuple(self._fetches):
            self._end_fetch(name)
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._links.close(GOING_AWAY, "going_away")

    @property
    def links(self) -> Links:
        """The node's links."""
        return self._links

    @property
    def problem(self) -> str | None:
        """What is wrong, for `/health/ready`; `None` when all is well."""
        if self._ticker is None:
            return "the node takes no links: it is starting or stopping"
        if self._trust.problem is not None:
            return self._trust.problem
        if self._upstreams.problem is not None:
            return self._upstreams.problem
        orphans = sum(running.fetch.is_orphan for running in self._fetches.values())
        if orphans:
            return f"{orphans} of {len(self._fetches)} wanted streams come from nowhere: no parent delivers them"
        return None

    def may_publish(self, stream: StreamName) -> bool:
        """Return whether this node's credential covers that it delivers `stream`; that it does not is told once."""
        covered = self._trust.covers(stream)
        if not covered and self._trust.is_news(stream):
            self._metrics.refused.labels("publish").inc()
        return covered

    def refresh_credentials(self) -> None:
        """Look whether the file of credentials has changed; links whose keys did end, and are made anew."""
        if self._trust.refresh():
            self._links.renew(self._trust.identity)

    def parent(self, stream: StreamName) -> NodeId | None:
        """Return the node that `stream` comes from now."""
        running = self._fetches.get(stream)
        return None if running is None else running.fetch.parent

    def recall(
        self, stream: StreamName, history_seconds: float, on_end: Callable[[Remembering], None]
    ) -> Remembering | None:
        """Ask for a stream's past; `on_end` is called once, later. `None` while no parent delivers the stream."""
        link = self._link_of(stream)
        others, dial = partial(self._placing.carriers, stream, self.parent(stream)), self._links.open
        return None if link is None else remember(link, stream, history_seconds, others, dial, on_end)

    def _recall_of_parent(self, stream: StreamName, seconds: float, on_end: OnRecalled) -> Recalling | None:
        """Ask the parent alone, as a node does that was asked itself: those beside it would ask each other."""
        link = self._link_of(stream)
        return None if link is None else recall(link, stream, seconds, on_end)

    def _link_of(self, stream: StreamName) -> Link | None:
        running = self._fetches.get(stream)
        return None if running is None else running.fetch.link

    def relay_handler(self) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the aiohttp handler of `GET /relay`, where other nodes dial."""
        return relay_door(self._links, lambda: self._ticker is not None, self._options.send_limit_bytes)

    # -- for links ---------------------------------------------------------------------------------

    def link_opened(self, link: Link) -> Sender:
        """Serve what the peer asks for."""
        self._links.opened(link)
        self._metrics.links.labels(_direction(link)).inc()
        log.info("link_opened", node=link.peer, direction=_direction(link), address=link.channel.peer)
        self._senders[link] = HubSender(
            link,
            self._hub,
            self._hop,
            self._age,
            self._clock,
            self._metrics,
            self._note_idle,
            self._recall_of_parent,
            partial(self._admit, link),
        )
        return self._senders[link]

    def _admit(self, link: Link, stream: StreamName, lost: bool) -> Refusal | None:
        return self._placing.admit(self._busy(), link, self.parent(stream), self._children(), lost)

    def link_ended(self, link: Link, end: LinkError) -> None:
        """Count and log the end of a link."""
        was_open = self._senders.pop(link, None) is not None
        self._links.ended(link, end)
        self._metrics.link_ended(end.code)
        facts = {"direction": _direction(link), "address": link.channel.peer, "reason": end.code, "detail": end.detail}
        if was_open:
            seconds = round(self._clock.monotonic() - link.opened_at, 3)
            self._metrics.links.labels(_direction(link)).dec()
            tell = self._warn if end.code in PROTOCOL_ERRORS else log.info
            tell("link_closed", node=link.peer, seconds=seconds, **facts)
        elif not link.dialled:  # who dialled tells its own failures
            self._warn("link_refused", **facts)

    def _warn(self, event: str, **facts: object) -> None:
        """Log a warning, at most one a second: a stranger may cause as many as it likes."""
        now = self._clock.monotonic()
        loud = now - self._warned_at >= 1.0
        self._warned_at = now if loud else self._warned_at
        (log.warning if loud else log.debug)(event, **facts)

    # -- fetching ----------------------------------------------------------------------------------

    def _on_demand(self, name: StreamName, count: int) -> None:
        if count:
            timer = self._lingering.pop(name, None)
            if timer is not None:
                timer.cancel()
            if name not in self._fetches:
                self._begin_fetch(name)
        elif self._hub.produced(name) or self._options.linger_seconds <= 0:
            self._let_go(name)
        elif name not in self._lingering:
            loop = asyncio.get_running_loop()
            self._lingering[name] = loop.call_later(self._options.linger_seconds, self._let_go, name)

    def _begin_fetch(self, name: StreamName) -> None:
        fetch = Fetch(self._hub.streams[name], partial(self._hub.begin_after, name), self._context)
        task = asyncio.create_task(fetch.run(), name=f"fetch {name}")
        task.add_done_callback(partial(self._fetch_done, name))
        self._fetches[name] = _Running(fetch, task)
        self._metrics.fetching.inc()
        log.info("fetch_begun", stream=name)

    def _end_fetch(self, name: StreamName) -> None:
        running = self._fetches.pop(name, None)
        if running is not None:
            self._ending.add(running.task)
            running.task.cancel()
            self._metrics.fetching.dec()
            log.info("fetch_ended", stream=name)

    def _let_go(self, name: StreamName) -> None:
        timer = self._lingering.pop(name, None)
        if timer is not None:
            timer.cancel()
        self._end_fetch(name)
        self._hub.forget(name)

    def _fetch_done(self, name: StreamName, task: asyncio.Task[None]) -> None:
        """A fetch only ends when it is cancelled; if a fault of ours ended it, begin again at the next tick."""
        self._ending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("fetch_failed", stream=name, exc_info=task.exception())
            running = self._fetches.get(name)
            if running is not None and running.task is task:
                self._end_fetch(name)

    def offers_changed(self, link: Link) -> None:
        """Look again: a peer offers other streams than before."""
        self._wake()
        self.on_offers(link)

    def _standbys(self) -> dict[NodeId, Candidate]:
        standbys = [running.fetch.tick() for running in self._fetches.values()]
        if not self._options.standby:
            return {}
        return {candidate.node: candidate for candidate in standbys if candidate is not None}

    def _wake(self) -> None:
        """Nodes, streams or orders changed."""
        self._follow_orders()
        fetches = [running.fetch for running in self._fetches.values()]
        if any(fetch.is_unknown for fetch in fetches):
            known = self._placing.known()
            fetches = [fetch for fetch in fetches if not fetch.is_unknown or fetch.broadcast.name in known]
        for fetch in fetches:
            fetch.wake()

    def _age(self, stream: StreamName, id: ChunkId) -> float | None:
        running = self._fetches.get(stream)
        return None if running is None else running.fetch.seconds_since(id)

    # -- the node's record -------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await next_beat(TICK_SECONDS)
            self.refresh_credentials()
            self._announce()
            self._follow_orders()
            self._upstreams.tick()
            self._links.keep_warm(self._standbys())
            self._links.close_idle()
            self._links.forget_trouble(self._registry.nodes.keys())
            self._clocks.look(self._links.open_links)
            for name in tuple(self._hub.streams):
                if name not in self._fetches and self._hub.demands(name) and not self._hub.produced(name):
                    self._begin_fetch(name)

    def _busy(self) -> NodeRecord:
        return busy(self.record, self._hub, len(self._children()))

    def _current(self) -> NodeRecord:
        """Return the node's record with all that is true of it at this moment."""
        routes = [running.fetch.broadcast.state.route for running in self._fetches.values()]
        return carrying(self._busy(), self._hub, offered(self._links.open_links, (PUBLISHER,)), routes)

    def _children(self) -> list[Link]:
        """Return the links that feed somebody."""
        return [link for link, sender in self._senders.items() if not sender.is_idle]

    def _announce(self) -> None:
        """Keep the node's record true."""
        record = self._current()
        if record != self.record or self._ticker is None:
            self.record = record
            self._registry.keep_node(record)

    def _follow_orders(self) -> None:
        """Drain if somebody asked for it, or stop draining: children go elsewhere, and are fed until they have."""
        leaving = self._placing.is_asked_to_leave
        if leaving != self.record.draining:
            self.record = msgspec.structs.replace(self._current(), draining=leaving)
            self._registry.keep_node(self.record)
            log.info("drain_begun" if leaving else "drain_ended", children=len(self._children()))
        if not leaving or self.record.layer == INGRESS_LAYER:
            return  # an ingress hands its sources over, and its children follow them
        self._send_away([link for link in self._children() if not link.sent_away], MOVE_SECONDS)

    def _send_away(self, children: list[Link], seconds: float) -> bool:
        """Ask children to leave within `seconds`; return False when there is nowhere to go."""
        alternatives = self._placing.alternatives()
        for link in children if alternatives else ():
            link.going_away(alternatives, int(seconds * 1000))
        return bool(alternatives)

    async def _drain(self) -> None:
        """Tell children to leave, if there is anywhere to go, and wait until they have or the deadline passes."""
        self.record = msgspec.structs.replace(self.record, draining=True)
        self._registry.keep_node(self.record)
        children = self._children()
        if not children or not self._send_away(children, self._options.drain_seconds):
            return
        self._drained.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.drain_seconds):
                await self._drained.wait()

    def _note_idle(self) -> None:
        if all(sender.is_idle for sender in self._senders.values()):
            self._drained.set()


def _direction(link: Link) -> str:
    return "dialled" if link.dialled else "accepted"
