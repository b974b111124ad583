"""A way to an RTSP server on which it cannot lead elsewhere.

libav goes wherever an RTSP server redirects it (RFC 2326, section 11.3), whatever is there. So for a source that the
own configuration does not name, libav connects to a socket of ours on loopback, and we to the one address that was
checked. Everything is passed on as it comes but for a redirection, which ends the connection. What is encrypted could
not be looked at, so TLS is spoken here.
"""

from __future__ import annotations

import itertools
import re
import select
import socket
import ssl
import threading
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from headrace_ingress.source import SourceBroken

CONNECT_SECONDS: Final = 5.0
"""How long the connection to the server may take, and libav until it comes."""

SEND_SECONDS: Final = 10.0
"""How long either side may take nothing before it counts as gone: readers rest for less than a second."""

LOOK_SECONDS: Final = 0.2
"""How often a wait looks whether it is over."""

READ_BYTES: Final = 64 * 1024
"""Most that is passed on at once; more than a TLS record has."""

LINE_MAX_BYTES: Final = 4096
"""What libav reads of a line: it leaves out the rest."""

_PORTS: Final = {"rtsp": 554, "rtsps": 322}
_NAME: Final = b"RTSP/"
_BLANKS: Final = re.compile(rb"[ \t]+")
_NUMBER: Final = re.compile(rb"[\v\f]*([+-]?[0-9]+)")
_USUAL: Final = re.compile(rb"[124-9][0-9]{2}")


class Statuses:
    """Looks for redirections in what a server says. Pure: bytes in, a verdict out.

    Where a line begins depends on who reads, so one is looked for anywhere; and what libav's `atoi` might take for one
    counts as one.
    """

    def __init__(self) -> None:
        self._line = b""

    def lead_away(self, data: bytes) -> bool:
        """Return whether a redirection ends in `data`, which must not be passed on then."""
        text = self._line + data.replace(b"\r", b"")  # which libav leaves out of lines
        *lines, last = text.split(b"\n") if _NAME in text else (text.rpartition(b"\n")[2],)
        at = last.find(_NAME)
        if at >= 0 and len(last) - at > LINE_MAX_BYTES:
            lines.append(last)
            self._line = last[-LINE_MAX_BYTES:]
        else:
            self._line = last[at:] if at >= 0 else last[1 - len(_NAME) :]
        return any(map(_redirects, lines))


def _redirects(line: bytes) -> bool:
    """Return whether a number that may be a redirection's follows the name of the protocol in a line."""
    if _NAME not in line:
        return False
    words = _BLANKS.split(line)
    numbers = (_NUMBER.match(word) for before, word in itertools.pairwise(words) if _NAME in before)
    return any(number is not None and _USUAL.fullmatch(number[1]) is None for number in numbers)


class RtspGuard:
    """One connection to an RTSP server, for libav to use by another.

    Args:
        address: of the server, with the IP address that was checked.
        name: of its host, which TLS asks for.

    Attributes:
        place: the address for libav.
        led_away: whether the server tried to.

    Raises:
        SourceBroken: when the server does not answer in time, or not by TLS where it should.
        OSError: when nothing can be connected to.
    """

    def __init__(self, address: str, name: str) -> None:
        parts = urlsplit(address)
        self.led_away = False
        self._server = _connect(parts.hostname or "", parts.port or _PORTS[parts.scheme])
        try:
            if parts.scheme == "rtsps":
                self._server = _encrypted(self._server, name)
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        except BaseException:
            self._server.close()
            raise
        user, at, _ = parts.netloc.rpartition("@")
        host, port = self._listener.getsockname()
        self.place = urlunsplit(parts._replace(scheme="rtsp", netloc=f"{user}{at}{host}:{port}"))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rtsp guard", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the connection, if libav did not; a second call does nothing."""
        self._closing.set()
        self._thread.join(CONNECT_SECONDS)

    def _run(self) -> None:
        try:
            with self._server, self._listener:
                client = self._accept()
                if client is not None:
                    with client:
                        self._carry(client)
        except (OSError, ValueError):
            pass  # one side is gone, which the other sees

    def _accept(self) -> socket.socket | None:
        """Wait for libav, which comes once."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        for _ in range(round(CONNECT_SECONDS / LOOK_SECONDS)):
            if self._closing.is_set():
                return None
            if poll.poll(LOOK_SECONDS * 1000):
                client, _ = self._listener.accept()
                self._listener.close()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.settimeout(SEND_SECONDS)
                return client
        return None

    def _carry(self, client: socket.socket) -> None:
        """Pass on what either side says until one is gone."""
        statuses = Statuses()
        poll = select.poll()
        poll.register(client, select.POLLIN)
        poll.register(self._server, select.POLLIN)
        while not self._closing.is_set():
            for number, _ in poll.poll(LOOK_SECONDS * 1000):
                is_asked = number == client.fileno()
                data = (client if is_asked else self._server).recv(READ_BYTES)
                if not data:
                    return
                if not is_asked and statuses.lead_away(data):
                    self.led_away = True
                    return
                (self._server if is_asked else client).sendall(data)


def _connect(host: str, port: int) -> socket.socket:
    try:
        connected = socket.create_connection((host, port), CONNECT_SECONDS)
    except TimeoutError:
        raise SourceBroken("no answer in time") from None
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.settimeout(SEND_SECONDS)
    return connected


def _encrypted(plain: socket.socket, name: str) -> ssl.SSLSocket:
    """Speak TLS; cameras sign their own certificates, so it keeps listeners out and proves nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        return context.wrap_socket(plain, server_hostname=name)
    except (ssl.SSLError, TimeoutError):
        raise SourceBroken("the server does not speak TLS") from None
