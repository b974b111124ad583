"""Remembering: a stream's past from whoever has it, for outputs that can name what came before they began.

The parent is asked. One that began late itself asks its own, up to the node that publishes the stream; but where that
began anew, it has nothing of what another published before it. Then those that carry the stream for longest are asked;
they answer with what they hold, or their parents do, and ask no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from headrace.identifiers import StreamName
from headrace.registry.placement import Candidate
from headrace.relay.broadcast import Opened
from headrace.session.link import Link, LinkError
from headrace.session.recalling import Past, Recalling, reach_seconds

OTHERS_MAX = 2
"""Most nodes asked beside the parent: one that carries the stream for long has it all, or nobody has."""

OTHER_SECONDS = 1.0
"""Longest wait for each of them, to be dialled and to answer: whoever asks has viewers that wait."""

log = structlog.get_logger(__name__)


class Remembering:
    """One question; `on_end` is called once, unless `stop` was called before.

    Attributes:
        entries: what came, oldest first.
        complete: whether it came to its end in good order.
    """

    def __init__(
        self,
        stream: StreamName,
        history_seconds: float,
        others: Callable[[], Sequence[Candidate]],
        dial: Callable[[Candidate], Awaitable[Link]],
        on_end: Callable[[Remembering], None],
    ) -> None:
        """Ask for the last `history_seconds`, of the parent and then of `others`, linked to by `dial`."""
        self.entries: Sequence[Past] = ()
        self.complete = False
        self._stream = stream
        self._seconds = history_seconds
        self._others = others
        self._dial = dial
        self._on_end: Callable[[Remembering], None] | None = on_end
        self._recalling: Recalling | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, parent: Link) -> bool:
        """Ask `parent`; return False when its link cannot take another question."""
        self._recalling = Recalling(parent, self._parent_answered)
        return self._recalling.begin(self._stream, self._seconds)

    def stop(self) -> None:
        """Nobody wants it any more."""
        self._on_end = None
        if self._recalling is not None:
            self._recalling.stop()
        if self._task is not None:
            self._task.cancel()

    # -- inside ------------------------------------------------------------------------------------

    def _parent_answered(self, recalling: Recalling) -> None:
        self.entries, self.complete = recalling.entries, recalling.complete
        if self.complete and is_short(self.entries, self._seconds) and self._others():
            self._task = asyncio.create_task(self._ask_others(), name=f"recall {self._stream}")
        else:
            self._end()

    async def _ask_others(self) -> None:
        try:
            await self._ask_each()
        except Exception:
            log.exception("recall_failed", stream=self._stream)  # a fault of ours; who asked goes on with what there is
        self._end()

    async def _ask_each(self) -> None:
        for other in self._others()[:OTHERS_MAX]:
            try:
                async with asyncio.timeout(OTHER_SECONDS):
                    entries = await self._ask(await self._dial(other))
            except (LinkError, TimeoutError) as error:
                log.debug("recall_missed", stream=self._stream, node=other.node, error=str(error))
                continue
            finally:
                self._stop_recalling()
            if reach_seconds(entries) > reach_seconds(self.entries):
                self.entries = entries
            if not is_short(self.entries, self._seconds):
                return

    async def _ask(self, link: Link) -> Sequence[Past]:
        answered = asyncio.Event()
        self._recalling = recalling = Recalling(link, lambda _: answered.set())
        if not recalling.begin(self._stream, self._seconds):
            return ()
        await answered.wait()
        return recalling.entries if recalling.complete else ()

    def _stop_recalling(self) -> None:
        if self._recalling is not None:
            self._recalling.stop()

    def _end(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self)


def remember(
    parent: Link,
    stream: StreamName,
    history_seconds: float,
    others: Callable[[], Sequence[Candidate]],
    dial: Callable[[Candidate], Awaitable[Link]],
    on_end: Callable[[Remembering], None],
) -> Remembering | None:
    """Ask for a stream's past; `None` when the link to the parent cannot take another question."""
    remembering = Remembering(stream, history_seconds, others, dial, on_end)
    return remembering if remembering.begin(parent) else None


def is_short(entries: Sequence[Past], wanted_seconds: float) -> bool:
    """Return whether there is more to be known than `entries`, if only of who published the stream before."""
    first = next((entry for entry in entries if isinstance(entry, Opened)), None)
    if first is None or reach_seconds(entries) >= wanted_seconds:
        return False
    return all(track.discontinuity > 0 for track in first.tracks)
