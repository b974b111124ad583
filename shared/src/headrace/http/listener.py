"""One listening socket with the application behind it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from headrace.errors import StartupError, reason
from headrace.http.application import ANY_ORIGIN
from headrace.http.silence import FIRST_REQUEST_SECONDS, SilentConnections

SHUTDOWN_SECONDS = 1.0
"""How long requests in flight may take to end once the listener stops; sockets that live on are closed by then."""

BACKLOG = 1024
"""Connections the kernel may hold that were not accepted yet: a thousand players come back at once after a failover."""

ACCEPTS_AT_ONCE = 2
"""Connections accepted in one turn of the event loop. What follows from as many costs it a millisecond, so that those
who watch do not wait for a crowd at the door; asyncio takes as many as the kernel may hold."""

log = structlog.get_logger(__name__)


class HttpListener:
    """Serves `app` on `host`:`port` from `start` to `stop`.

    Args:
        name: who listens, for the log line and for errors, for example `edge`.
        host: address or name to bind to.
        port: 0 for any free one; `bound_port` says which.
        app: an application of this listener alone.
        tls: makes it an https and wss listener.
        setting: the setting that holds the port, for example `edge.port`, told when it cannot be had.
        first_request_seconds: how long a connection may take to send its first request.
        shared: other processes listen on the same port, and each gets a part of the connections (SO_REUSEPORT); one of
            them tells that it listens, not this one.
        any_origin: pages of any origin may read what is answered to what is no request, which never reaches `app`.

    Attributes:
        silent: closes connections that take longer.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        app: web.Application,
        *,
        tls: ssl.SSLContext | None = None,
        setting: str = "",
        first_request_seconds: float = FIRST_REQUEST_SECONDS,
        shared: bool = False,
        any_origin: bool = False,
    ) -> None:
        self.name = name
        self.host = host
        self.bound_port = port
        self._port = port
        self._tls = tls
        self._setting = setting
        self._shared = shared
        self._any_origin = any_origin
        self.silent = SilentConnections(app, first_request_seconds)
        # Bodies are not decompressed: nobody sends us such, and a small one could be made to fill the memory.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_server_logger(),
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_SECONDS,
            auto_decompress=False,
        )
        self._server: asyncio.Server | None = None

    @property
    def scheme(self) -> str:
        """`https` with a certificate, else `http`."""
        return "http" if self._tls is None else "https"

    async def start(self) -> None:
        """Bind and begin to serve.

        Raises:
            StartupError: when the address cannot be had.
        """
        try:
            await self._runner.setup()
            assert self._runner.server is not None
            self._runner.server.request_handler = partial(_answer, self._runner.server.request_handler)
            self._server = await asyncio.get_running_loop().create_server(
                partial(_open_handler, self._runner.server) if self._any_origin else self._runner.server,
                self.host,
                self._port,
                ssl=self._tls,
                backlog=ACCEPTS_AT_ONCE,
                reuse_port=self._shared,
            )
            _let_wait(self._server, BACKLOG)
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError):
                raise StartupError(cannot_listen(self.name, self.host, self._port, self._setting, error)) from error
            raise
        self.silent.watch(self._runner.server)
        addresses = [listening.getsockname() for listening in self._server.sockets]
        self.bound_port = addresses[0][1]
        for host, port, *_ in addresses:
            tell = log.debug if self._shared else log.info
            tell("listening", name=self.name, address=format_address(host, port), scheme=self.scheme)

    async def stop(self) -> None:
        """Close the socket and every connection; a second call does nothing."""
        await self.silent.stop()
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()


async def _answer(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], request: web.BaseRequest
) -> web.StreamResponse:
    """Have `handler` answer, but to an `Expect` that aiohttp cannot repeat in its refusal."""
    if not request.headers.get(hdrs.EXPECT, "").isascii():
        return web.Response(status=web.HTTPExpectationFailed.status_code)
    return await handler(request)


class _OpenHandler(web.RequestHandler):
    """aiohttp's, whose answers to what is no request pages of any origin may read."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        response = super().handle_error(request, status, exc, message)
        response.headers.update(ANY_ORIGIN)
        return response


def _open_handler(server: web.Server) -> web.RequestHandler:
    handler = server()
    handler.__class__ = _OpenHandler  # the server takes no other, and makes it as it was told
    return handler


def _server_logger() -> logging.Logger:
    """Return aiohttp's logger, silent about requests that are no HTTP: anybody may send as many as it likes."""
    logger = logging.getLogger("aiohttp.server")
    logger.addFilter(_is_no_guests_mistake)  # which does nothing the second time
    return logger


def _is_no_guests_mistake(record: logging.LogRecord) -> bool:
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


def cannot_listen(name: str, host: str, port: int, setting: str, error: OSError) -> str:
    """Return the sentence that says why, and which setting to change; `setting` holds the port."""
    what = "port" if error.errno in {errno.EADDRINUSE, errno.EACCES} else "host"
    changed = setting.rpartition(".")[0] + ".host" if what == "host" else setting
    hint = f"; {changed} chooses another {what}" if setting else ""
    return f"{name}: cannot listen on {format_address(host, port)}: {reason(error)}{hint}"


def _let_wait(server: asyncio.Server, connections: int) -> None:
    """Let the kernel hold so many connections that were not accepted yet, for each socket of `server`."""
    for listening in server.sockets:
        with socket.socket(fileno=os.dup(listening.fileno())) as same:
            same.listen(connections)


def format_address(host: str, port: int) -> str:
    """Return `host:port` as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
