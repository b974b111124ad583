"""A track's packets by UDP: two sockets, one for RTP and the next for RTCP (RFC 3550, 11)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from headrace_ingress.rtsp.messages import write_frame

PAIRS_TRIED: Final = 32
"""How often two ports beside each other are looked for."""

BUFFER_BYTES: Final = 2 * 1024 * 1024
"""Asked of the kernel for each socket, which gives what it may: a keyframe comes at once."""

DATAGRAMS_AT_ONCE: Final = 64
"""Most datagrams that are taken of a socket before others have their turn."""

DATAGRAM_MAX_BYTES: Final = 65535


class NoPorts(Exception):
    """No two ports beside each other can be had."""


class TrackPorts:
    """Receives one track from one peer until `close`.

    Args:
        track: its number.
        host: our address that the peer reaches us at.
        peer: the peer's IP address; whatever comes from elsewhere is dropped.
        take: gets packets, framed as RTSP interleaves them.

    Attributes:
        ports: for RTP and for RTCP.

    Raises:
        NoPorts: when none can be had.
    """

    def __init__(
        self, track: int, host: str, peer: str, take: Callable[[bytes], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._peer = _plain(peer)
        self._take = take
        self._loop = loop
        self._sockets = open_pair(host)
        self._senders: list[int | None] = [None, None]
        self.ports: tuple[int, int] = (self._sockets[0].getsockname()[1], self._sockets[1].getsockname()[1])
        for number, one in enumerate(self._sockets):
            loop.add_reader(one, self._receive, number, 2 * track + number)

    def close(self) -> None:
        """Close both; a second call does nothing."""
        for one in self._sockets:
            if one.fileno() >= 0:
                self._loop.remove_reader(one)
            one.close()

    def _receive(self, number: int, channel: int) -> None:
        frames = []
        with contextlib.suppress(OSError):  # nothing more, or an error that an earlier answer of ours would have caused
            for _ in range(DATAGRAMS_AT_ONCE):
                payload, sender = self._sockets[number].recvfrom(DATAGRAM_MAX_BYTES)
                if self._is_from_peer(number, sender) and payload:
                    frames.append(write_frame(channel, payload))
        if frames:
            self._take(b"".join(frames))

    def _is_from_peer(self, number: int, sender: tuple[str, int]) -> bool:
        """Whether a datagram is the peer's: it sends from one port, which a router may have changed."""
        if _plain(sender[0]) != self._peer:
            return False
        if self._senders[number] is None:
            self._senders[number] = sender[1]
        return self._senders[number] == sender[1]


def open_pair(host: str) -> tuple[socket.socket, socket.socket]:
    """Return two sockets at an even port and the one after it.

    Raises:
        NoPorts: when none can be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(PAIRS_TRIED):
        first, second = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        try:
            for one in (first, second):
                one.setblocking(False)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            first.bind((host, 0))
            port = first.getsockname()[1]
            if port % 2 == 0:
                second.bind((host, port + 1))
                return first, second
        except OSError:
            pass
        first.close()
        second.close()
    raise NoPorts("no two ports beside each other are free")


def _plain(address: str) -> str:
    parsed = ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)
