"""Whether this node's clock agrees with those of its peers: only figures depend on it, but people should know."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from prometheus_client import Gauge

from headrace.session.link import Link

DIFFERENCE_MAX_SECONDS = 5.0
"""From here on a clock is wrong: time servers keep them within milliseconds."""

log = structlog.get_logger(__name__)


class Clocks:
    """Watches the offsets that heartbeats tell.

    Args:
        gauge: set to the largest offset, in seconds.
    """

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._differs = False

    def look(self, links: Iterable[Link]) -> None:
        """Compare; a clock that is wrong is told once, until all are right again."""
        offsets = [(link.clock_offset, link) for link in links if link.clock_offset is not None]
        offset, link = max(offsets, key=lambda pair: abs(pair[0]), default=(0.0, None))
        self._gauge.set(offset)
        differs = abs(offset) > DIFFERENCE_MAX_SECONDS
        if differs and not self._differs and link is not None:
            log.warning("clock_differs", node=link.peer, ahead_seconds=round(offset, 1))
        self._differs = differs
