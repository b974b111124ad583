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

AGAIN_SECONDS = 0.25
"""Time from an answer that broke off, with the link or because the parent is busy, to the next question."""


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
        self._again_at = 0.0

    def look(self, reach_seconds: float, on_settled: Callable[[], None]) -> None:
        """Ask, unless that was done or the stream has been carried for long enough; `on_settled` is called later.

        To be called whenever something comes: an answer that broke off is asked for again, of the next parent then.
        """
        if self.settled or self._asked is not None or self._recall is None:
            return
        now = self._clock.monotonic()
        if reach_seconds >= self._seconds or now > self._until:
            self.settled = True
            return
        if now < self._again_at:
            return

        def ended(recalled: Recalled) -> None:
            if not recalled.complete:
                self._asked, self._again_at = None, self._clock.monotonic() + AGAIN_SECONDS
                return
            self.settled = True
            self.entries = recalled.entries
            on_settled()

        self._asked = self._recall(self._stream, self._seconds, ended)

    def stop(self) -> None:
        """Nobody wants it any more."""
        if not self.settled and self._asked is not None:
            self._asked.stop()
        self.settled = True
