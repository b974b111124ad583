"""What viewers and children hear of how a fetched stream is doing: nothing of what will be over in a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from headrace.relay.broadcast import Broadcast, StateChange
from headrace.session.metrics import RelayMetrics
from headrace.wire.stream import RouteHop, StreamState

log = structlog.get_logger(__name__)


class Hearing:
    """Tells the states of one stream, some of them later.

    Args:
        broadcast: where they are told.
        own: the whole route of a stream that comes from nowhere: this node.
        seconds: how long a stream may be silent before that is told.
        metrics: counts the interruptions.
        is_fed: returns whether a parent delivers, be it one that is to be left.
        why_silent: returns why nothing comes.
    """

    def __init__(
        self,
        broadcast: Broadcast,
        own: tuple[RouteHop, ...],
        seconds: float,
        metrics: RelayMetrics,
        is_fed: Callable[[], bool],
        why_silent: Callable[[], str],
    ) -> None:
        self._broadcast = broadcast
        self._own = own
        self._seconds = seconds
        self._metrics = metrics
        self._is_fed = is_fed
        self._why_silent = why_silent
        self._silence: asyncio.TimerHandle | None = None
        self._held: StateChange | None = None
        broadcast.awaited = not broadcast.epoch

    @property
    def is_quiet(self) -> bool:
        """Whether viewers believe, or may believe, that the stream is live."""
        return self._broadcast.awaited or self._broadcast.state.state is StreamState.LIVE

    @property
    def is_expecting(self) -> bool:
        """Whether silence is to be told if it lasts."""
        return self._silence is not None

    def tell(self, change: StateChange) -> None:
        """Tell it now."""
        self._broadcast.set_state(change.state, change.reason, change.route)

    def hold(self, change: StateChange) -> None:
        """Tell it when nothing better came for long enough: another parent, or this one in a moment, may have it."""
        self._held = change
        self.expect()

    def expect(self) -> None:
        """Nothing comes now: tell that if nothing has come for long enough."""
        if self._silence is None and self.is_quiet:
            self._silence = asyncio.get_running_loop().call_later(self._seconds, self._lasts)

    def flows(self) -> None:
        """The stream comes, or is about to: there is nothing to tell."""
        self._cancel()
        self._held = None

    def interrupt(self, reason: str) -> None:
        """Tell now that it comes from nowhere."""
        self._cancel()
        if self._broadcast.state.state is StreamState.LIVE:
            self._metrics.interruptions.inc()
            log.warning("stream_interrupted", stream=self._broadcast.name, reason=reason)
        if self._broadcast.state.state is not StreamState.ENDED:
            self._broadcast.set_state(StreamState.INTERRUPTED, reason, self._own)

    def close(self) -> None:
        """Nothing is told any more."""
        self._cancel()

    def _lasts(self) -> None:
        self._silence = None
        if self._is_fed():
            self.expect()
            return
        held, self._held = self._held, None
        if held is not None:
            self.tell(held)
        else:
            self.interrupt(self._why_silent())

    def _cancel(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
