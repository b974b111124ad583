"""HTTP for sources: our own client beneath libav, so that every address, redirect and playlist entry is checked.

libav follows redirects and playlists by itself, wherever they lead. So it is given open files instead of URLs: the
feed's own, and each that a playlist names, which it asks for one by one. Only http and https are opened, only at
addresses that the feed may reach (`headrace.transport.reaching`), and the address that was checked is connected to.
"""

from __future__ import annotations

import base64
import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from headrace.transport.reaching import Network, NotReachable, pick_allowed
from headrace.version import SOFTWARE
from headrace_ingress.source import SourceBroken

REDIRECTS_MAX: Final = 3
"""Most redirects for one file: a balancer and a signed address."""

PLAYLIST_MAX_BYTES: Final = 2 * 1024 * 1024
"""Longest playlist: a day of two-second segments has as much."""

OPEN_MAX: Final = 32
"""Most files open at once for one feed: a playlist of playlists of playlists would open without end."""

NAMED_MAX: Final = 64
"""Most files that are opened before the feed is: a playlist that names itself as a rendition has libav ask without end.
A main playlist has ten renditions, each with a playlist, a map and a first segment."""

NAMED_GAP_SECONDS: Final = 0.02
"""Least time from file to file afterwards: a playlist may claim segments that last no time."""

CONNECT_SECONDS: Final = 5.0
"""How long a connection may take, and, where `stall_seconds` is not longer, TLS and the head of an answer each."""

_WRITE: Final = 2
"""AVIO_FLAG_WRITE."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PORTS: Final = {"http": 80, "https": 443}
_PLAYLIST: Final = b"#EXTM3U"
_NO_ADDRESS: Final = "the server leads to what is no address"


class NotFollowed(SourceBroken):
    """Where it leads may not be gone to, now or later."""


class Fetcher:
    """Opens the files of one feed.

    Args:
        networks: private networks that it may reach.
        trusted: whether its own address is the operator's, who may name any; what it leads to is then trusted too.
        stall_seconds: longest silence while a file is read.
        stopping: looked at between reads.

    Attributes:
        refused: why what a playlist named was not opened, the first time.
    """

    def __init__(
        self, networks: Sequence[Network], trusted: bool, stall_seconds: float, stopping: threading.Event
    ) -> None:
        self._networks = networks
        self._trusted = trusted
        self._stall_seconds = stall_seconds
        self._stopping = stopping
        self._files: set[HttpFile] = set()
        self.refused: SourceBroken | None = None
        self._named = 0
        self._has_begun = False

    def open(self, url: str) -> HttpFile:
        """Open a file, redirects followed.

        Raises:
            SourceBroken: when it may not be opened or cannot be had; says why, and not where.
        """
        origin = _split(url).netloc
        for _ in range(REDIRECTS_MAX + 1):
            # Credentials are for the host that they were given for.
            response, connection = self._ask(url, with_credentials=_split(url).netloc == origin)
            location = response.getheader("Location") if response.status in _REDIRECTS else None
            if location is None:
                return self._opened(url, response, connection)
            connection.close()
            following = _join(url, location)
            if _split(url).scheme == "https" and _split(following).scheme == "http":
                raise SourceBroken("the server redirects from https to http, which is refused")
            url = following
        raise SourceBroken(f"the server redirects more than {REDIRECTS_MAX} times")

    def nested(self, url: str, flags: int, options: Mapping[str, str]) -> HttpFile | EmptyFile:
        """Open what a playlist names; libav calls it, and gets an empty file where it may not have that one."""
        if self.refused is None and not flags & _WRITE:
            try:
                self._hold_back()
                return self.open(url)
            except NotFollowed as refused:
                self.refused = refused
            except SourceBroken:
                # A segment that is missing is left out; a playlist that is missing for long is a stall.
                return EmptyFile()
        return EmptyFile()

    def begun(self) -> None:
        """The feed is open: what is asked for from now on is its media."""
        self._has_begun = True

    def _hold_back(self) -> None:
        if self._has_begun:
            self._stopping.wait(NAMED_GAP_SECONDS)
            return
        self._named += 1
        if self._named > NAMED_MAX:
            raise NotFollowed(f"a playlist leads to more than {NAMED_MAX} files before there is any media")

    def close(self) -> None:
        """Close every file that is open."""
        for file in tuple(self._files):
            file.close()

    def closed(self, file: HttpFile) -> None:
        """Take note that a file was closed."""
        self._files.discard(file)

    def _ask(self, url: str, *, with_credentials: bool) -> tuple[TimelyResponse, http.client.HTTPConnection]:
        parts = _split(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            name = parts.scheme if parts.scheme.isalnum() and len(parts.scheme) < 16 else "another scheme"
            raise NotFollowed(f"the server leads to {name}:, only http: and https: are followed")
        if len(self._files) >= OPEN_MAX:
            raise NotFollowed(f"a playlist leads to more than {OPEN_MAX} files at once")
        headers = {"User-Agent": SOFTWARE, "Accept": "*/*", "Connection": "close"}
        if with_credentials and parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection = http.client.HTTPConnection(parts.hostname, parts.port or _PORTS[parts.scheme])
        except http.client.InvalidURL:
            raise NotFollowed(_NO_ADDRESS) from None
        try:
            connection.sock = self._connect(parts.scheme, parts.hostname, connection.port)
            connection.request("GET", target, headers=headers)
            response = TimelyResponse(connection.sock, self._patience)
            response.begin()
            return response, connection
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            raise _explained(error) from None

    def _connect(self, scheme: str, host: str, port: int) -> socket.socket:
        address = host if self._trusted else self._checked(host)
        try:
            plain = socket.create_connection((address, port), CONNECT_SECONDS)
        except socket.gaierror:
            raise SourceBroken("the source's host name cannot be resolved") from None
        try:
            plain.settimeout(self._patience)
            if scheme == "https":
                return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        except OSError:
            plain.close()
            raise
        return plain

    @property
    def _patience(self) -> float:
        return max(CONNECT_SECONDS, self._stall_seconds)

    def _checked(self, host: str) -> str:
        try:
            return pick_allowed(host, self._networks)
        except NotReachable as error:
            if error.code == "unresolved":
                raise SourceBroken("the source's host name cannot be resolved") from None
            raise NotFollowed(
                "the source leads into a private network that this node may not reach (ingress.allow_networks)"
            ) from None

    def _opened(self, url: str, response: TimelyResponse, connection: http.client.HTTPConnection) -> HttpFile:
        if response.status != 200:
            connection.close()
            raise SourceBroken(explain_status(response.status))
        file = HttpFile(url, response, connection, self, self._stopping)
        self._files.add(file)
        return file


class EmptyFile:
    """What libav gets instead of a file that is not opened: raising would leave its traces in our log."""

    def read(self, most: int) -> bytes:
        """Return nothing."""
        return b""

    def close(self) -> None:
        """Nothing is open."""


class HttpFile:
    """A body as a file, for libav: read from front to end.

    Attributes:
        name: where it was found, which is what entries of a playlist are relative to.
        has_end: whether the server said how long it is, as of a file that it holds.
    """

    def __init__(self, url: str, response: Any, connection: Any, fetcher: Fetcher, stopping: threading.Event) -> None:
        self.name = url
        self.has_end = response.getheader("Content-Length") is not None
        self._response = response
        self._connection = connection
        self._fetcher: Fetcher | None = fetcher
        self._stopping = stopping
        self._had = 0
        self._is_playlist = False

    def read(self, most: int) -> bytes:
        """Return from 1 to `most` bytes, nothing at the end or when it is time to stop.

        Raises:
            OSError: when the connection breaks or is silent for too long.
            SourceBroken: when a playlist is too long.
        """
        if self._stopping.is_set():
            return b""
        try:
            self._response.wait_anew()
            data: bytes = self._response.read1(most)
        except http.client.HTTPException as error:
            raise ConnectionError("the body is cut off") from error
        if self._had == 0 and data.startswith(_PLAYLIST):
            self._is_playlist = True
        self._had += len(data)
        if self._is_playlist and self._had > PLAYLIST_MAX_BYTES:
            raise SourceBroken(f"a playlist of more than {PLAYLIST_MAX_BYTES} bytes is not read")
        return data[:most]

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        fetcher, self._fetcher = self._fetcher, None
        if fetcher is not None:
            fetcher.closed(self)
            self._response.close()
            self._connection.close()


class TimelyResponse(http.client.HTTPResponse):
    """An answer whose head, and whatever stands between the bytes of its body, come in time.

    Args:
        connection: the request was sent on it.
        seconds: from `wait_anew`, and from the beginning; reading raises TimeoutError afterwards.
    """

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._arriving = _Arriving(connection, seconds)
        super().__init__(self._arriving, method="GET")  # type: ignore[arg-type]

    def wait_anew(self) -> None:
        """Have what comes next its whole time."""
        self._arriving.wait_anew()


class _Arriving(io.RawIOBase):
    """What comes over a connection until a deadline: a socket's own limit begins anew with each byte."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._bytes = connection.makefile("rb", buffering=0)
        self._seconds = seconds
        self._due = 0.0
        self.wait_anew()

    def wait_anew(self) -> None:
        self._due = time.monotonic() + self._seconds

    def makefile(self, _: str) -> io.BufferedReader:
        """Return what `http.client` reads from; it asks as if this were the socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._due - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._bytes.readinto(buffer)

    def close(self) -> None:
        self._bytes.close()
        super().close()


def _split(url: str) -> SplitResult:
    """Return the parts of where something leads.

    Raises:
        NotFollowed: when it is no address.
    """
    try:
        parts = urlsplit(url)
        if parts.port == 0:  # a port of letters raises
            raise ValueError
    except ValueError:
        raise NotFollowed(_NO_ADDRESS) from None
    return parts


def _join(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise NotFollowed(_NO_ADDRESS) from None


def _explained(error: Exception) -> SourceBroken:
    match error:
        case ssl.SSLCertVerificationError():
            return SourceBroken("the server's certificate cannot be verified")
        case ConnectionRefusedError():
            return SourceBroken("connection refused: nothing listens at the source's address")
        case TimeoutError():
            return SourceBroken("no answer in time")
    return SourceBroken("the server does not answer as HTTP servers do")


def explain_status(status: int) -> str:
    """Return an HTTP status in words for viewers and operators."""
    match status:
        case 401:
            return "the server refuses the user name or password (401)"
        case 403:
            return "the server forbids access to this path (403)"
        case 404:
            return "the server has nothing at this path (404)"
    return f"the server refuses the request ({status})" if status < 500 else f"the server failed ({status})"
