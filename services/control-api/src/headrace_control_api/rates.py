"""How many requests one asker may make: a token bucket each. Pure; the time is an argument."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

ASKERS_MAX: Final = 10_000
"""Most askers that are remembered; who has been silent for longest is forgotten first, with a full bucket."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Rates:
    """Counts requests by asker.

    Args:
        per_second: how many one may make in the long run.
        burst: how many at once.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, asker: str, now: float) -> float:
        """Count one request; return 0 when it may be answered, else after how many seconds another may be.

        Args:
            asker: a token or an address.
            now: monotonic, seconds.
        """
        bucket = self._buckets.pop(asker, None) or _Bucket(self._burst, now)
        self._buckets[asker] = bucket
        if len(self._buckets) > ASKERS_MAX:
            self._buckets.popitem(last=False)
        bucket.left = min(self._burst, bucket.left + max(0.0, now - bucket.at) * self._per_second)
        bucket.at = now
        if bucket.left < 1:
            return (1 - bucket.left) / self._per_second
        bucket.left -= 1
        return 0.0
