"""What doors have in common whose publishers each keep a TCP connection: a listener, and patience that ends.

A connection that does not publish costs memory and nothing else, so it may stay for `PUBLISH_SECONDS`; where very many
do at once, the oldest makes room. One that publishes is held to the stall time by the reader of its stream.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from ipaddress import ip_address
from typing import Any, ClassVar, Final

import structlog

from headrace.errors import StartupError, reason
from headrace.http.listener import format_address
from headrace_ingress.broken import ProtocolBroken
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.pipe import BytePipe
from headrace_ingress.publications import Peer, Publications
from headrace_ingress.published import Publication
from headrace_ingress.target import Target

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


class TcpDoor(ABC):
    """Listens for publishers from `start` to `stop`.

    Attributes:
        name: of the door, its setting and its scheme, for example `rtmp`.

    Args:
        host, port: where; port 0 takes any free one, `bound_port` says which.
        publications: lets publishers in.
        metrics: of this process.
        publish_seconds: how long a connection may take until it publishes.
        tls: makes it a door of the scheme with an `s`.
    """

    name: ClassVar[str]

    def __init__(
        self,
        host: str,
        port: int,
        publications: Publications,
        metrics: IngressMetrics,
        publish_seconds: float = PUBLISH_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.bound_port = port
        self.publications = publications
        self.metrics = metrics
        self.publish_seconds = publish_seconds
        self.tls = tls
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: dict[TcpPublisher, None] = {}
        self._waiting: dict[TcpPublisher, None] = {}
        self._is_loopback = False

    @abstractmethod
    def make_publisher(self, loop: asyncio.AbstractEventLoop) -> TcpPublisher:
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

    def opened(self, connection: TcpPublisher) -> None:
        """Take note of a connection; it waits until it publishes."""
        self._connections[connection] = self._waiting[connection] = None
        self.metrics.door_connections.labels(self.name).inc()
        if len(self._waiting) > WAITING_MAX:
            next(iter(self._waiting)).end("crowded", "too many connections that publish nothing")

    def closed(self, connection: TcpPublisher) -> None:
        """Take note that it is gone."""
        if connection in self._connections:
            del self._connections[connection]
            self._waiting.pop(connection, None)
            self.metrics.door_connections.labels(self.name).dec()

    def is_waiting(self, connection: TcpPublisher, waits: bool) -> None:
        """Take note whether a connection publishes."""
        self._waiting.pop(connection, None)
        if waits:
            self._waiting[connection] = None

    def count_end(self, code: str) -> None:
        """Count a connection that this side ended."""
        self.metrics.door_ended.labels(self.name, code).inc()


class TcpPublisher(asyncio.Protocol, ABC):
    """One connection; what it says is for the protocol's own class.

    Args:
        door: that it came by.
        loop: it lives on.
    """

    def __init__(self, door: TcpDoor, loop: asyncio.AbstractEventLoop) -> None:
        self._door = door
        self._loop = loop
        self._transport: Any = None
        self._address = ""
        self._target: Target | None = None
        self._publication: Publication | None = None
        self._file: BytePipe | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_ending = False

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Take what came.

        Raises:
            ProtocolBroken: when that broke a rule.
        """

    @abstractmethod
    def data_to_send(self) -> bytes:
        """Return what is to be sent now."""

    @abstractmethod
    def say_over(self, why: str) -> None:
        """Prepare the last words of a stream of which nothing more is taken."""

    @abstractmethod
    def begin_again(self) -> None:
        """Begin its file anew, for who read it is gone."""

    # -- asyncio --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        name = transport.get_extra_info("peername")
        self._address = str(name[0]) if name else ""
        self._door.opened(self)
        self._await_publish()

    def data_received(self, data: bytes) -> None:
        if self._is_ending:
            return
        try:
            self.receive(data)
        except ProtocolBroken as error:
            log.info("publisher_broke_rules", door=self._door.name, peer=self._address, reason=str(error))
            self.end(error.code, "")
            return
        self._send()

    def eof_received(self) -> None:
        """The peer sends no more: nothing is left to do for it."""

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()
        self.leave()
        self._door.closed(self)

    # -- publishing -----------------------------------------------------------------------------------------------

    def admit(self, target: Target) -> None:
        """Let it publish.

        Raises:
            PublishRefused: when it may not.
        """
        tickets: list[Publication] = []

        def over(why: str) -> None:
            if tickets and tickets[0] is self._publication:  # else it is the end of one that it left itself
                self.say_over(why)
                self.end("over", why)

        peer = self._door.peer(self._address)
        self._publication = self._door.publications.admit(target.stream, target.key, peer, over)
        tickets.append(self._publication)
        self._publication.on_again = self.begin_again
        self._target = target
        self._stop_timer()
        self._door.is_waiting(self, False)

    def begin_file(self, format: str) -> None:
        """Begin the next file of what is published; the one before is over."""
        if self._file is not None:
            self._file.end()
        assert self._publication is not None
        try:
            self._file = BytePipe(format, self.resume)
        except OSError:
            self.end("limit", "this node has no descriptor left")
            return
        self._publication.add(self._file)

    def write(self, data: bytes) -> None:
        """Write to the file; where it is full, nothing more is read."""
        if self._file is not None and not self._file.write(data):
            self.pause()

    def pause(self) -> None:
        """Read nothing for a while."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def leave(self) -> None:
        """It publishes no more; what it sent is still carried."""
        if self._file is not None:
            self._file.end()
        publication, self._publication, self._file = self._publication, None, None
        if publication is not None and self._target is not None:
            self._door.publications.leave(self._target.stream, publication)

    def leave_and_wait(self) -> None:
        """It publishes no more, and may begin again."""
        self.leave()
        self._door.is_waiting(self, True)
        self._await_publish()

    # -- ends -----------------------------------------------------------------------------------------------------

    def _await_publish(self) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(
            self._door.publish_seconds, self.end, "slow", "nothing was published in time"
        )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self, code: str, why: str) -> None:
        """Say the last words, and close."""
        if self._is_ending:
            return
        self._is_ending = True
        self._door.count_end(code)
        if why:
            stream = self._target.stream if self._target is not None else None
            log.info("publisher_sent_away", door=self._door.name, peer=self._address, stream=stream, reason=why)
        self._send()
        self.leave()
        self._door.is_waiting(self, False)
        self._stop_timer()
        self._transport.close()
        # A peer that reads nothing would keep it open for ever.
        self._timer = self._loop.call_later(CLOSE_SECONDS, self.abort)

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _send(self) -> None:
        if (data := self.data_to_send()) and not self._transport.is_closing():
            if self._transport.get_write_buffer_size() > RECEIVE_BYTES:
                self.abort()  # it asks and asks and reads no answer
                return
            self._transport.write(data)
