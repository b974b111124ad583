"""This node's hold on a stream: while it is not sure to be the one that publishes it, nothing is published."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headrace.registry.claims import Claim, ClaimState
from headrace.registry.registry import Registry
from headrace_ingress.events import Chunks, Closed, EpochOpened, Event
from headrace_ingress.handover import HANDOVER_MAX_BYTES

RECHECK_SECONDS = 0.02
"""How often a feed that is held back looks whether it may go on: less than a frame."""


class Hold:
    """The claim on a stream's source as its feed needs it.

    A process that stood still cannot know by itself whether somebody took over meanwhile, and that its first word with
    the store fails says nothing: its feed is held back until the store has answered, or for `patience_seconds`. When
    the store went away before the very eyes of this process, what runs goes on.

    Args:
        registry: which has the claim.
        claim: `None` for a source of this node's own configuration that runs while the store cannot be asked.
        patience_seconds: how long to wait for an answer.

    Attributes:
        claim: may be replaced.
        facts: what else others are told of the source, with its next state.
    """

    def __init__(self, registry: Registry, claim: Claim | None, patience_seconds: float) -> None:
        self._registry = registry
        self.claim = claim
        self.facts: dict[str, str] = {}
        self._patience_seconds = patience_seconds
        self._saw_it_go = False
        self._unsure_since: float | None = None

    @property
    def is_claimed(self) -> bool:
        """Whether the stream may be announced as this node's."""
        return self.claim is not None and self.claim.state in {ClaimState.HELD, ClaimState.DOUBTED}

    def may_publish(self) -> bool:
        """Return whether nobody else can be publishing the stream, as far as can be known; to be asked often."""
        if self.claim is None:
            return True
        if not self.is_claimed:
            return False
        if self.claim.is_sure:
            self._saw_it_go, self._unsure_since = not self._registry.connected, None
            return True
        if self._saw_it_go:
            return not self._registry.connected or self._is_patience_over()
        return self._is_patience_over()

    def _is_patience_over(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._unsure_since is None:
            self._unsure_since = now
        return now - self._unsure_since >= self._patience_seconds

    def tell(self, status: str, detail: str) -> None:
        """Tell others how the source does."""
        if self.claim is not None and self.is_claimed:
            self._registry.report(self.claim, status, detail, self.facts)


class Gate:
    """Lets a reader's events through while the feed may publish, and keeps them in order while it may not.

    Args:
        may_publish: whether it may.
        deliver: takes the events.
    """

    def __init__(self, may_publish: Callable[[], bool], deliver: Callable[[list[Event]], None]) -> None:
        self._may_publish = may_publish
        self._deliver = deliver
        self._held: list[Event] = []
        self._timer: asyncio.TimerHandle | None = None

    def take(self, events: list[Event]) -> None:
        """Take events of the reader."""
        self._held += events
        self._pass()

    def shut(self) -> None:
        """Publish nothing that is held; the reader's last word still passes."""
        self._held = [event for event in self._held if isinstance(event, Closed)]

    def _pass(self) -> None:
        self._stop_timer()
        if not self._may_publish():
            if self._is_over():
                # Its chunks were numbered and stay unseen, which the next epoch tells as a gap.
                self._held = [event for event in self._held if not isinstance(event, Chunks | EpochOpened)]
            else:
                self._timer = asyncio.get_running_loop().call_later(RECHECK_SECONDS, self._pass)
                return
        events, self._held = self._held, []
        if events:
            self._deliver(events)

    def _is_over(self) -> bool:
        """Whether waiting is of no use: the reader ended, or too much is held."""
        held = sum(len(chunk.record) for event in self._held if isinstance(event, Chunks) for chunk in event.chunks)
        return held > HANDOVER_MAX_BYTES or any(isinstance(event, Closed) for event in self._held)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
