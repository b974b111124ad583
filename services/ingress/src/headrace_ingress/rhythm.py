"""When a feed counts as silent, judged by its own rhythm. Pure.

Media of most feeds come all the time, of others in bursts: a picture every two seconds, a GOP at once, a segment of a
playlist. How far what came reaches ahead of the clock, the feed's *lead*, falls while nothing comes and rises by what
comes then; so between its highest and its lowest lies the longest pause that was seen, and a burst tells how long the
pause after it may be before there was any. A feed is silent once it paused longer than that, with some allowance.
"""

from __future__ import annotations

from typing import Final

ALLOWANCE: Final = 1.5
"""How many times its longest pause a feed may pause: networks are as late as that now and then."""

BURST_SECONDS: Final = 1.0
BURST_ALLOWANCE: Final = 2.0
"""The same of feeds that pause for longer than `BURST_SECONDS`: GOPs and segments differ by as much."""

WINDOW_SECONDS: Final = 20.0
"""How long a pause is remembered, and at most twice as long: three segments of a playlist at least."""


class Rhythm:
    """The rhythm of one attempt at a feed.

    Args:
        least_seconds: the shortest silence, however steady the feed is.
    """

    def __init__(self, least_seconds: float) -> None:
        self._least_seconds = least_seconds
        self._end = 0.0
        self._came_at: float | None = None
        self._since = 0.0
        self._low = self._high = 0.0
        self._before = 0.0

    @property
    def pause_seconds(self) -> float:
        """The longest pause that is usual: 0 before anything came."""
        return max(self._before, self._high - self._low)

    @property
    def silent_from(self) -> float | None:
        """When the feed counts as silent unless something comes until then; `None` before anything came."""
        if self._came_at is None:
            return None
        pause = self.pause_seconds
        allowance = BURST_ALLOWANCE if pause > BURST_SECONDS else ALLOWANCE
        return self._came_at + max(self._least_seconds, allowance * pause)

    def silent_seconds(self, now: float) -> float:
        """Return for how long nothing has come."""
        return 0.0 if self._came_at is None else now - self._came_at

    def came(self, seconds: float, end_seconds: float, now: float) -> None:
        """Take note of media.

        Args:
            seconds: how long they last.
            end_seconds: where the timeline ends with them.
            now: when they came, by a monotonic clock.
        """
        lead = end_seconds - now
        if self._came_at is None:
            self._low, self._high, self._since = lead - seconds, lead, now
        else:
            self._low = min(self._low, self._end - now)
            self._high = max(self._high, lead)
            if now - self._since >= WINDOW_SECONDS:
                self._before = self._high - self._low
                self._low, self._high, self._since = lead, lead, now
        self._end, self._came_at = end_seconds, now

    def opened(self) -> None:
        """Another epoch begins, on whose timeline what comes next may lie anywhere."""
        self._before = self.pause_seconds
        self._came_at = None
