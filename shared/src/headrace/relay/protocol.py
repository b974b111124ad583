"""The behaviour of headrace.relay.v1: one side of one link, as a machine without I/O and without a clock.

Theory of operation
-------------------
Feed each WebSocket message to `receive`, with the time. Then take what happened from `events`, and what must leave from
`data_to_send`, in that order of the calls or any other. Ask `next_timer` when to call `handle_timer`. Everything that
the user wants from the peer is a method (`subscribe`, `send_state`, …) that puts bytes into `data_to_send`; only chunks
go around it, because they are large and shared: write `chunk_prefix` and the record after what `data_to_send` returns,
so that heartbeats never wait behind media here.

    opening                                          open
    HELLO --hello--> PROOF --proof--> OPEN  <-- everything else
      |                |                |
      +----------------+----------------+--> CLOSED  (an error, a time-out, `close`)

Each side sends hello at once and its proof when it has the other's hello. The link is open for a side when the other's
proof was good. Whatever comes when it is not due ends the link: in the opening with 1008 `bad_proof`, so that a
stranger learns nothing, later with 1002 and the error's code. `receive` never raises; errors of the peer become
`LinkFailed`.

Times: `now` is monotonic seconds, `utc_us` is UTC in microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from headrace.identifiers import ChunkId, Epoch, NodeId, StreamName
from headrace.relay import events as happened
from headrace.relay.credentials import Credential, Identity, NotBelieved, Opening, believe, prove
from headrace.relay.events import Event, LinkFailed, Overreach
from headrace.relay.heartbeat import PINGS_PER_SECOND, ClockSample, Heartbeat
from headrace.relay.link import (
    FLOOD,
    GOING_AWAY,
    NORMAL,
    OFFERS_MAX,
    POLICY_VIOLATION,
    PROTOCOL_ERROR,
    LinkState,
    NotCovered,
    Timing,
    TooManySubscriptions,
)
from headrace.wire import relay as wire
from headrace.wire.errors import WireError
from headrace.wire.stream import RouteHop, StreamState, Track

__all__ = [
    "GOING_AWAY",
    "NORMAL",
    "OFFERS_MAX",
    "LinkState",
    "NotCovered",
    "RelayConnection",
    "Timing",
    "TooManySubscriptions",
]

T = TypeVar("T")


class RelayConnection:
    """One side of a link.

    Attributes:
        state: where it is in its life.
        peer: the other side's hello, `None` until it came.
        peer_credential: what the peer proved to know, `None` until the link is open.
        failure: why it is closed, `None` while it is not or when `close` was called.
    """

    def __init__(self, identity: Identity, timing: Timing, nonce: bytes, now: float) -> None:
        self.state = LinkState.HELLO
        self.peer: wire.Hello | None = None
        self.peer_credential: Credential | None = None
        self.failure: LinkFailed | None = None
        self._identity = identity
        self._nonce = nonce
        self._heartbeat = Heartbeat(timing.heartbeat, timing.timeout, now)
        self._opening_deadline = now + timing.opening
        self._fetching: dict[int, StreamName] = {}
        self._serving: dict[int, StreamName] = {}
        self._offers: dict[StreamName, Epoch] = {}
        self._last_handle = 0
        self._events: list[Event] = []
        self._output: list[bytes] = []
        if identity.own.secret or identity.allow_open:
            self._send_hello()
        else:
            self._fail(
                POLICY_VIOLATION,
                "no_secret",
                "relay secret is empty and the peer is not on loopback: set relay.secret on every node",
            )

    def __repr__(self) -> str:
        peer = self.peer.node if self.peer else "?"
        return f"<RelayConnection {self._identity.node} to {peer}: {self.state.value}>"

    # -- three faces: messages in, events out, messages out ----------------------------------------

    def receive(self, message: bytes, now: float, utc_us: int) -> None:
        """Take one WebSocket message; call `events` and `data_to_send` next."""
        if self.state is LinkState.CLOSED:
            return
        self._heartbeat.heard(now)
        try:
            if message[:1] == _CHUNK_BYTE and self.state is LinkState.OPEN:
                self._receive_chunk(message)
            else:
                self._receive_control(message, now, utc_us)
        except WireError as error:
            self._fail(PROTOCOL_ERROR, error.code, str(error))
        if self.state is LinkState.OPEN and not self._output:
            self._say(self._heartbeat.answer(now, utc_us))

    def heard(self, now: float) -> None:
        """Bytes came from the peer that are no whole message yet: it lives."""
        self._heartbeat.heard(now)

    def said(self, now: float) -> None:
        """Something was sent to the peer: what `data_to_send` returned, or chunks."""
        self._heartbeat.said(now)

    def events(self) -> list[Event]:
        """Return what happened since the last call, in order."""
        happened_now, self._events = self._events, []
        return happened_now

    def data_to_send(self) -> list[bytes]:
        """Return the control messages to send, in order; each is one binary WebSocket message."""
        output, self._output = self._output, []
        return output

    # -- time --------------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """Return when `handle_timer` is to be called, `None` when never again."""
        if self.state is LinkState.CLOSED:
            return None
        if self.state is LinkState.OPEN:
            return self._heartbeat.next_timer()
        return self._opening_deadline

    def handle_timer(self, now: float, utc_us: int) -> None:
        """Do what time demands; call `events` and `data_to_send` next. Too early a call does nothing."""
        if self.state is LinkState.OPEN:
            self._handle_heartbeat(now, utc_us)
        elif self.state is not LinkState.CLOSED and now >= self._opening_deadline:
            self._fail(POLICY_VIOLATION, "opening_timeout", "peer did not complete hello and proof in time")

    @property
    def clock(self) -> ClockSample | None:
        """The best recent clock sample, `None` before the first pong."""
        return self._heartbeat.best

    def transit_seconds(self, sent_us: int, utc_us: int) -> float | None:
        """Return how long a message was under way that left the peer at its `sent_us` and came at our `utc_us`.

        `None` until the clocks were compared. Never negative: offsets are only known to half a round trip.
        """
        best = self._heartbeat.best
        return None if best is None else max(0.0, (utc_us - sent_us) / 1e6 + best.offset)

    # -- what the user may ask for -----------------------------------------------------------------

    def subscribe(
        self, stream: StreamName, after: Mapping[int, ChunkId] | None = None, history_seconds: float = 0.0
    ) -> int:
        """Ask the peer for a stream; return the handle.

        Args:
            stream: its name.
            after: the last chunk had of each track, to go on after it.
            history_seconds: without `after`, how much of the past to begin with.

        Raises:
            TooManySubscriptions: when no handle is free.
            NotCovered: when the peer may not deliver this stream.
        """
        handle = self._handle_for(stream)
        self._fetching[handle] = stream
        place = wire.places(dict(after)) if after else None
        history_ms = round(history_seconds * 1000)
        self._send(wire.Subscribe(handle=handle, stream=stream, after=place, history_ms=history_ms))
        return handle

    def recall(self, stream: StreamName, history_seconds: float) -> int:
        """Ask the peer for so much of a stream's past, once; return the handle, which `Refused` ends.

        Raises:
            TooManySubscriptions: when no handle is free.
            NotCovered: when the peer may not deliver this stream.
        """
        handle = self._handle_for(stream)
        self._fetching[handle] = stream
        self._send(wire.Recall(handle=handle, stream=stream, history_ms=round(history_seconds * 1000)))
        return handle

    def unsubscribe(self, handle: int) -> None:
        """Let go of a subscription; does nothing when it is over already. What is under way still is ignored."""
        if self._fetching.pop(handle, None) is not None:
            self._send(wire.Unsubscribe(handle=handle))

    def offer(self, streams: Mapping[StreamName, Epoch]) -> None:
        """Tell the peer of streams that we can deliver, beside those offered before."""
        for part in _parts(list(streams.items())):
            self._send(wire.Offer(streams=tuple(wire.OfferedStream(stream=s, epoch=e) for s, e in part)))

    def withdraw(self, streams: Iterable[StreamName]) -> None:
        """Tell the peer of streams offered before that we can deliver no longer."""
        for part in _parts(list(streams)):
            self._send(wire.Withdraw(streams=tuple(part)))

    def send_state(self, handle: int, state: StreamState, reason: str, route: tuple[RouteHop, ...]) -> None:
        """Tell the peer how a stream it subscribed to is doing; `route` is ingress first, this node last."""
        reason = reason[: wire.REASON_MAX_CHARACTERS]
        self._send(wire.State(handle=handle, state=state, reason=reason, route=route))

    def send_tracks(self, handle: int, epoch: Epoch, tracks: tuple[Track, ...]) -> None:
        """Tell the peer the tracks of an epoch; refuses the subscription when they do not fit into a message."""
        try:
            self._send(wire.Tracks(handle=handle, epoch=epoch, tracks=tracks))
        except WireError as error:
            self.refuse(handle, error.code, error.detail)

    def send_gap(self, handle: int, following: ChunkId) -> None:
        """Tell the peer that chunks before `following` in its track will not come."""
        self._send(wire.Gap(handle=handle, track=following.track, next=following.position))

    def refuse(self, handle: int, code: str, reason: str) -> None:
        """End a subscription of the peer's."""
        if self._serving.pop(handle, None) is not None:
            self._send(wire.Refused(handle=handle, code=code, reason=reason[: wire.REASON_MAX_CHARACTERS]))

    def serves(self, handle: int) -> bool:
        """Return whether the peer has a subscription with this handle."""
        return handle in self._serving

    def going_away(self, alternatives: Iterable[wire.Alternative], deadline_ms: int) -> None:
        """Ask the peer to take its streams elsewhere within `deadline_ms`."""
        chosen = tuple(alternatives)[: wire.ALTERNATIVES_MAX]
        self._send(wire.GoingAway(alternatives=chosen, deadline_ms=deadline_ms))

    def is_trusted_by(self, identity: Identity) -> bool:
        """Return whether the link could be opened with the same credentials by what `identity` knows now."""
        return identity.trusts(self._identity.own) and (
            self.peer_credential is None or identity.trusts(self.peer_credential)
        )

    def close(self) -> None:
        """Be closed; the caller closes the WebSocket."""
        self.state = LinkState.CLOSED

    # -- inside: receiving -------------------------------------------------------------------------

    def _receive_chunk(self, message: bytes) -> None:
        handle, sent_us, chunk = wire.decode_chunk(message)
        if handle in self._fetching:  # else it was under way when we unsubscribed
            self._events.append(happened.ChunkReceived(handle, chunk, sent_us))

    def _receive_control(self, data: bytes, now: float, utc_us: int) -> None:
        message = wire.decode(data)
        if message is None and self.state is LinkState.OPEN:
            self._events.append(happened.UnknownReceived(data[0]))
            return
        receiver = _RECEIVERS[self.state].get(type(message))
        if receiver is not None:
            receiver(self, message, now, utc_us)
        elif self.state is LinkState.OPEN:
            raise WireError("unexpected", f"{type(message).__name__} on an open link")
        else:
            self._fail(POLICY_VIOLATION, "bad_proof", f"peer sent something else where its {self.state.value} was due")

    def _hello(self, hello: wire.Hello, now: float, utc_us: int) -> None:
        me = self._identity
        self.peer = hello
        if hello.node == me.node:
            detail = f"peer is called {me.node} as this node is: give every node its own node.id"
            self._fail(POLICY_VIOLATION, "same_node", detail)
            return
        self.state = LinkState.PROOF
        mac, host_mac = prove(me, self._nonce, _opening(hello))
        self._send(wire.Proof(mac=mac, host_mac=host_mac))

    def _proof(self, proof: wire.Proof, now: float, utc_us: int) -> None:
        peer = self.peer
        assert peer is not None  # the state PROOF is entered with the hello
        try:
            credential = believe(self._identity, self._nonce, _opening(peer), proof.mac, proof.host_mac)
        except NotBelieved as problem:
            self._fail(POLICY_VIOLATION, "bad_proof", f"node {peer.node} {problem}")
            return
        self.peer_credential = credential
        self.state = LinkState.OPEN
        self._heartbeat = Heartbeat(self._heartbeat.interval, self._heartbeat.timeout, now)
        self._events.append(happened.LinkOpened(NodeId(peer.node), peer.role, peer.key, peer.software))

    def _offer(self, offer: wire.Offer, now: float, utc_us: int) -> None:
        assert self.peer_credential is not None
        for item in offer.streams:
            stream = StreamName(item.stream)
            if self.peer_credential.may_offer(stream):
                self._offers[stream] = Epoch(item.epoch)
            else:
                self._events.append(happened.Overreached(Overreach.OFFER, stream))
        if len(self._offers) > OFFERS_MAX:
            raise WireError("too_many", f"more than {OFFERS_MAX} streams offered")
        self._events.append(happened.OffersChanged(dict(self._offers)))

    def _withdraw(self, withdraw: wire.Withdraw, now: float, utc_us: int) -> None:
        for name in withdraw.streams:
            self._offers.pop(StreamName(name), None)
        self._events.append(happened.OffersChanged(dict(self._offers)))

    def _subscribe(self, message: wire.Subscribe, now: float, utc_us: int) -> None:
        if message.handle in self._serving:
            raise WireError("bad_handle", f"subscribe with handle {message.handle}, which is in use")
        assert self.peer_credential is not None
        stream = StreamName(message.stream)
        self._serving[message.handle] = stream
        if self.peer_credential.may_subscribe(stream):
            history_seconds = message.history_ms / 1000
            event = happened.SubscribeReceived(message.handle, stream, message.places, history_seconds)
            self._events.append(event)
        else:
            self._forbid(message.handle, stream)

    def _recall(self, message: wire.Recall, now: float, utc_us: int) -> None:
        if message.handle in self._serving:
            raise WireError("bad_handle", f"recall with handle {message.handle}, which is in use")
        assert self.peer_credential is not None
        stream = StreamName(message.stream)
        self._serving[message.handle] = stream
        if self.peer_credential.may_subscribe(stream):
            self._events.append(happened.RecallReceived(message.handle, stream, message.history_ms / 1000))
        else:
            self._forbid(message.handle, stream)

    def _forbid(self, handle: int, stream: StreamName) -> None:
        self.refuse(handle, "forbidden", "the link's credential does not cover this stream")
        self._events.append(happened.Overreached(Overreach.SUBSCRIBE, stream))

    def _unsubscribe(self, message: wire.Unsubscribe, now: float, utc_us: int) -> None:
        stream = self._serving.pop(message.handle, None)
        if stream is not None:  # else our refusal crossed it
            self._events.append(happened.UnsubscribeReceived(message.handle, stream))

    def _tracks(self, message: wire.Tracks, now: float, utc_us: int) -> None:
        if message.handle in self._fetching:
            self._events.append(happened.TracksReceived(message.handle, Epoch(message.epoch), message.tracks))

    def _state(self, message: wire.State, now: float, utc_us: int) -> None:
        if message.handle in self._fetching:
            event = happened.StateReceived(message.handle, message.state, message.reason, message.route)
            self._events.append(event)

    def _gap(self, message: wire.Gap, now: float, utc_us: int) -> None:
        if message.handle in self._fetching:
            self._events.append(happened.GapReceived(message.handle, message.chunk_id))

    def _refused(self, message: wire.Refused, now: float, utc_us: int) -> None:
        if self._fetching.pop(message.handle, None) is not None:
            self._events.append(happened.RefusedReceived(message.handle, message.code, message.reason))

    def _going_away(self, message: wire.GoingAway, now: float, utc_us: int) -> None:
        self._events.append(happened.GoingAwayReceived(message.alternatives, message.deadline_ms))

    def _ping(self, message: wire.Ping, now: float, utc_us: int) -> None:
        if not self._heartbeat.may_ping(now):
            self._fail(POLICY_VIOLATION, FLOOD, f"more than {PINGS_PER_SECOND} pings a second")
            return
        self._send(wire.Pong(id=message.id, sent_us=message.sent_us, received_us=utc_us, answered_us=utc_us))

    def _pong(self, message: wire.Pong, now: float, utc_us: int) -> None:
        sample = self._heartbeat.pong(message, now, utc_us)
        if sample is not None:
            self._events.append(happened.ClockSampled(sample))

    # -- inside: the rest --------------------------------------------------------------------------

    def _send_hello(self) -> None:
        me = self._identity
        hello = wire.Hello(
            version=wire.VERSION,
            node=me.node,
            role=me.role,
            key=me.own.key,
            nonce=self._nonce,
            software=me.software,
        )
        self._send(hello)

    def _send(self, message: wire.Message) -> None:
        if self.state is not LinkState.CLOSED:
            self._output.append(wire.encode(message))

    def _handle_heartbeat(self, now: float, utc_us: int) -> None:
        if self._heartbeat.is_silent(now):
            seconds = f"{self._heartbeat.timeout:g}"
            self._fail(PROTOCOL_ERROR, "heartbeat_timeout", f"nothing was heard for {seconds} s")
            return
        self._say(self._heartbeat.beat(now, utc_us))

    def _say(self, beat: wire.Ping | wire.Pong | None) -> None:
        if beat is not None:
            self._send(beat)

    def _fail(self, close_code: int, code: str, detail: str) -> None:
        self.state = LinkState.CLOSED
        self.failure = LinkFailed(close_code, code, detail)
        self._events.append(self.failure)

    def _handle_for(self, stream: StreamName) -> int:
        """Return the next free handle, going round.

        What is still under way for an old subscription must not be taken for a new one.
        """
        credential = self.peer_credential
        if credential is not None and not credential.may_offer(stream):
            self._events.append(happened.Overreached(Overreach.DELIVER, stream))
            raise NotCovered(credential.key, stream)
        if len(self._fetching) >= wire.HANDLE_MAX:
            raise TooManySubscriptions
        while True:
            self._last_handle = self._last_handle % wire.HANDLE_MAX + 1
            if self._last_handle not in self._fetching:
                return self._last_handle


def _opening(hello: wire.Hello) -> Opening:
    return Opening(hello.node, hello.role, hello.key, hello.nonce)


def _parts(items: list[T]) -> Iterable[list[T]]:
    """Cut a list into pieces that fit into one message."""
    return (items[start : start + wire.STREAMS_MAX] for start in range(0, len(items), wire.STREAMS_MAX))


_CHUNK_BYTE = bytes((wire.CHUNK_TYPE,))

_RECEIVERS: dict[LinkState, dict[type, Callable[[RelayConnection, Any, float, int], None]]] = {
    LinkState.HELLO: {wire.Hello: RelayConnection._hello},
    LinkState.PROOF: {wire.Proof: RelayConnection._proof},
    LinkState.OPEN: {
        wire.Offer: RelayConnection._offer,
        wire.Withdraw: RelayConnection._withdraw,
        wire.Subscribe: RelayConnection._subscribe,
        wire.Recall: RelayConnection._recall,
        wire.Unsubscribe: RelayConnection._unsubscribe,
        wire.Tracks: RelayConnection._tracks,
        wire.State: RelayConnection._state,
        wire.Gap: RelayConnection._gap,
        wire.Refused: RelayConnection._refused,
        wire.GoingAway: RelayConnection._going_away,
        wire.Ping: RelayConnection._ping,
        wire.Pong: RelayConnection._pong,
    },
}
"""What each state takes, and which method takes it."""
