"""The node's side of the links to its own workers: they are served like children, but are no nodes of the cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from headrace.clock import Clock
from headrace.relay.hub import Hub
from headrace.relay.protocol import GOING_AWAY
from headrace.session.door import relay_door
from headrace.session.link import Link, LinkError
from headrace.session.links import Links
from headrace.session.metrics import RelayMetrics
from headrace.session.options import RelayOptions
from headrace.session.parties import Sender
from headrace.session.serving import HubSender, RecallUpstream
from headrace.session.trust import Trust
from headrace.version import SOFTWARE
from headrace.wire.stream import RouteHop

log = structlog.get_logger(__name__)


class Feeding:
    """Serves workers what the hub carries.

    What these links count is not exported: the node's figures are of links to other nodes.

    Args:
        hub: what is carried.
        hop: the node, for routes of streams that have none yet.
        options: how workers prove that they are ours, and how patient these links are.
        recall: asks the node's parent for a stream's past.
    """

    def __init__(
        self, hub: Hub, hop: RouteHop, options: RelayOptions, clock: Clock, recall: RecallUpstream | None = None
    ) -> None:
        self._hub = hub
        self._hop = hop
        self._options = options
        self._clock = clock
        self._recall = recall or (lambda stream, seconds, on_end: None)
        self._metrics = RelayMetrics.make(CollectorRegistry())
        self._links = Links(Trust(options, hop.node, hop.role, SOFTWARE).identity, options, self, clock, self._metrics)
        self._senders: dict[Link, HubSender] = {}

    @property
    def subscriptions(self) -> int:
        """How many streams workers take now, each as often as there are workers that take it."""
        return sum(sender.subscriptions for sender in self._senders.values())

    def handler(self) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the handler of `GET /relay` for workers."""
        return relay_door(self._links, lambda: True, self._options.send_limit_bytes)

    async def stop(self) -> None:
        """End every link."""
        await self._links.close(GOING_AWAY, "going_away")

    # -- for links -------------------------------------------------------------------------------------------------

    def link_opened(self, link: Link) -> Sender:
        self._links.opened(link)
        self._senders[link] = HubSender(
            link, self._hub, self._hop, lambda stream, id: None, self._clock, self._metrics, recall=self._recall
        )
        return self._senders[link]

    def link_ended(self, link: Link, end: LinkError) -> None:
        was_open = self._senders.pop(link, None) is not None
        self._links.ended(link, end)
        if not was_open:
            log.warning("worker_refused", address=link.channel.peer, reason=end.code, detail=end.detail)

    def offers_changed(self, link: Link) -> None:
        """Workers offer nothing."""
