"""Nodes that this one dials by itself, since nobody can dial it: what it has is offered there (docs/protocol.md, 4.8).

A site behind a router, or one whose firewall lets nothing in, keeps a link to each of its upstream nodes for as long as
it runs. They take the streams that it offers over the link that it dialled, when somebody wants them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

import structlog

from headrace.identifiers import Epoch, NodeId, StreamName
from headrace.relay.hub import Hub
from headrace.relay.link import OFFERS_MAX
from headrace.session.link import Link, LinkError
from headrace.session.links import Links
from headrace.telemetry.faults import outlive_faults
from headrace.telemetry.masking import mask_uris
from headrace.transport.backoff import Backoff

RETRY_SECONDS = 0.25
"""First wait before an upstream is dialled again: viewers wait for it."""

RETRY_MAX_SECONDS = 10.0
"""Longest wait: sites are many, and an upstream that comes back is to be found soon."""

STEADY_SECONDS = 10.0
"""A link that lived this long was no failure: the next wait is the shortest."""

Offers = Mapping[StreamName, Epoch]

log = structlog.get_logger(__name__)


class Upstreams:
    """Keeps the links, and tells each what is to be had here; `tick` it about once a second.

    Args:
        urls: of the upstream nodes.
        links: makes links, and holds those that other nodes have made.
        hub: the streams of this process.
        covers: returns whether this node's credential allows that it delivers a stream.
    """

    def __init__(self, urls: Sequence[str], links: Links, hub: Hub, covers: Callable[[StreamName], bool]) -> None:
        self._urls = urls
        self._links = links
        self._hub = hub
        self._covers = covers
        self._told: dict[Link, Offers] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to dial."""
        keeping = [outlive_faults("upstream", partial(self._keep, url)) for url in self._urls]
        self._tasks = [asyncio.create_task(each, name="keep an upstream") for each in keeping]

    async def stop(self) -> None:
        """Dial no more; links that are there are left to who ends all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def problem(self) -> str | None:
        """What is wrong, `None` when at least one upstream is linked, or none is wanted."""
        if not self._urls or self._told:
            return None
        return f"none of the {len(self._urls)} upstream nodes is linked: nobody can have this node's streams"

    def tick(self) -> None:
        """Offer what is new, and withdraw what is gone."""
        for link in tuple(self._told):
            self._tell(link)

    async def _keep(self, url: str) -> None:
        """Have a link to one upstream, always."""
        backoff = Backoff(RETRY_SECONDS, RETRY_MAX_SECONDS)
        loop, is_told = asyncio.get_running_loop(), False
        while True:
            began = loop.time()
            try:
                link = await self._links.keep(url)
            except LinkError as error:
                tell = log.debug if is_told else log.warning
                tell("upstream_failed", url=mask_uris(url), reason=error.code, detail=error.detail)
                is_told = True
            else:
                is_told = False
                await self._serve(link)
                if loop.time() - began >= STEADY_SECONDS:
                    backoff.reset()
            await asyncio.sleep(backoff.next(random.random()))

    async def _serve(self, link: Link) -> None:
        """Offer over `link` until it ends."""
        log.info("upstream_linked", node=link.peer)
        self._told[link] = {}
        try:
            self._tell(link)
            await link.wait_closed()
        finally:
            del self._told[link]

    def _tell(self, link: Link) -> None:
        if not link.is_open:
            return
        told, now = self._told[link], self._to_be_had(link)
        self._told[link] = now
        if gone := told.keys() - now.keys():
            link.withdraw(gone)
        if news := {name: epoch for name, epoch in now.items() if told.get(name) != epoch}:
            link.offer(news)

    def _to_be_had(self, link: Link) -> Offers:
        """Return what may be offered over `link`: what has its source here, and what others offer that dialled us.

        Never what the peer has from elsewhere: that would be offered to and fro for ever.
        """
        produced = {name: b.epoch for name, b in self._hub.streams.items() if b.epoch and self._hub.produced(name)}
        have = {
            **offered(one for one in self._links.open_links if not one.dialled and one.peer != link.peer),
            **produced,
        }
        names = [name for name in sorted(have.keys() - link.offers.keys()) if self._covers(name)]
        return {name: have[name] for name in names[:OFFERS_MAX]}


def offered(links: Iterable[Link], but: Collection[str] = ()) -> dict[StreamName, Epoch]:
    """Return what is offered over `links`, but for those of peers with one of the roles `but`."""
    return {name: epoch for link in links if link.peer_role not in but for name, epoch in link.offers.items()}


def offering(links: Iterable[Link], stream: StreamName) -> list[NodeId]:
    """Return the peers that offer `stream` and stay."""
    return [link.peer for link in links if stream in link.offers and link.peer is not None and not link.leaving]
