"""Pulling: a stream of another cluster as a feed of this one.

An attempt lasts as long as the stream goes on there. A connection that is lost is made anew, by whatever edge the other
cluster has, on after the last chunks that came; viewers here notice nothing of that. When the source is away there, or
nothing answers for longer than rings reach back, the attempt is over and the feed is interrupted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from headrace.clock import Clock
from headrace.identifiers import ChunkId, Epoch
from headrace.session.border import BorderError
from headrace.transport.backoff import Backoff
from headrace.wire.chunk import Chunk
from headrace.wire.stream import StreamState, Track
from headrace_ingress.border.minting import Mint
from headrace_ingress.border.upstream import Upstream
from headrace_ingress.events import Closed, Event, Numbers
from headrace_ingress.source import ChunkSource

RESUME_SECONDS: Final = 10.0
"""How long a lost connection is made anew before the attempt is over: well within what rings hold."""

LIVE_SECONDS: Final = 8.0
"""How long nothing may come of a stream before that is told: the longest segments have six seconds."""

INTERRUPTED_SECONDS: Final = 2.0
"""How long a stream that was live may be interrupted there: a cold edge first says that it has nothing yet."""

LOOK_SECONDS: Final = 0.5
"""How often that is looked at."""

REASON_MAX_CHARACTERS: Final = 400
"""Longest reason of another server that is passed on."""

log = structlog.get_logger(__name__)


class PullSource(ChunkSource):
    """One attempt at a stream of another cluster.

    Args:
        upstreams: ways to it, the best first; the first that works is kept.
        clock: of this process.
        told: called with the epoch there when media comes.
    """

    def __init__(self, upstreams: Sequence[Upstream], clock: Clock, told: Callable[[Epoch], None]) -> None:
        self._upstreams = list(upstreams)
        self._clock = clock
        self._told = told
        self._task: asyncio.Task[None] | None = None
        self._mint = Mint(Numbers(Epoch(0), 0, 0.0), clock.utc)
        self._deliver: Callable[[list[Event]], None] = lambda events: None
        self._over: asyncio.Future[None] | None = None
        self._came_at: float | None = None
        self._interrupted_at: float | None = None
        self._reason = "there is no such stream there, or it is not live"

    def start(self, numbers: Numbers, deliver: Callable[[list[Event]], None]) -> None:
        """See `ChunkSource`."""
        self._mint = Mint(numbers, self._clock.utc)
        self._deliver = deliver
        self._over = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name="pull")

    def stop(self) -> None:
        """See `ChunkSource`."""
        if self._task is not None:
            self._task.cancel()

    # -- what comes ------------------------------------------------------------------------------------------------

    def opened(self, epoch: Epoch, tracks: tuple[Track, ...]) -> None:
        """An epoch begins there."""
        self._mint.open(epoch, tracks)

    def came(self, chunk: Chunk) -> None:
        """A chunk came."""
        events = self._mint.take(chunk)
        if events:
            if self._came_at is None:
                self._told(chunk.id.epoch)
            self._came_at = self._clock.monotonic()
            self._interrupted_at = None
            self._deliver(events)

    def told(self, state: StreamState, reason: str) -> None:
        """A state was told."""
        assert self._over is not None
        if state is StreamState.ENDED and not self._over.done():
            self._over.set_result(None)
        elif state is StreamState.INTERRUPTED:
            self._reason = f"interrupted there: {reason}"[:REASON_MAX_CHARACTERS]
            if self._interrupted_at is None:
                self._interrupted_at = self._clock.monotonic()

    # -- the attempt -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        reason, code, ended = "", "", False
        try:
            await self._last()
            ended = True
        except BorderError as error:
            reason, code = str(error), "final_" + error.code if error.is_final else error.code
        except Exception:
            log.exception("pull_failed")  # a fault of ours, which another attempt may not meet
            reason, code = "a fault in this program, see its log", "fault"
        finally:
            self._deliver([Closed(reason, ended, self._mint.numbers, code)])

    async def _last(self) -> None:
        """Return when the stream has ended there.

        Raises:
            BorderError: when it does not come any more.
        """
        backoff = Backoff(0.1, 1.0)
        while True:
            try:
                await self._connect()
                return
            except BorderError as error:
                lost_for = None if self._came_at is None else self._clock.monotonic() - self._came_at
                is_lost = error.code in {"lost", "unreachable", "unresolved"}
                if not is_lost or lost_for is None or lost_for > RESUME_SECONDS:
                    raise
            await asyncio.sleep(backoff.next(random.random()))

    async def _connect(self) -> None:
        """Follow the stream by the first way that works; return when it has ended."""
        failures: list[BorderError] = []
        for upstream in tuple(self._upstreams):
            try:
                await self._follow(upstream)
                return
            except BorderError as error:
                failures.append(error)
                if self._came_at is not None:
                    self._upstreams = [upstream]
                    raise
        raise max(failures, key=_tells)

    async def _follow(self, upstream: Upstream) -> None:
        assert self._over is not None
        had: Mapping[int, ChunkId] | None = self._mint.had or None
        following = asyncio.create_task(upstream.follow(self, had))
        both: set[asyncio.Future[None]] = {following, self._over}
        began = self._clock.monotonic()
        try:
            while True:
                await asyncio.wait(both, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if self._over.done():
                    return
                if following.done():
                    following.result()
                    raise BorderError("lost", "the other server ended the connection")
                self._check_silence(began)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    def _check_silence(self, began: float) -> None:
        """Raise `BorderError` when the stream is away there, or nothing of it comes."""
        now = self._clock.monotonic()
        is_live = self._came_at is not None
        since = self._interrupted_at
        if is_live and since is not None and now - max(since, began) > INTERRUPTED_SECONDS:
            raise BorderError("interrupted", self._reason)
        if now - max(began, self._came_at or began) > LIVE_SECONDS:
            raise BorderError("interrupted", self._reason)


def _tells(error: BorderError) -> int:
    """Return how much a failure says of the stream: that it is not there is more than that nothing answered."""
    if error.is_final or error.code == "refused":
        return 2
    return int(error.code not in {"unreachable", "unresolved"})
