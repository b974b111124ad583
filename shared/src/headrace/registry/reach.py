"""Whether a store answers: what is told when that changes, and exchanges that fail at once while it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from headrace.clock import Clock
from headrace.registry.leases import StoreAway
from headrace.registry.metrics import RegistryMetrics

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Reach:
    """How this process reaches the store.

    Attributes:
        where: the store's address for people.
        connected: whether it answered last.
        reason: why it does not, while it does not.
    """

    def __init__(self, where: str, clock: Clock, metrics: RegistryMetrics) -> None:
        self.where = where
        self.connected = False
        self.reason = "not started"
        self._clock = clock
        self._metrics = metrics
        self._away_since: float | None = None
        self._back_utc = 0.0

    def came_back(self, nodes: int) -> None:
        """It answers; so many nodes are known."""
        away = 0.0
        if self._away_since is not None:
            away = _now() - self._away_since
            self._back_utc = self._clock.utc()
        log.info("registry_answers", store=self.where, away_seconds=round(away, 1), nodes=nodes)
        self.connected = True
        self._away_since = None
        self._metrics.connected.set(1)

    def went_away(self, reason: str) -> None:
        """It does not answer, or not in time; told once."""
        self.connected = False
        self.reason = reason
        if self._away_since is None:
            self._away_since = _now()
            self._metrics.connected.set(0)
            self._metrics.outages.inc()
            log.warning("registry_is_away", store=self.where, reason=reason)

    def was_away_after(self, utc: float) -> bool:
        """Return whether it came back after `utc`, a time of something published; 0 is none."""
        return 0 < utc < self._back_utc

    def close(self) -> None:
        """Nothing is asked any more."""
        self.connected = False
        self.reason = "closed"
        self._metrics.connected.set(0)

    async def order(self, asking: Coroutine[Any, Any, T]) -> T:
        """Await an exchange that somebody waits for.

        Raises:
            StoreAway: when the store does not answer; at once while it is known not to.
        """
        if not self.connected:
            asking.close()
            raise StoreAway(self.reason)
        try:
            return await asking
        except StoreAway as error:
            self.went_away(str(error))
            raise

    async def ask(self, asking: Coroutine[Any, Any, T]) -> T | None:
        """Await an exchange; `None` when the store is away."""
        try:
            return await self.order(asking)
        except StoreAway:
            return None


def _now() -> float:
    return asyncio.get_running_loop().time()
