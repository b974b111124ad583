"""A push to another Headrace: an offer on a link of its own, from which the other side fetches the stream.

The other side remembers which chunks it had: when this link is lost, or this node, whoever offers the stream next is
asked for what comes after them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from headrace.clock import Clock
from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.registry.transfers import Flow
from headrace.relay.hub import Hub
from headrace.relay.link import NORMAL
from headrace.session.border import PUBLISHER, Border, BorderError, Far
from headrace.session.link import Link, LinkError
from headrace.session.serving import HubSender
from headrace.wire.stream import RouteHop, StreamState
from headrace_edge.push.carrying import PushFailed, PushOver, Tell

LOOK_SECONDS: Final = 0.25
"""How often it is looked whether the stream flows."""

TAKEN_SECONDS: Final = 10.0
"""How long the other server may take until it fetches the stream."""

NAME_IN_USE: Final = "name_in_use"
TERMINATED: Final = "terminated"
FORBIDDEN: Final = "forbidden"


class RelayPush:
    """Carries one stream to another Headrace.

    Args:
        border: makes the link.
        far: the other server, or a node of this cluster.
        local_name, remote_name: the stream here and there.
        hub: where it is.
        hop: this node.
        clock: of this process.
    """

    def __init__(
        self,
        border: Border,
        far: Far | str,
        local_name: StreamName,
        remote_name: StreamName,
        hub: Hub,
        hop: RouteHop,
        clock: Clock,
    ) -> None:
        self._border = border
        self._far = far
        self._local_name = local_name
        self._remote_name = remote_name
        self._hub = hub
        self._hop = hop
        self._clock = clock
        self._is_over = False

    def leave(self, *, is_over: bool) -> None:
        """See `Carrier`."""
        self._is_over = is_over

    async def run(self, tell: Tell) -> None:
        """See `Carrier`."""
        offering = _Offering(self)
        try:
            far = self._border.own(self._far) if isinstance(self._far, str) else self._far
            link = await self._border.link(far, PUBLISHER, offering)
        except BorderError as error:
            raise PushFailed(error.code, str(error), is_final=error.is_final) from None
        try:
            link.offer({self._remote_name: Epoch(1)})
            await self._watch(link, offering, tell)
        finally:
            if link.is_open:
                if self._is_over:
                    link.withdraw([self._remote_name])
                link.close(NORMAL, "stopped")

    async def _watch(self, link: Link, offering: _Offering, tell: Tell) -> None:
        began = self._clock.monotonic()
        while True:
            await asyncio.wait([offering.ended], timeout=LOOK_SECONDS)
            if offering.ended.done():
                raise _why(offering.ended.result())
            if offering.is_idle:
                if self._clock.monotonic() - began > TAKEN_SECONDS:
                    raise PushFailed("not_taken", "the other server does not take the stream")
                tell(Flow.WAITING, "", {})
                continue
            began = self._clock.monotonic()
            broadcast = self._hub.streams.get(self._local_name)
            state = None if broadcast is None else broadcast.state
            if state is not None and state.state is StreamState.ENDED:
                raise PushOver("the stream has ended")
            if state is not None and state.state is StreamState.LIVE:
                tell(Flow.LIVE, "", {"remote_node": str(link.peer)})
            else:
                tell(Flow.WAITING, "" if state is None else state.reason, {})

    def sender(self, link: Link) -> HubSender:
        """Return what serves the stream on a link, under its name here."""
        return HubSender(link, self._hub, self._hop, lambda stream, id: None, self._clock, self._border.metrics)

    def local_name(self, stream: StreamName) -> StreamName | None:
        """Return what a stream is called here; `None` for all but the one that is pushed."""
        return self._local_name if stream == self._remote_name else None


class _Offering:
    """The owner of the link, and its sender under the names of the other side."""

    def __init__(self, push: RelayPush) -> None:
        self._push = push
        self._link: Link | None = None
        self._sender: HubSender | None = None
        self.ended: asyncio.Future[LinkError] = asyncio.get_running_loop().create_future()

    # -- as owner ----------------------------------------------------------------------------------

    def link_opened(self, link: Link) -> _Offering:
        """Serve it."""
        self._link, self._sender = link, self._push.sender(link)
        return self

    def link_ended(self, link: Link, end: LinkError) -> None:
        """Note why."""
        if not self.ended.done():
            self.ended.set_result(end)

    def offers_changed(self, link: Link) -> None:
        """Nothing is fetched here."""

    # -- as sender ---------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether the other side fetches nothing now."""
        return self._sender is None or self._sender.is_idle

    def subscribe(
        self, handle: int, stream: StreamName, after: Mapping[int, ChunkId] | None, history_seconds: float
    ) -> None:
        """Serve the stream that is pushed."""
        name = self._push.local_name(stream)
        if name is not None and self._sender is not None:
            self._sender.subscribe(handle, name, after, history_seconds)
        else:
            self._refuse(handle)

    def recall(self, handle: int, stream: StreamName, history_seconds: float) -> None:
        """Serve the past of the stream that is pushed."""
        name = self._push.local_name(stream)
        if name is not None and self._sender is not None:
            self._sender.recall(handle, name, history_seconds)
        else:
            self._refuse(handle)

    def unsubscribe(self, handle: int) -> None:
        """Serve it no more."""
        if self._sender is not None:
            self._sender.unsubscribe(handle)

    def became_writable(self) -> None:
        """Go on."""
        if self._sender is not None:
            self._sender.became_writable()

    def close(self) -> None:
        """Release everything."""
        if self._sender is not None:
            self._sender.close()

    def _refuse(self, handle: int) -> None:
        if self._link is not None:
            self._link.refuse(handle, "not_offered", "this link carries the stream that it offers, and no other")


def _why(end: LinkError) -> Exception:
    if end.code == TERMINATED:
        return PushOver("the other server ended the stream")
    if end.code == FORBIDDEN:
        return PushFailed(FORBIDDEN, "the other server does not let this key push that stream", is_final=True)
    if end.code == NAME_IN_USE:
        return PushFailed(NAME_IN_USE, "the name is in use on the other server", is_final=True)
    return PushFailed(end.code, f"the link to the other server ended: {end.detail}")
