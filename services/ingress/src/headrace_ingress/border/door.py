"""Where other clusters dial a process that is a whole cluster by itself: they push streams here, and pull from here.

It speaks with publishers and subscribers alone. A process of a larger cluster has a node instead
(`headrace.session.node`), which speaks with other nodes as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from headrace.clock import Clock
from headrace.relay.hub import Hub
from headrace.relay.link import GOING_AWAY, POLICY_VIOLATION
from headrace.service.runtime import Runtime
from headrace.session.border import BORDER_ROLES
from headrace.session.door import relay_door
from headrace.session.link import Link, LinkError
from headrace.session.links import Links
from headrace.session.metrics import RelayMetrics
from headrace.session.options import RelayOptions
from headrace.session.parties import Sender
from headrace.session.serving import HubSender
from headrace.session.trust import Trust
from headrace.telemetry.faults import outlive_faults
from headrace.version import SOFTWARE
from headrace.wire.stream import RouteHop

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether the file of credentials has changed."""

REFUSED_SECONDS: Final = 1.0
"""How often a link that was refused is told at most: a stranger may cause as many as it likes."""

log = structlog.get_logger(__name__)


class BorderDoor:
    """Takes links of other clusters; a component with `start` and `stop`.

    Args:
        options: of the relay: which keys are believed.
        hub: the streams of this process, served to subscribers as far as their keys cover them.
        runtime: of this process.

    Attributes:
        on_offers: called with a link whose peer offers other streams than before.
    """

    def __init__(self, options: RelayOptions, hub: Hub, runtime: Runtime) -> None:
        self._options = options
        self._hub = hub
        self._clock: Clock = runtime.clock
        self._hop = RouteHop(runtime.node, runtime.role)
        self._metrics = RelayMetrics.make(CollectorRegistry())
        self._trust = Trust(options, runtime.node, runtime.role, SOFTWARE)
        self._links = Links(self._trust.identity, options, self, self._clock, self._metrics)
        self._task: asyncio.Task[None] | None = None
        self._refused_at = -REFUSED_SECONDS
        self.on_offers: Callable[[Link], None] = lambda link: None

    async def start(self) -> None:
        """Take links from now on."""
        self._task = asyncio.create_task(outlive_faults("border", self._watch), name="border")

    async def stop(self) -> None:
        """End all links; a second call does nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._links.close(GOING_AWAY, "going_away")

    @property
    def problem(self) -> str | None:
        """What is wrong with the credentials, for `/health/ready`; `None` when all is well."""
        return self._trust.problem

    def handler(self) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the aiohttp handler of `GET /relay`."""
        return relay_door(self._links, lambda: self._task is not None, self._options.send_limit_bytes)

    def refresh_credentials(self) -> None:
        """Look whether the file of credentials has changed; links whose keys did end."""
        if self._trust.refresh():
            self._links.renew(self._trust.identity)

    # -- as owner of links -----------------------------------------------------------------------------------------

    def link_opened(self, link: Link) -> Sender:
        """Serve what the peer asks for; a node has no business here."""
        self._links.opened(link)
        log.info("link_opened", node=link.peer, role=link.peer_role, address=link.channel.peer)
        if link.peer_role not in BORDER_ROLES:
            link.close(POLICY_VIOLATION, "forbidden")
        return HubSender(link, self._hub, self._hop, lambda stream, id: None, self._clock, self._metrics)

    def link_ended(self, link: Link, end: LinkError) -> None:
        """Tell it; of strangers that were refused at most one a second."""
        was_open = link in self._links.open_links
        self._links.ended(link, end)
        facts = {"address": link.channel.peer, "reason": end.code, "detail": end.detail}
        if was_open:
            log.info("link_closed", node=link.peer, **facts)
        elif (now := self._clock.monotonic()) - self._refused_at >= REFUSED_SECONDS:
            self._refused_at = now
            log.warning("link_refused", **facts)

    def offers_changed(self, link: Link) -> None:
        """Have it looked at what a publisher offers."""
        self.on_offers(link)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.refresh_credentials()
