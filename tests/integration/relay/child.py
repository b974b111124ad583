"""A child with nothing behind it: it speaks the relay protocol by hand, well or badly, slowly or not at all."""

from __future__ import annotations

from dataclasses import replace

from headrace.clock import SystemClock, microseconds
from headrace.identifiers import StreamName
from headrace.relay.credentials import Identity, cluster_credential
from headrace.relay.events import ChunkReceived, Event, GapReceived, LinkOpened
from headrace.relay.protocol import RelayConnection, Timing
from headrace.transport.channel import Channel
from headrace.transport.dialling import dial
from headrace.wire.relay import MESSAGE_MAX_BYTES, SUBPROTOCOL


class Child:
    """One dialled link without a node.

    Attributes:
        events: everything that happened.
        closed: code and reason, once it is over.
    """

    def __init__(self, channel: Channel, name: str, secret: str, timing: Timing, role: str = "edge") -> None:
        own = cluster_credential(secret)
        identity = Identity(name, role, own, {own.key: own}, allow_open=True)
        self.events: list[Event] = []
        self.closed: tuple[int, str] | None = None
        self.channel = channel
        self._clock = SystemClock()
        self.connection = RelayConnection(identity, timing, b"N" * 16, self._clock.monotonic())
        channel.attach(self)
        self.flush()

    @classmethod
    async def dial(
        cls,
        url: str,
        name: str = "child",
        secret: str = "",
        heartbeat: float = 0.1,
        timeout: float = 60.0,
        role: str = "edge",
    ) -> Child:
        """Return a child that has said hello."""
        channel = await dial(url, SUBPROTOCOL, max_size=MESSAGE_MAX_BYTES, send_limit_bytes=65_536)
        return cls(channel, name, secret, replace(Timing(), heartbeat=heartbeat, timeout=timeout), role)

    def flush(self) -> None:
        """Send what the connection wants to say."""
        self.channel.send(self.connection.data_to_send())
        self.events += self.connection.events()

    def ping(self) -> None:
        """Say that we live."""
        self.connection.handle_timer(self._clock.monotonic(), microseconds(self._clock.utc()))
        self.flush()

    def subscribe(self, stream: StreamName) -> int:
        """Ask for a stream."""
        handle = self.connection.subscribe(stream)
        self.flush()
        return handle

    @property
    def is_open(self) -> bool:
        """Whether both proofs were good."""
        return any(isinstance(event, LinkOpened) for event in self.events)

    @property
    def chunks(self) -> list[ChunkReceived]:
        """The chunks that came."""
        return [event for event in self.events if isinstance(event, ChunkReceived)]

    @property
    def gaps(self) -> list[GapReceived]:
        """The gaps that were told."""
        return [event for event in self.events if isinstance(event, GapReceived)]

    def pause(self) -> None:
        """Stop reading."""
        assert self.channel._transport is not None
        self.channel._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        assert self.channel._transport is not None
        self.channel._transport.resume_reading()

    def message_received(self, message: bytes) -> None:
        """Read a message."""
        self.connection.receive(message, self._clock.monotonic(), microseconds(self._clock.utc()))
        self.flush()

    def bytes_received(self) -> None:
        """Nothing to do."""

    def became_writable(self) -> None:
        """Nothing to do."""

    def channel_closed(self, code: int, reason: str, by_peer: bool) -> None:
        """Remember it."""
        self.closed = (code, reason)
