"""What came before this edge carried a stream, asked of its parent so that a cold edge says what a warm one says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace.clock import Clock
from headrace.identifiers import StreamName
from headrace.relay.broadcast import Opened
from headrace.session.recalling import Recalled
from headrace.wire.chunk import Chunk

PAST_SECONDS = 5.0
"""Longest wait for the past when a stream's first request came; then the edge begins with what it has."""


Recall = Callable[[StreamName, float, Callable[[Recalled], None]], Recalled | None]
"""Asks the parent for a stream's past; see `headrace.session.node.Node.recall`."""


class Past:
    """The past of one stream: wanted, asked for, then settled.

    Attributes:
        settled: whether nothing more is to be expected.
        entries: what the parent sent, once it is settled; nothing when that was not complete.
    """

    def __init__(self, stream: StreamName, seconds: float, recall: Recall | None, clock: Clock) -> None:
        self.settled = recall is None
        self.entries: Sequence[Opened | Chunk] = ()
        self._stream = stream
        self._seconds = seconds
        self._recall = recall
        self._clock = clock
        self._until = clock.monotonic() + PAST_SECONDS
        self._asked: Recalled | None = None

    def look(self, reach_seconds: float, on_settled: Callable[[], None]) -> None:
        """Ask, unless that was done or the stream has been carried for long enough; `on_settled` is called later."""
        if self.settled or self._asked is not None or self._recall is None:
            return
        if reach_seconds >= self._seconds or self._clock.monotonic() > self._until:
            self.settled = True
            return

        def ended(recalled: Recalled) -> None:
            self.settled = True
            self.entries = recalled.entries if recalled.complete else ()
            on_settled()

        self._asked = self._recall(self._stream, self._seconds, ended)

    def stop(self) -> None:
        """Nobody wants it any more."""
        if not self.settled and self._asked is not None:
            self._asked.stop()
        self.settled = True
