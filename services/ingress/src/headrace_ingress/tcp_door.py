"""What doors have in common whose publishers each keep a TCP connection: a listener, and patience that ends.

A connection that does not publish costs memory and nothing else, so it may stay for `PUBLISH_SECONDS`; where very many
do at once, the oldest makes room. One that publishes is held to the stall time by the reader of its stream.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from ipaddress import ip_address
from typing import Final, Protocol

import structlog

from headrace.errors import StartupError, reason
from headrace.http.listener import format_address
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.publications import Peer, Publications

PUBLISH_SECONDS: Final = 10.0
"""How long a connection may take until it publishes: a slow one across the world needs two."""

WAITING_MAX: Final = 512
"""Most connections that do not publish; with one more the oldest is closed, so that publishers still come in."""

CLOSE_SECONDS: Final = 1.0
"""How long the last words may take to be sent."""

BACKLOG: Final = 256
"""Connections the kernel may hold that were not accepted yet."""

RECEIVE_BYTES: Final = 64 * 1024
"""Most that is taken from a socket at once, roughly; asyncio's own limit is more."""

log = structlog.get_logger(__name__)


class Connection(Protocol):
    """One publisher's connection, as its door sees it."""

    def end(self, code: str, why: str) -> None:
        """Say the last words, and close."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...


class TcpDoor(ABC):
    """Listens for publishers from `start` to `stop`.

    Args:
        name: of the door, its setting and its scheme, for example `rtmp`.
        host, port: where; port 0 takes any free one, `bound_port` says which.
        publications: lets publishers in.
        metrics: of this process.
        publish_seconds: how long a connection may take until it publishes.
        tls: makes it a door of the scheme with an `s`.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        publications: Publications,
        metrics: IngressMetrics,
        publish_seconds: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.name = name
        self.bound_port = port
        self.publications = publications
        self.metrics = metrics
        self.publish_seconds = publish_seconds
        self.tls = tls
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: dict[Connection, None] = {}
        self._waiting: dict[Connection, None] = {}
        self._is_loopback = False

    @abstractmethod
    def make_publisher(self, loop: asyncio.AbstractEventLoop) -> asyncio.Protocol:
        """Return what takes a new connection."""

    async def start(self) -> None:
        """Bind and begin to accept.

        Raises:
            StartupError: when the address cannot be had.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: self.make_publisher(loop),
                self._host,
                self._port,
                backlog=BACKLOG,
                ssl=self.tls,
                ssl_handshake_timeout=None if self.tls is None else self.publish_seconds,
            )
        except OSError as error:
            place = format_address(self._host, self._port)
            hint = f"ingress.{self.name}_port chooses another port, ingress.{self.name} = false closes this door"
            raise StartupError(f"{self.name}: cannot listen on {place}: {reason(error)}; {hint}") from error
        names = [socket.getsockname() for socket in self._server.sockets]
        self._is_loopback = all(ip_address(name[0]).is_loopback for name in names)
        self.bound_port = names[0][1]
        for name in names:
            scheme = self.name if self.tls is None else f"{self.name}s"
            log.info("listening", name=self.name, address=format_address(name[0], name[1]), scheme=scheme)

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is not None:
            self._server.close()
            for connection in tuple(self._connections):
                connection.abort()
            self._server = None

    # -- for connections ------------------------------------------------------------------------------------------

    def peer(self, address: str) -> Peer:
        """Return who comes from an address."""
        return Peer(self.name, address, self._is_loopback)

    def opened(self, connection: Connection) -> None:
        """Take note of a connection; it waits until it publishes."""
        self._connections[connection] = self._waiting[connection] = None
        self.metrics.door_connections.labels(self.name).inc()
        if len(self._waiting) > WAITING_MAX:
            next(iter(self._waiting)).end("crowded", "too many connections that publish nothing")

    def closed(self, connection: Connection) -> None:
        """Take note that it is gone."""
        if connection in self._connections:
            del self._connections[connection]
            self._waiting.pop(connection, None)
            self.metrics.door_connections.labels(self.name).dec()

    def is_waiting(self, connection: Connection, waits: bool) -> None:
        """Take note whether a connection publishes."""
        self._waiting.pop(connection, None)
        if waits:
            self._waiting[connection] = None

    def count_end(self, code: str) -> None:
        """Count a connection that this side ended."""
        self.metrics.door_ended.labels(self.name, code).inc()
