"""Which feed ended its worker, as far as can be known, and what follows from it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from headrace.identifiers import StreamName

STRIKES: Final = 2
"""How often a feed may be among those whose worker ended before it is kept apart from others. One whose own thread
crashed is known, and gets all at once."""

REMEMBERED_SECONDS: Final = 300.0
"""How long a strike counts: a feed that ends its worker less often than that harms its neighbours less than a process
of its own costs."""


class Suspects:
    """Counts strikes by feed."""

    def __init__(self) -> None:
        self._strikes: dict[StreamName, list[float]] = {}

    def blame(self, feeds: Collection[StreamName], culprit: StreamName | None, now: float) -> None:
        """Take note that a worker ended by itself.

        Args:
            feeds: that it read.
            culprit: whose thread it was, `None` when nobody knows.
            now: by a monotonic clock.
        """
        self._forget(now)
        if culprit is not None:
            self.convict(culprit, now)
            return
        for feed in feeds:
            self._strikes.setdefault(feed, []).append(now)

    def convict(self, feed: StreamName, now: float) -> None:
        """Have a feed kept apart."""
        self._strikes.setdefault(feed, []).extend([now] * STRIKES)

    def is_guilty(self, feed: StreamName, now: float) -> bool:
        """Return whether a feed is to be kept apart."""
        return sum(now - moment < REMEMBERED_SECONDS for moment in self._strikes.get(feed, ())) >= STRIKES

    def _forget(self, now: float) -> None:
        for feed, moments in tuple(self._strikes.items()):
            recent = [moment for moment in moments if now - moment < REMEMBERED_SECONDS][-STRIKES:]
            if recent:
                self._strikes[feed] = recent
            else:
                del self._strikes[feed]
