"""Segments that this edge lost and others may have: asked of its parent before anybody hears that they are gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace.identifiers import StreamName
from headrace.media.segments import Segment
from headrace.relay.broadcast import Opened
from headrace.session.recalling import Recalled
from headrace.wire.chunk import Chunk
from headrace_edge.live.past import Recall

ASKED_MAX = 512
"""Most segments remembered as asked for: more than a window has."""

Take = Callable[[Sequence[Opened | Chunk]], None]


class Mending:
    """What one stream lacks here: each segment is asked for once, one question at a time.

    Attributes:
        is_asking: whether an answer is under way.
    """

    def __init__(self, stream: StreamName, seconds: float, recall: Recall | None) -> None:
        """Ask `recall` for the last `seconds` of `stream`; without it nothing can be mended."""
        self.is_asking = False
        self._stream = stream
        self._seconds = seconds
        self._recall = recall
        self._asked: dict[tuple[int, int, int], None] = {}
        self._recalled: Recalled | None = None

    def ask(self, segment: Segment, take: Take) -> bool:
        """Ask for what is missing, if that was not done for `segment`; `take` is called later with all that came.

        Returns:
            Whether waiting is worth while.
        """
        key = (segment.epoch, segment.track.track, segment.number)
        if self.is_asking or self._recall is None or key in self._asked:
            return self.is_asking

        def ended(recalled: Recalled) -> None:
            self.is_asking, self._recalled = False, None
            take(recalled.entries if recalled.complete else ())

        recalled = self._recall(self._stream, self._seconds, ended)
        if recalled is None:
            return False
        self._recalled, self.is_asking = recalled, True
        self._asked[key] = None
        if len(self._asked) > ASKED_MAX:
            del self._asked[next(iter(self._asked))]
        return True

    def stop(self) -> None:
        """Nobody wants it any more."""
        if self._recalled is not None:
            self._recalled.stop()
        self.is_asking, self._recall = False, None
