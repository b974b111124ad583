"""A port that several processes listen on: held by the node, so that it is ours though a worker may be away."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import structlog

from headrace.errors import StartupError
from headrace.http.listener import cannot_listen, format_address

log = structlog.get_logger(__name__)


class SharedPort:
    """Reserves `host`:`port` from `start` to `stop`; the kernel gives connections to those who listen there.

    Args:
        name: of the listener, for the log line and for errors.
        host: address or name to bind to.
        port: 0 for any free one; `bound_port` says which.
        tls: whether it is https and wss that is spoken there.
        setting: the setting that holds the port.
    """

    def __init__(self, name: str, host: str, port: int, *, tls: ssl.SSLContext | None, setting: str) -> None:
        self.name = name
        self.host = host
        self.bound_port = port
        self.scheme = "http" if tls is None else "https"
        self._port = port
        self.setting = setting
        self._sockets: list[socket.socket] = []

    async def start(self) -> None:
        """Reserve it.

        Raises:
            StartupError: when it cannot be had.
        """
        try:
            places = await asyncio.get_running_loop().getaddrinfo(
                self.host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, address in dict.fromkeys((family, address) for family, *_, address in places):
                place = (address[0], self.bound_port, *address[2:])
                _bind(family, place, shared=False).close()  # else it might be shared with programs that are not ours
                self._sockets.append(_bind(family, place, shared=True))
                self.bound_port = self._sockets[0].getsockname()[1]
        except OSError as error:
            await self.stop()
            raise StartupError(cannot_listen(self.name, self.host, self._port, self.setting, error)) from error

    def tell(self) -> None:
        """Log that it is listened on."""
        for reserved in self._sockets:
            host, port, *_ = reserved.getsockname()
            log.info("listening", name=self.name, address=format_address(host, port), scheme=self.scheme)

    async def stop(self) -> None:
        """Give it up."""
        for reserved in self._sockets:
            reserved.close()
        self._sockets.clear()


def _bind(family: int, place: tuple[object, ...], *, shared: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            with contextlib.suppress(AttributeError):
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(place)
    except BaseException:
        bound.close()
        raise
    return bound
