"""The links of a node: one for each pair of nodes, whoever dialled it, used by many streams and let go when idle."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

import structlog

from headrace.clock import Clock
from headrace.identifiers import NodeId
from headrace.registry.placement import Candidate
from headrace.relay.credentials import Identity
from headrace.relay.link import NORMAL, POLICY_VIOLATION
from headrace.session.border import BORDER_ROLES
from headrace.session.link import Link, LinkError, Owner
from headrace.session.metrics import RelayMetrics
from headrace.session.options import RelayOptions
from headrace.session.stillness import Stillness
from headrace.transport.backoff import Backoff
from headrace.transport.channel import Channel
from headrace.transport.dialling import DialError, dial
from headrace.wire.relay import CONTROL_MAX_BYTES, SUBPROTOCOL

RETRY_MAX_SECONDS = 2.0
"""Longest wait before a parent that failed is tried again: a dial is cheap, and viewers wait for it."""

BLAMELESS = frozenset({"idle", "stopped", "key_changed"})
"""Ends of links that say nothing against the node at the other end."""

STEADY_SECONDS = 10.0
"""A link that lived this long was no failure: its node is tried again after the shortest wait."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Trouble:
    """A node whose links fail: when it is worth a try again."""

    until: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(max=RETRY_MAX_SECONDS))


class Links:
    """Makes links, keeps them by peer, and remembers who fails.

    Args:
        identity: what this node brings to an opening.
        owner: told of every link that opens or ends, after this class.
    """

    def __init__(
        self, identity: Identity, options: RelayOptions, owner: Owner, clock: Clock, metrics: RelayMetrics
    ) -> None:
        self._identity = identity
        self._options = options
        self._owner = owner
        self._clock = clock
        self._metrics = metrics
        self._stillness = Stillness(options.timeout_seconds / 2)
        self._open: list[Link] = []
        self._all: set[Link] = set()
        self._dialling: dict[NodeId, asyncio.Task[Link]] = {}
        self._troubles: dict[NodeId, _Trouble] = {}
        self._unused_since: dict[Link, float] = {}
        self._warm: Set[NodeId] = frozenset()
        self._kept: set[Link] = set()

    @property
    def all(self) -> Set[Link]:
        """Every link, opening or open."""
        return self._all

    @property
    def open_links(self) -> list[Link]:
        """Every open link."""
        return self._open

    # -- making links ------------------------------------------------------------------------------

    async def open(self, candidate: Candidate) -> Link:
        """Return an open link to `candidate`: one that is there, or a new one.

        Raises:
            LinkError: when it does not come about; the node is then `failing` for a while.
        """
        link = self._link_to(candidate.node)
        return link if link is not None else await asyncio.shield(self._begin_dial(candidate))

    def keep_warm(self, standbys: Mapping[NodeId, Candidate]) -> None:
        """Keep links to these nodes though nothing travels there: whoever needs one finds it open and known to live."""
        self._warm = standbys.keys()
        failing = self.failing()
        for node, candidate in standbys.items():
            if node not in failing and candidate.relay_url and self._link_to(node) is None:
                self._begin_dial(candidate)

    async def keep(self, url: str) -> Link:
        """Return a new open link to whatever node answers at `url`; it is not closed when it is idle.

        Raises:
            LinkError: when it does not come about.
        """
        try:
            link = await self._connect(url, expected=None)
        except LinkError as error:
            self._metrics.dial_failed(error.code)
            raise
        self._kept.add(link)
        return link

    def accept(self, channel: Channel) -> Link:
        """Return the link, opening still, on a channel that another node dialled."""
        return self._make(channel, dialled=False, expected=None)

    def _link_to(self, node: NodeId) -> Link | None:
        of_node = (link for link in self._open if link.peer == node and link.peer_role not in BORDER_ROLES)
        return next((link for link in of_node if link.is_open and not link.leaving), None)

    def _begin_dial(self, candidate: Candidate) -> asyncio.Task[Link]:
        """Return the task that dials `candidate`, the one that does already if there is one."""
        task = self._dialling.get(candidate.node)
        if task is None:
            task = asyncio.create_task(self._dial(candidate), name=f"dial {candidate.node}")
            self._dialling[candidate.node] = task
            task.add_done_callback(lambda done: self._dialled(candidate.node, done))
        return task

    async def _dial(self, candidate: Candidate) -> Link:
        try:
            return await self._connect(candidate.relay_url, expected=candidate.node)
        except LinkError as error:
            self._failed(candidate.node, error.code, error.detail)
            raise

    async def _connect(self, url: str, expected: NodeId | None) -> Link:
        try:
            channel = await dial(
                url,
                SUBPROTOCOL,
                max_size=CONTROL_MAX_BYTES,
                send_limit_bytes=self._options.send_limit_bytes,
                tls=self._options.tls,
            )
        except DialError as error:
            raise LinkError(error.code, error.detail) from error
        link = self._make(channel, dialled=True, expected=expected)
        try:
            await link.wait_open()
        except asyncio.CancelledError:
            link.close(NORMAL, "stopped")
            raise
        return link

    def _make(self, channel: Channel, *, dialled: bool, expected: NodeId | None) -> Link:
        open_allowed = self._options.allow_open or channel.is_loopback
        link = Link(
            channel,
            replace(self._identity, allow_open=open_allowed),
            self._options.timing,
            self._owner,
            self._clock,
            self._metrics,
            self._stillness,
            dialled=dialled,
            expected=expected,
        )
        self._all.add(link)
        link.start()
        return link

    def _dialled(self, node: NodeId, task: asyncio.Task[Link]) -> None:
        self._dialling.pop(node, None)
        if not task.cancelled():
            task.exception()  # whoever waited was told; nobody may be left

    # -- keeping them ------------------------------------------------------------------------------

    def opened(self, link: Link) -> None:
        """Note an open link."""
        self._open.append(link)

    def ended(self, link: Link, end: LinkError) -> None:
        """Note the end of a link."""
        self._all.discard(link)
        self._unused_since.pop(link, None)
        self._kept.discard(link)
        if link not in self._open:
            return
        self._open.remove(link)
        if link.peer is None or not link.dialled:
            return
        now = self._clock.monotonic()
        if now - link.opened_at >= STEADY_SECONDS:
            self._troubles.pop(link.peer, None)
        ours = end.code in BLAMELESS or (end.by_peer and self._stillness.explains(link.opened_at, now))
        if not ours:
            self._avoid(link.peer)

    def failing(self) -> Set[NodeId]:
        """Return the nodes that are not worth a try at the moment."""
        now = self._clock.monotonic()
        return {node for node, trouble in self._troubles.items() if trouble.until > now}

    def next_try(self) -> float | None:
        """Return in how many seconds the first of them is worth a try again."""
        now = self._clock.monotonic()
        return min((t.until - now for t in self._troubles.values() if t.until > now), default=None)

    def close_idle(self) -> None:
        """Close links that we dialled and that nobody has used for the linger, but for those to be kept."""
        now = self._clock.monotonic()
        for link in tuple(self._open):
            if not (link.dialled and link.is_idle) or link.peer in self._warm or link in self._kept:
                self._unused_since.pop(link, None)
            elif now - self._unused_since.setdefault(link, now) > self._options.linger_seconds:
                link.close(NORMAL, "idle")

    def forget_trouble(self, known: Set[NodeId]) -> None:
        """Keep troubles only of nodes that still exist."""
        self._troubles = {node: trouble for node, trouble in self._troubles.items() if node in known}

    def renew(self, identity: Identity) -> None:
        """Bring `identity` to openings from now on, and end the links that it does not trust any more."""
        self._identity = identity
        for link in tuple(self._all):
            if not link.is_trusted_by(identity):
                link.close(POLICY_VIOLATION, "key_changed")

    async def close(self, code: int, reason: str) -> None:
        """End every link and dial; wait until they are over."""
        for task in tuple(self._dialling.values()):
            task.cancel()
        await asyncio.gather(*self._dialling.values(), return_exceptions=True)
        links = tuple(self._all)
        for link in links:
            link.close(code, reason)
        await asyncio.gather(*(link.wait_closed() for link in links))

    def _failed(self, node: NodeId, code: str, detail: str) -> None:
        self._metrics.dial_failed(code)
        first = node not in self._troubles
        self._avoid(node)
        (log.warning if first else log.debug)("link_failed", node=node, reason=code, detail=detail)

    def _avoid(self, node: NodeId) -> None:
        trouble = self._troubles.setdefault(node, _Trouble())
        trouble.until = self._clock.monotonic() + trouble.backoff.next(random.random())
