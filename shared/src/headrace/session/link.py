"""One link to another node: the asyncio shell around `RelayConnection`.

Messages come from the channel in the turn of the event loop they arrived in; what they mean goes to whom it concerns: a
subscription of ours to its `Feed`, one of the peer's to the link's `Sender`. What the connection wants to say leaves at
once, before any media that waits. There is one timer, armed for whatever is due next.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from typing import Protocol, assert_never

import structlog

from headrace.clock import Clock, microseconds
from headrace.identifiers import ChunkId, Epoch, NodeId, StreamName
from headrace.relay import events as happened
from headrace.relay.credentials import Identity
from headrace.relay.events import Event, Overreach
from headrace.relay.link import FLOOD, POLICY_VIOLATION
from headrace.relay.protocol import NORMAL, RelayConnection, Timing
from headrace.session.ends import words_of
from headrace.session.metrics import RelayMetrics
from headrace.session.parties import Feed, Sender
from headrace.session.stillness import Stillness
from headrace.transport.channel import Channel
from headrace.wire.relay import MESSAGE_MAX_BYTES, NONCE_BYTES, Alternative
from headrace.wire.stream import RouteHop, StreamState, Track

log = structlog.get_logger(__name__)

OFFERING_ROLES = frozenset({"publisher"})
"""Roles of peers whose links are for what they offer: one that may not offer it is told so by the end of the link."""


class LinkError(Exception):
    """A link did not open, or ended.

    Attributes:
        code: a short word for metrics.
        detail: a sentence for the log.
        by_peer: it came from the other side: a goodbye, or a connection that broke.
    """

    def __init__(self, code: str, detail: str, *, by_peer: bool = False) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.by_peer = by_peer

    def __str__(self) -> str:
        return self.detail


class Owner(Protocol):
    """Who keeps the links."""

    def link_opened(self, link: Link) -> Sender:
        """Return who serves what the peer asks for."""

    def link_ended(self, link: Link, end: LinkError) -> None: ...

    def offers_changed(self, link: Link) -> None: ...


class Link:
    """One link, from the open WebSocket to its end.

    Attributes:
        peer: who it is with; `None` until it is open.
        peer_role: what that one is.
        peer_key: the name of the credential that it proved.
        dialled: whether this side dialled.
        offers: streams that the peer offers.
        feeds: our subscriptions, by handle.
        leaving: the peer said that it will stop.
        sent_away: this side said so to the peer.
        opened_at: monotonic seconds.
        end: why it is over, `None` while it is not.
    """

    def __init__(
        self,
        channel: Channel,
        identity: Identity,
        timing: Timing,
        owner: Owner,
        clock: Clock,
        metrics: RelayMetrics,
        stillness: Stillness,
        *,
        dialled: bool,
        expected: NodeId | None = None,
    ) -> None:
        now = clock.monotonic()
        self.peer: NodeId | None = None
        self.peer_role = ""
        self.peer_key = ""
        self.dialled = dialled
        self.offers: Mapping[StreamName, Epoch] = {}
        self.feeds: dict[int, Feed] = {}
        self.leaving = False
        self.sent_away = False
        self.opened_at = now
        self.end: LinkError | None = None
        self.channel = channel
        self._connection = RelayConnection(identity, timing, secrets.token_bytes(NONCE_BYTES), now)
        self._owner = owner
        self._clock = clock
        self._metrics = metrics
        self._stillness = stillness
        self._expected = expected
        self._early_seconds = timing.heartbeat / 2
        self._sender: Sender | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._opened.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._told: set[happened.Overreach] = set()
        self._told_unknown = False

    def __repr__(self) -> str:
        way = "to" if self.dialled else "from"
        return f"<Link {way} {self.peer or self.channel.peer}>"

    # -- for the session ---------------------------------------------------------------------------

    def start(self) -> None:
        """Say hello, and take what the channel brings."""
        self.channel.attach(self)
        self._react()

    async def wait_open(self) -> None:
        """Return when the link is open.

        Raises:
            LinkError: when it ended before.
        """
        await asyncio.shield(self._opened)

    async def wait_closed(self) -> None:
        """Wait until the connection is over."""
        await self.channel.wait_closed()

    @property
    def is_open(self) -> bool:
        """Whether streams can be subscribed to and served."""
        return self.peer is not None and self.end is None

    @property
    def is_idle(self) -> bool:
        """Whether no stream travels here in either direction."""
        return not self.feeds and (self._sender is None or self._sender.is_idle)

    @property
    def clock_offset(self) -> float | None:
        """The peer's UTC less ours in seconds, `None` until it is known."""
        best = self._connection.clock
        return None if best is None else best.offset

    @property
    def writable(self) -> bool:
        """Whether more media should be handed over now."""
        return self.channel.writable and self.end is None

    def is_trusted_by(self, identity: Identity) -> bool:
        """See `RelayConnection.is_trusted_by`."""
        return self._connection.is_trusted_by(identity)

    def subscribe(
        self, stream: StreamName, after: Mapping[int, ChunkId] | None, history_seconds: float, feed: Feed
    ) -> int:
        """Have `feed` receive a stream, see `RelayConnection.subscribe`; return the handle."""
        handle = self._connection.subscribe(stream, after, history_seconds)
        self.feeds[handle] = feed
        self._react()
        return handle

    def recall(self, stream: StreamName, history_seconds: float, feed: Feed) -> int:
        """Have `feed` receive a stream's past, see `RelayConnection.recall`; return the handle."""
        handle = self._connection.recall(stream, history_seconds)
        self.feeds[handle] = feed
        self._react()
        return handle

    def unsubscribe(self, handle: int) -> None:
        """Let go of a subscription; its feed hears nothing more."""
        self.feeds.pop(handle, None)
        self._connection.unsubscribe(handle)
        self._react()

    def transit_seconds(self, sent_us: int) -> float | None:
        """Return how long what arrives now was under way, `None` until the clocks were compared."""
        return self._connection.transit_seconds(sent_us, microseconds(self._clock.utc()))

    def offer(self, streams: Mapping[StreamName, Epoch]) -> None:
        """See `RelayConnection.offer`."""
        self._connection.offer(streams)
        self._react()

    def withdraw(self, streams: Iterable[StreamName]) -> None:
        """See `RelayConnection.withdraw`."""
        self._connection.withdraw(streams)
        self._react()

    def send_state(self, handle: int, state: StreamState, reason: str, route: tuple[RouteHop, ...]) -> None:
        """See `RelayConnection.send_state`."""
        self._connection.send_state(handle, state, reason, route)
        self._react()

    def send_tracks(self, handle: int, epoch: Epoch, tracks: tuple[Track, ...]) -> bool:
        """See `RelayConnection.send_tracks`; return whether the subscription lives on."""
        self._connection.send_tracks(handle, epoch, tracks)
        self._react()
        return self._connection.serves(handle)

    def send_gap(self, handle: int, following: ChunkId) -> None:
        """See `RelayConnection.send_gap`."""
        self._connection.send_gap(handle, following)
        self._react()

    def refuse(self, handle: int, code: str, reason: str) -> None:
        """See `RelayConnection.refuse`."""
        self._connection.refuse(handle, code, reason)
        self._react()

    def send_chunks(self, parts: Iterable[tuple[bytes, bytes]]) -> int:
        """Hand chunk prefixes and records to the transport; return their bytes."""
        self._connection.said(self._clock.monotonic())
        return self.channel.send_shared(parts)

    def going_away(self, alternatives: Iterable[Alternative], deadline_ms: int) -> None:
        """See `RelayConnection.going_away`."""
        self.sent_away = True
        self._connection.going_away(alternatives, deadline_ms)
        self._react()

    def close(self, code: int, reason: str) -> None:
        """Say goodbye and end."""
        self._finish(LinkError(reason or "stopped", f"closed by this node: {reason}"))
        self.channel.close(code, reason)

    # -- for the channel ---------------------------------------------------------------------------

    def message_received(self, message: bytes) -> None:
        """Let the connection read it and do what follows."""
        utc_us = microseconds(self._clock.utc())
        self._connection.receive(message, self._clock.monotonic(), utc_us)
        self._react()

    def bytes_received(self) -> None:
        """Note that the peer lives."""
        self._connection.heard(self._clock.monotonic())

    def became_writable(self) -> None:
        """Let the sender go on."""
        if self._sender is not None and self.end is None:
            self._sender.became_writable()

    def channel_closed(self, code: int, reason: str, by_peer: bool) -> None:
        """End, unless this link ended it."""
        self._finish(LinkError(*words_of(code, reason, by_peer), by_peer=by_peer))

    # -- inside ------------------------------------------------------------------------------------

    def _react(self) -> None:
        """Send what the connection wants to say, tell what happened, and arm the timer."""
        output = self._connection.data_to_send()
        if output:
            self._connection.said(self._clock.monotonic())
            self.channel.send(output)
        for event in self._connection.events():
            if self.end is None:  # one before it may have ended the link: nobody is there any more to let go of things
                self._handle(event)
        self._arm_timer()

    def _handle(self, event: Event) -> None:
        if isinstance(event, happened.ChunkReceived):
            feed = self.feeds.get(event.handle)
            if feed is not None:
                feed.chunk_received(event.chunk, event.sent_us)
        elif isinstance(event, happened.ClockSampled):
            self._metrics.round_trip.observe(event.sample.round_trip)
        elif isinstance(event, happened.LinkOpened):
            self._open(event)
        elif isinstance(event, happened.LinkFailed):
            self._fail(event)
        elif isinstance(event, happened.OffersChanged):
            self.offers = event.offers
            self._owner.offers_changed(self)
        elif isinstance(event, happened.GoingAwayReceived):
            self._leave()
        elif isinstance(event, happened.Overreached):
            self._forbid(event)
        elif isinstance(event, happened.UnknownReceived):
            self._ignore(event)
        elif isinstance(event, happened.SubscribeReceived | happened.RecallReceived | happened.UnsubscribeReceived):
            self._serve(event)
        else:
            self._feed(event)

    def _feed(
        self,
        event: happened.TracksReceived | happened.StateReceived | happened.GapReceived | happened.RefusedReceived,
    ) -> None:
        feed = self.feeds.get(event.handle)
        if feed is None:
            return
        match event:
            case happened.TracksReceived():
                feed.tracks_received(event.epoch, event.tracks)
            case happened.StateReceived():
                feed.state_received(event.state, event.reason, event.route)
            case happened.GapReceived():
                feed.gap_received(event.next)
            case happened.RefusedReceived():
                del self.feeds[event.handle]
                feed.refused(event.code, event.reason)
            case _:
                assert_never(event)

    def _serve(
        self, event: happened.SubscribeReceived | happened.RecallReceived | happened.UnsubscribeReceived
    ) -> None:
        if self._sender is None:
            return
        if isinstance(event, happened.SubscribeReceived):
            self._sender.subscribe(event.handle, event.stream, event.after, event.history_seconds)
        elif isinstance(event, happened.RecallReceived):
            self._sender.recall(event.handle, event.stream, event.history_seconds)
        else:
            self._sender.unsubscribe(event.handle)

    def _open(self, event: happened.LinkOpened) -> None:
        if self._expected is not None and event.node != self._expected:
            detail = f"{self.channel.peer} is node {event.node}, where the registry says {self._expected}"
            self._finish(LinkError("wrong_node", detail))
            self.channel.close(NORMAL, "wrong_node")
            return
        self.peer, self.peer_role, self.peer_key = event.node, event.role, event.key
        self.channel.allow(MESSAGE_MAX_BYTES)
        self.opened_at = self._clock.monotonic()
        self._sender = self._owner.link_opened(self)
        if not self._opened.done():
            self._opened.set_result(None)

    def _fail(self, event: happened.LinkFailed) -> None:
        self._finish(LinkError(event.code, event.detail))
        self.channel.close(event.close_code, event.code, reads=event.code != FLOOD)

    def _forbid(self, event: happened.Overreached) -> None:
        """Count it; tell it once for each link and kind, for a peer may try as often as it likes."""
        tried = event.what.value
        self._metrics.refused.labels(tried).inc()
        tell = log.debug if event.what in self._told else log.warning
        self._told.add(event.what)
        credential = self._connection.peer_credential
        key = credential.key if credential is not None else ""
        tell("stream_forbidden", stream=event.stream, node=self.peer, key=key, tried=tried)
        if event.what is Overreach.OFFER and self.peer_role in OFFERING_ROLES:
            self.close(POLICY_VIOLATION, "forbidden")

    def _ignore(self, event: happened.UnknownReceived) -> None:
        """Count it; tell the first of each link: a peer of a later version may send many."""
        self._metrics.unknown_messages.inc()
        tell = log.debug if self._told_unknown else log.info
        self._told_unknown = True
        tell("unknown_message_ignored", node=self.peer, type=event.kind)

    def _leave(self) -> None:
        self.leaving = True
        for feed in tuple(self.feeds.values()):
            feed.parent_leaving()

    def _finish(self, end: LinkError) -> None:
        """End once: tell feeds, sender and owner."""
        if self.end is not None:
            return
        self.end = end
        self._connection.close()
        if self._timer is not None:
            self._stillness.note(self._timer_at, self._clock.monotonic())
            self._timer.cancel()
        if not self._opened.done():
            self._opened.set_exception(end)
        feeds, self.feeds = self.feeds, {}
        for feed in feeds.values():
            feed.link_lost(end.code)
        if self._sender is not None:
            self._sender.close()
        self._owner.link_ended(self, end)

    def _arm_timer(self) -> None:
        """Have `_on_timer` called when the connection wants it, or a little earlier: that costs a turn of the loop."""
        due = self._connection.next_timer()
        if due is None or self.end is not None:
            return
        if self._timer is not None and 0.0 <= due - self._timer_at < self._early_seconds:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        delay = max(0.0, due - self._clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        self._stillness.note(self._timer_at, now)
        self._connection.handle_timer(now, microseconds(self._clock.utc()))
        self._react()
