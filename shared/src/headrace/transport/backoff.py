"""How long to wait before trying again. Pure: chance is an argument."""

from __future__ import annotations


class Backoff:
    """Waits that grow, with jitter so that many who lost the same peer do not come back together.

    Args:
        min: the first wait, in seconds.
        max: no wait is longer, in seconds.
        factor: each wait is this much longer than the one before.
        jitter: share of a wait that is left to chance, 0 to 1.
    """

    def __init__(self, min: float = 0.25, max: float = 10.0, factor: float = 2.0, jitter: float = 0.5) -> None:
        if not (0 < min <= max and factor >= 1 and 0 <= jitter <= 1):
            raise ValueError(f"backoff from {min} to {max} s by {factor} with jitter {jitter}")
        self._min = min
        self._max = max
        self._factor = factor
        self._jitter = jitter
        self._wait = min

    def next(self, random_unit: float) -> float:
        """Return how many seconds to wait now; the next answer will be longer.

        Args:
            random_unit: a random number from 0 to 1.
        """
        wait = self._wait
        self._wait = min(self._max, wait * self._factor)
        return wait * (1 - self._jitter * random_unit)

    def reset(self) -> None:
        """It worked: begin with the shortest wait again."""
        self._wait = self._min
