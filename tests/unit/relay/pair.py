"""Two relay connections with nothing between them but lists, and a clock that is moved by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from headrace.relay.credentials import Credential, Identity, cluster_credential
from headrace.relay.events import Event
from headrace.relay.protocol import LinkState, RelayConnection, Timing
from headrace.wire import relay as wire
from unit.relay.streams import video

CLUSTER = cluster_credential("correct horse")
E = TypeVar("E")


def identity(node: str, own: Credential = CLUSTER, accepted: tuple[Credential, ...] = (CLUSTER,)) -> Identity:
    """Return what `node` brings to an opening."""
    return Identity(node, "intermediate", own, {c.key: c for c in accepted}, software="headrace test")


class Pair:
    """Two connections, `a` and `b`; `pump` carries messages until both are silent."""

    def __init__(
        self, a: Identity | None = None, b: Identity | None = None, timing: Timing | None = None, skew_us: int = 0
    ) -> None:
        self.now = 1000.0
        self.skew_us = skew_us
        timing = timing or Timing()
        self.a = RelayConnection(a or identity("a"), timing, b"A" * 16, self.now)
        self.b = RelayConnection(b or identity("b"), timing, b"B" * 16, self.now)
        self.events: dict[str, list[Event]] = {"a": [], "b": []}
        self.delay = 0.0

    @property
    def utc_us(self) -> int:
        """UTC by the clock of `a`; that of `b` is ahead by `skew_us`."""
        return round(self.now * 1e6) + 1_700_000_000_000_000

    def pump(self) -> None:
        """Carry messages until both are silent; each way takes `delay` seconds."""
        while True:
            to_b, to_a = self.a.data_to_send(), self.b.data_to_send()
            if not to_a and not to_b:
                return
            for side, said in ((self.a, to_b), (self.b, to_a)):
                if said:
                    side.said(self.now)
            self.now += self.delay
            for message in to_b:
                self.b.receive(message, self.now, self.utc_us + self.skew_us)
            for message in to_a:
                self.a.receive(message, self.now, self.utc_us)
            self._note()

    def tick(self, seconds: float) -> None:
        """Let time pass and both handle their timers."""
        self.now += seconds
        self.a.handle_timer(self.now, self.utc_us)
        self.b.handle_timer(self.now, self.utc_us + self.skew_us)
        self._note()

    def send_to_b(self, message: bytes) -> None:
        """Have `b` receive a message that `a` did not write."""
        self.b.receive(message, self.now, self.utc_us + self.skew_us)
        self._note()

    def _note(self) -> None:
        self.events["a"] += self.a.events()
        self.events["b"] += self.b.events()

    def got(self, side: str, kind: type[E]) -> list[E]:
        """Return the events of one kind that `a` or `b` had, and forget all of that side."""
        events, self.events[side] = self.events[side], []
        return [event for event in events if isinstance(event, kind)]


def opened_pair(**changes: object) -> Pair:
    """Return a pair whose link is open."""
    pair = Pair(**changes)  # type: ignore[arg-type]
    pair.pump()
    assert pair.a.state is LinkState.OPEN
    assert pair.b.state is LinkState.OPEN
    pair.events = {"a": [], "b": []}
    return pair


def loopback(of: Identity) -> Identity:
    """Return an identity on a connection between loopback addresses."""
    return replace(of, allow_open=True)


def chunk_message(handle: int, number: int = 0, sent_us: int = 5) -> bytes:
    """Return a chunk as it travels."""
    return wire.chunk_prefix(handle, sent_us) + video(number).record
