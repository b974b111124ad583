"""Viewers of HLS and DASH as viewing sessions: they ask again and again, and are there while they do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from headrace.access.gate import Gate
from headrace.access.passes import Pass
from headrace.access.policy import Asked
from headrace.access.tokens import TokenRefused
from headrace.clock import Clock, next_beat
from headrace_edge.metrics import EdgeMetrics

IDLE_SECONDS: Final = 10.0
"""Silence after which a session has ended: a player asks for a playlist at least once in the longest segment (6 s)."""

SWEEP_SECONDS: Final = 1.0
"""How often silent sessions are looked for."""

REFUSED_SECONDS: Final = 60.0
"""How long a session that was ended is told why: by then its player has stopped asking."""

SESSIONS_MAX: Final = 20_000
"""Most sessions of one edge at once, ended ones that still ask included."""

PREPARED: Final = web.RequestKey("headrace-prepared", bool)
"""Set on a request whose answer has begun."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Key = tuple[str, str, str]


@dataclass(slots=True, eq=False)
class LiveSession:
    """One player's requests for one stream.

    Attributes:
        held: lets it watch, until it was ended.
        asked_at: when it last asked, monotonic.
        asking: its requests that are being answered.
    """

    held: Pass
    asked_at: float
    asking: set[asyncio.Task[Any]] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Entry:
    """Where the requests of one session wait for each other; there while one of them does."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    requests: int = 0


class LiveSessions:
    """The sessions of one edge; a component of the process."""

    def __init__(
        self,
        gate: Gate,
        clock: Clock,
        metrics: EdgeMetrics,
        spawn: Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._gate = gate
        self._clock = clock
        self._viewers = metrics.viewers.labels("live")
        self._spawn = spawn
        self._sessions: dict[_Key, LiveSession] = {}
        self._entering: dict[_Key, _Entry] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look for silent sessions."""
        self._task = self._spawn("live-sessions", self._sweep())

    async def stop(self) -> None:
        """Let go of all sessions; they may go on at another edge."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for key in tuple(self._sessions):
            self._forget(key)

    async def enter(self, asked: Asked, *, begins: bool) -> LiveSession:
        """Return the session that asks, which is let in if it is new here.

        `begins` is whether the request is one that a player begins with: only such a one takes a session back that was
        ended, else two who share it would take it from each other without end.

        Raises:
            TokenRefused: when it may not watch.
        """
        key = (asked.session, asked.token, asked.stream)
        entry = self._entering.setdefault(key, _Entry())
        entry.requests += 1
        try:
            async with entry.lock:  # the first requests of a session come together, and are one viewer
                return await self._enter(key, asked, begins=begins)
        finally:
            entry.requests -= 1
            if not entry.requests:
                del self._entering[key]

    async def _enter(self, key: _Key, asked: Asked, *, begins: bool) -> LiveSession:
        session = self._sessions.get(key)
        if session is not None and session.held.ended is None:
            self._gate.check_again(session.held)
            session.asked_at = self._clock.monotonic()
            return session
        if session is not None and session.held.ended is not None and not begins:
            raise TokenRefused(*session.held.ended)
        if session is None and len(self._sessions) >= SESSIONS_MAX:
            raise TokenRefused("away", "this edge has as many sessions as it may; try another one")
        held = await self._gate.admit(asked, roaming=True, takes=begins)
        session = self._sessions[key] = LiveSession(held, self._clock.monotonic())
        self._viewers.inc()
        held.when_ended(lambda code, reason: self._end(session))
        return session

    async def answer(self, session: LiveSession, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Return what `handler` answers; when the session ends meanwhile, the request does as well.

        An answer that has begun ends with its connection, so that nobody takes it for whole.

        Raises:
            TokenRefused: when it ended before the answer had begun.
        """
        return await answer_while(session.held, session.asking, request, handler)

    def _end(self, session: LiveSession) -> None:
        self._viewers.dec()
        for task in session.asking:
            task.cancel()

    def _forget(self, key: _Key) -> None:
        session = self._sessions.pop(key)
        if session.held.ended is None:
            self._viewers.dec()
            self._gate.leave(session.held)

    async def _sweep(self) -> None:
        while True:
            await next_beat(SWEEP_SECONDS)
            now = self._clock.monotonic()
            for key, session in tuple(self._sessions.items()):
                patience = IDLE_SECONDS if session.held.ended is None else REFUSED_SECONDS
                if session.asking:
                    session.asked_at = now
                elif session.asked_at + patience < now:
                    self._forget(key)


async def answer_while(
    held: Pass, asking: set[asyncio.Task[Any]], request: web.Request, handler: Handler
) -> web.StreamResponse:
    """Return what `handler` answers while `held` holds; see `LiveSessions.answer`.

    The request's task is in `asking` meanwhile, and whoever ends the pass cancels it there.
    """
    task = asyncio.current_task()
    assert task is not None
    asking.add(task)
    try:
        if held.ended is not None:
            raise TokenRefused(*held.ended)
        return await handler(request)
    except asyncio.CancelledError:
        if held.ended is None:
            raise
        task.uncancel()
        if request.get(PREPARED):
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=403)  # nobody hears it; an error would be logged as a fault of ours
        raise TokenRefused(*held.ended) from None
    finally:
        asking.discard(task)
