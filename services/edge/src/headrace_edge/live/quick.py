"""The quick way: requests for what is ready are answered between a connection and aiohttp.

A connection that asks for something below `/live/` gets a `Quick` before its protocol. What it reads is looked up by
path; if an answer is ready, that is written and aiohttp never hears of it. Everything else goes on to aiohttp: other
methods, conditions, ranges, bodies, requests in pieces or while another is being answered, clients that do
not read. A request that is not whole in one read ends the quick way for its connection until the next answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from aiohttp import web

from headrace.clock import Clock
from headrace_edge.live.answers import takes_gzip
from headrace_edge.live.ready import Shelf

PASS_SECONDS = 10.0
"""How often at least a connection's request goes to aiohttp, which closes connections that are idle for 75 s."""

STUCK_SECONDS = 20.0
"""How long a client may take nothing of what was written to it; a phone changes from Wi-Fi to its network in ten."""

KINDS_MAX = 4096
"""Most sets of headers remembered: players of one kind send the same with each request, behind a proxy each its own."""

HEADERS_MAX_BYTES = 4096
"""Longest set of headers looked at here: a browser's has some 500 bytes."""

_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\x20-\x7e]*)", re.ASCII)

_NOT_WHOLE = frozenset({b"content-length", b"transfer-encoding", b"upgrade", b"expect"})
_NOT_QUICK = frozenset(
    {b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
)


class Kind(Enum):
    """What the headers of a request allow."""

    STRANGE = "strange"
    """It is not whole, or not for us to judge."""
    SLOW = "slow"
    """A whole request without a body that aiohttp is to answer."""
    PLAIN = "plain"
    PACKED = "packed"


def kind_of(headers: bytes) -> Kind:
    """Return what `headers` allow: all that follows the request line, with the empty line at the end."""
    if not headers.endswith(b"\r\n\r\n") or len(headers) > HEADERS_MAX_BYTES:
        return Kind.STRANGE
    found: dict[bytes, bytes] = {}
    for line in headers[:-4].split(b"\r\n"):
        match = _FIELD.fullmatch(line)
        name = match[1].lower() if match else b""
        if match is None or name in found or name in _NOT_WHOLE:
            return Kind.STRANGE
        found[name] = match[2].rstrip()
    if b"host" not in found:
        return Kind.STRANGE
    if found.get(b"connection", b"keep-alive").lower() != b"keep-alive" or _NOT_QUICK & found.keys():
        return Kind.SLOW
    return Kind.PACKED if takes_gzip(found.get(b"accept-encoding", b"").decode()) else Kind.PLAIN


class QuickWay:
    """What the quick ways of one edge share."""

    def __init__(self, shelf: Shelf, clock: Clock) -> None:
        self.shelf = shelf
        self.clock = clock
        self._kinds: dict[bytes, Kind] = {}

    def open(self, request: web.Request) -> Quick:
        """Return the quick way of the connection of `request`, put before aiohttp if it was not there.

        Raises:
            ConnectionResetError: when the client is gone.
        """
        transport, inner = request.transport, request.protocol
        if transport is None:
            raise ConnectionResetError("the client is gone")
        before = transport.get_protocol()
        if isinstance(before, Quick):
            return before
        quick = Quick(self, transport, inner)
        transport.set_protocol(quick)
        return quick

    def kind(self, headers: bytes) -> Kind:
        """Return `kind_of(headers)`, remembered."""
        kind = self._kinds.get(headers)
        if kind is None:
            if len(self._kinds) >= KINDS_MAX:
                self._kinds.clear()
            kind = kind_of(headers)
            if kind is not Kind.STRANGE:
                self._kinds[headers] = kind
        return kind


class Quick(asyncio.Protocol):
    """Stands between one connection and aiohttp's protocol."""

    __slots__ = ("_inner", "_is_over", "_passed_at", "_timer", "_transport", "_unsent", "_waiter", "_way")

    def __init__(self, way: QuickWay, transport: asyncio.Transport, inner: web.RequestHandler) -> None:
        self._way = way
        self._transport = transport
        self._inner = inner
        self._passed_at = way.clock.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._is_over = False
        self._waiter: asyncio.Task[object] | None = None

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Have the task that is in this context cancelled when the client goes away: nobody is left to wait for."""
        self._waiter = asyncio.current_task()
        try:
            yield
        finally:
            self._waiter = None

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            self._inner.data_received(data)
            return
        line, _, headers = data.partition(b"\r\n")
        way = self._way
        kind = way.kind(headers)
        if kind is Kind.STRANGE or line[-9:] != b" HTTP/1.1":
            self._is_over = not self._is_idle()  # who takes the answer is still watched
            if not self._is_over:
                self._transport.set_protocol(self._inner)
        elif kind is not Kind.SLOW and line[:4] == b"GET " and self._answer(line[4:-9], kind, way.clock.monotonic()):
            return
        else:
            self._passed_at = way.clock.monotonic()
        self._inner.data_received(data)

    def _answer(self, path: bytes, kind: Kind, now: float) -> bool:
        """Answer if that is ready; return whether it was."""
        shelf = self._way.shelf
        answer = (shelf.packed if kind is Kind.PACKED else shelf.plain).get(path)
        if answer is None:
            return False
        source = answer.source
        if (answer.turn is not None and answer.turn != source.turns) or now - self._passed_at > PASS_SECONDS:
            return False
        transport = self._transport
        if not self._is_idle() or transport.is_closing():
            return False
        transport.write(answer.bytes_at(self._way.clock.utc()))
        source.used_at = now
        answer.requests.inc()
        if answer.sent_bytes is not None:
            answer.sent_bytes.inc(len(answer.body))
        return True

    def _is_idle(self) -> bool:
        """Return whether aiohttp waits for the next request, has none, and what was answered before has left."""
        inner = self._inner
        return inner._waiter is not None and not inner._messages and not self._transport.get_write_buffer_size()

    def eof_received(self) -> None:
        self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        self._stop_watching()
        self._inner.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_watching()
        waiter = self._waiter
        self._inner.connection_lost(exc)
        if waiter is not None:
            waiter.cancel()

    def _watch(self) -> None:
        self._unsent = self._transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(STUCK_SECONDS, self._look)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Cut the connection if nothing was taken since the last look."""
        if self._transport.get_protocol() is not self:
            return
        if self._transport.get_write_buffer_size() < self._unsent:
            self._watch()
        else:
            self._transport.abort()
