"""Connections that never ask for anything are closed: each costs a socket, and aiohttp waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from aiohttp import web

from headrace.telemetry.faults import outlive_faults

FIRST_REQUEST_SECONDS = 10.0
"""How long a connection may take to send its first whole request: browsers open some in advance, and use or close
them within seconds."""

SWEEPS = 5
"""How often in that time connections are looked at."""

CLOSED_AT_ONCE, CLOSED_SECONDS = 50, 0.02
"""Connections closed in one turn, and the seconds to the next: thousands at once would keep everybody waiting."""

log = structlog.get_logger(__name__)


class SilentConnections:
    """Closes connections of one server that sent no whole request in time.

    Args:
        app: of the server; gets a middleware that notes who asked. Not started yet.
        seconds: how long a connection may be silent.

    Attributes:
        on_closed: told how many connections were closed.
    """

    on_closed: Callable[[int], None]

    def __init__(self, app: web.Application, seconds: float = FIRST_REQUEST_SECONDS) -> None:
        self.on_closed = lambda count: None
        self._seconds = seconds
        self._asked: set[web.RequestHandler] = set()
        self._task: asyncio.Task[None] | None = None
        app.middlewares.append(self._note)

    def watch(self, server: web.Server) -> None:
        """Begin to look at `server`'s connections."""
        self._task = asyncio.create_task(
            outlive_faults("silent-connections", partial(self._sweep, server)), name="silent connections"
        )

    async def stop(self) -> None:
        """Look no more; a second call does nothing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @web.middleware
    async def _note(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self._asked.add(request.protocol)
        return await handler(request)

    async def _sweep(self, server: web.Server) -> None:
        silent: dict[web.RequestHandler, int] = {}
        while True:
            await asyncio.sleep(self._seconds / SWEEPS)
            connections = set(server.connections)
            self._asked &= connections
            silent = {connection: silent.get(connection, 0) + 1 for connection in connections - self._asked}
            late = [connection for connection, sweeps in silent.items() if sweeps > SWEEPS]
            for number, connection in enumerate(late, 1):
                connection.force_close()
                del silent[connection]
                if number % CLOSED_AT_ONCE == 0:
                    await asyncio.sleep(CLOSED_SECONDS)
            if late:
                log.info("silent_connections_closed", count=len(late))
                self.on_closed(len(late))
