"""One source of a feed, from its start to its last word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headrace.clock import Clock
from headrace_ingress.events import Closed, Event, Numbers
from headrace_ingress.hold import Gate
from headrace_ingress.silence import Silence
from headrace_ingress.source import ChunkSource


class Attempt:
    """One source and what came of it.

    Args:
        source: not started yet.
        may_publish: whether what it tells may be published; else it waits.
        take: takes what it tells.
        clock: of this process.

    Attributes:
        closed: done with the source's last word.
        live_at: when its first chunk came, by the monotonic clock; `None` before.
        is_numbering: it has begun an epoch, and was not held since.
    """

    def __init__(
        self,
        source: ChunkSource,
        may_publish: Callable[[], bool],
        take: Callable[[Attempt, list[Event]], None],
        clock: Clock,
    ) -> None:
        self.source = source
        self.closed: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self.live_at: float | None = None
        self.is_numbering = False
        self._gate = Gate(may_publish, lambda events: take(self, events))
        self._clock = clock
        self._silence: Silence | None = None
        self._cpu_seconds = 0.0

    def watch(self, silence_seconds: float, on_silent: Callable[[Attempt, float], None]) -> None:
        """Have its silences told, once each with the seconds that nothing came for; the shortest is given."""
        self._silence = Silence(silence_seconds, self._clock, lambda seconds: on_silent(self, seconds))

    def start(self, numbers: Numbers) -> None:
        """Begin, the numbers going on from `numbers`."""
        self.source.start(numbers, self._hear)

    def stop(self) -> None:
        """Have it end, and nothing more of it published."""
        if self._silence is not None:
            self._silence.close()
        self._gate.shut()
        self.source.stop()

    def take_cpu_seconds(self) -> float:
        """Return what it has cost since this was asked last."""
        before, self._cpu_seconds = self._cpu_seconds, self.source.cpu_seconds
        return max(0.0, self._cpu_seconds - before)

    def _hear(self, events: list[Event]) -> None:
        if self._silence is not None:
            self._silence.take(events)  # before the gate: what is held back here has come
        self._gate.take(events)
