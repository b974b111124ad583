"""When a feed counts as silent, judged by its own rhythm. Pure.

Media of most feeds come all the time, of others in bursts: a picture every two seconds, a GOP at once, a segment of a
playlist. A feed is silent once it paused for longer than it did of late, with some allowance.

At its beginning no pause has been seen yet. Then one of some seconds is expected, and a longer one where a burst tells
so: how far what came reaches ahead of the clock, the feed's *lead*, rises by what comes and falls while nothing comes,
and between its highest and its lowest lies the pause that may follow. What a server had kept, or libav took in while
probing, rises as well; if no pause follows, that is forgotten as soon as it would have been over.
"""

from __future__ import annotations

from typing import Final

ALLOWANCE: Final = 1.5
"""How many times its longest pause a feed may pause: networks are as late as that now and then."""

BURST_SECONDS: Final = 1.0
BURST_ALLOWANCE: Final = 2.0
"""The same of feeds that pause for longer than `BURST_SECONDS`: GOPs and segments differ by as much."""

OPENING_SECONDS: Final = 5.0
OPENING_PAUSES: Final = 2.0
"""For so long a feed is expected to pause for so many times its shortest silence, whatever it does: readers rest
between chunks, so the first GOP of a feed that sends whole ones does not look like a burst."""

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
        self._longest = self._before = 0.0
        self._since = 0.0
        self._began: float | None = None
        self._low = self._high = 0.0

    @property
    def pause_seconds(self) -> float:
        """The longest pause that is usual: 0 before anything came."""
        opening = 0.0 if self._began is None else max(self._high - self._low, OPENING_PAUSES * self._least_seconds)
        return max(self._longest, self._before, opening)

    @property
    def silent_from(self) -> float | None:
        """When the feed counts as silent unless something comes until then; `None` before anything came."""
        return None if self._came_at is None else self._came_at + self._allowed(self.pause_seconds)

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
            self._began, self._low, self._high = now, lead - seconds, lead
        else:
            self._pause(now - self._came_at, now)
            self._low, self._high = min(self._low, self._end - now), max(self._high, lead)
            opening = max(OPENING_SECONDS, self._allowed(self._high - self._low))
            if self._began is not None and now - self._began > opening:
                self._began = None
        self._end, self._came_at = end_seconds, now

    def opened(self) -> None:
        """Another epoch begins, on whose timeline what comes next may lie anywhere."""
        self._came_at = None

    def _allowed(self, pause: float) -> float:
        return max(self._least_seconds, (BURST_ALLOWANCE if pause > BURST_SECONDS else ALLOWANCE) * pause)

    def _pause(self, seconds: float, now: float) -> None:
        self._longest = max(self._longest, seconds)
        if now - self._since >= WINDOW_SECONDS:
            self._before, self._longest, self._since = self._longest, 0.0, now
