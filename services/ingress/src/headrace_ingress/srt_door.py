"""The SRT door: callers that publish MPEG-TS, each named by its stream id, through libsrt.

Whether one may is decided before its handshake is answered, so that it is told why not. It publishes as soon as it is
connected; from then on it is held to the stall time by the reader of its stream.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

import structlog

from headrace.errors import StartupError, reason
from headrace.http.listener import format_address
from headrace.identifiers import StreamName
from headrace.service.runtime import Runtime
from headrace.transport.libsrt import Libsrt, SrtError, SrtUnavailable
from headrace_ingress.admission import PublishRefused
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.pipe import BytePipe
from headrace_ingress.publications import Peer, Publications
from headrace_ingress.published import Publication
from headrace_ingress.srt_listener import Caller, SrtListener
from headrace_ingress.streamid import parse_streamid
from headrace_ingress.target import Target

REFUSALS: Final = {
    "key": 1401,
    "guessing": 1402,
    "limit": 1402,
    "node": 1403,
    "name": 1400,
    "mode": 1405,
    "busy": 1409,
    "sourced": 1409,
}
"""How each way to be refused is answered: the codes of SRT's access control, which are HTTP's plus a thousand."""

_HINT: Final = "ingress.srt_port chooses another port, ingress.srt = false closes this door"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Publisher:
    """A caller that was let in."""

    name: StreamName
    publication: Publication
    pipe: BytePipe | None = None


class SrtDoor:
    """Listens for publishers from `start` to `stop`.

    Args:
        host, port: where; port 0 takes any free one, `bound_port` says which.
        passphrase: that callers encrypt with, 10 to 79 characters; empty for none.
        publications: lets publishers in.
        runtime, metrics: of this process.
    """

    def __init__(
        self,
        host: str,
        port: int,
        passphrase: str,
        publications: Publications,
        runtime: Runtime,
        metrics: IngressMetrics,
    ) -> None:
        self.bound_port = port
        self._host = host
        self._port = port
        self._passphrase = passphrase
        self._publications = publications
        self._runtime = runtime
        self._metrics = metrics
        self._is_loopback = False
        self._listener: SrtListener | None = None
        self._running: asyncio.Task[None] | None = None
        self._publishers: dict[Caller, _Publisher] = {}

    async def start(self) -> None:
        """Bind and begin to accept.

        Raises:
            StartupError: when there is no libsrt or the address cannot be had.
        """
        try:
            library = Libsrt()
        except SrtUnavailable as error:
            raise StartupError(f"srt: {error}; ingress.srt = false closes this door") from None
        place = format_address(self._host, self._port)
        self._listener = SrtListener(library, self)
        try:
            addresses = await self._addresses()
            self.bound_port = self._listener.open(addresses, self._passphrase)
        except OSError as error:
            await self._listener.stop()
            self._listener = None
            words = str(error.strerror) if isinstance(error, SrtError) else reason(error)
            raise StartupError(f"srt: cannot listen on {place}: {words}; {_HINT}") from None
        self._is_loopback = all(ip_address(address[0].partition("%")[0]).is_loopback for _, address in addresses)
        self._running = self._runtime.spawn("srt", self._listener.run())
        for _, address in addresses:
            log.info("listening", name="srt", address=format_address(address[0], self.bound_port), scheme="srt")

    async def stop(self) -> None:
        """Close every connection."""
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        for caller in tuple(self._publishers):
            self.went(caller)

    async def _addresses(self) -> list[tuple[int, tuple[Any, ...]]]:
        found = await asyncio.get_running_loop().getaddrinfo(
            self._host, self._port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )
        return list(dict.fromkeys((int(family), tuple(place)) for family, _, _, _, place in found))

    # -- for the listener -----------------------------------------------------------------------------------------

    def judge(self, address: str, streamid: str) -> int:
        """Return 0 to let a caller in, else SRT's reason to refuse it."""
        try:
            target = self._target(address, streamid)
            self._publications.check(target.stream, target.key, self._peer(address))
        except PublishRefused as refused:
            self._metrics.door_ended.labels("srt", refused.code).inc()
            return REFUSALS[refused.code]
        return 0

    def came(self, caller: Caller) -> None:
        """Let one publish that is connected now."""
        try:
            target = self._target(caller.address, caller.streamid)
            publication = self._publications.admit(
                target.stream, target.key, self._peer(caller.address), lambda why: self._over(caller, why)
            )
        except PublishRefused as refused:  # another came first
            self._metrics.door_ended.labels("srt", refused.code).inc()
            caller.is_unwanted = True
            return
        self._metrics.door_connections.labels("srt").inc()
        self._publishers[caller] = _Publisher(target.stream, publication)
        # MPEG-TS can be read from any packet on.
        publication.on_again = lambda: self._begin(caller)
        self._begin(caller)

    def sent(self, caller: Caller) -> None:
        """Take what came."""
        data = caller.take()
        publisher = self._publishers.get(caller)
        if publisher is None:
            return
        if publisher.pipe is not None:
            caller.is_paused = not publisher.pipe.write(data)

    def went(self, caller: Caller) -> None:
        """Its connection is over."""
        publisher = self._publishers.pop(caller, None)
        if publisher is not None:
            self._metrics.door_connections.labels("srt").dec()
            if publisher.pipe is not None:
                publisher.pipe.end()
            self._publications.leave(publisher.name, publisher.publication)

    def failed(self, address: str, streamid: str) -> None:
        """Count one that has not the passphrase like one with a wrong key."""
        peer = self._peer(address)
        refused = PublishRefused("passphrase", "its passphrase is wrong or missing, or it went meanwhile")
        self._publications.guessed(peer)
        self._publications.refused(parse_streamid(streamid).stream, peer, refused)
        self._metrics.door_ended.labels("srt", refused.code).inc()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _begin(self, caller: Caller) -> None:
        """Begin the file that a caller's bytes are written to."""
        publisher = self._publishers[caller]
        try:
            publisher.pipe = BytePipe("mpegts", lambda: _resume(caller))
        except OSError:
            self._over(caller, "this node has no descriptor left")
            return
        caller.is_paused = False
        publisher.publication.add(publisher.pipe)

    def _target(self, address: str, streamid: str) -> Target:
        try:
            return parse_streamid(streamid)
        except PublishRefused as refused:
            self._publications.refused("", self._peer(address), refused)
            raise

    def _peer(self, address: str) -> Peer:
        return Peer("srt", address, self._is_loopback)

    def _over(self, caller: Caller, why: str) -> None:
        """Nothing more is taken of what is published."""
        publisher = self._publishers.get(caller)
        if publisher is not None:
            self._metrics.door_ended.labels("srt", "over").inc()
            log.info("publisher_sent_away", door="srt", peer=caller.address, stream=publisher.name, reason=why)
            caller.is_unwanted = True
            self.went(caller)


def _resume(caller: Caller) -> None:
    caller.is_paused = False
