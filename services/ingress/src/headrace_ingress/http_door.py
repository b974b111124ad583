"""The HTTP doors: `/publish/{stream}` by WebSocket, PUT or POST, and a page to publish from a browser.

What is sent is a file that grows: fMP4, WebM or Matroska, MPEG-TS or FLV, told by its first bytes. It goes into the
pipe that the stream's reader reads from; where that is full, nothing more is read from the connection.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from importlib import resources
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from aiohttp import WSMsgType, hdrs, web

from headrace.identifiers import InvalidName, StreamName, stream_name
from headrace_ingress.admission import PublishRefused
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.pipe import BytePipe
from headrace_ingress.publications import Peer, Publications, on_loop
from headrace_ingress.published import Publication

FIRST_SECONDS: Final = 10.0
"""How long the first bytes may take; after them the stream's stall time holds."""

MESSAGE_MAX_BYTES: Final = 4 * 1024 * 1024
"""Longest WebSocket message: a second of 30 Mbit/s."""

HEARTBEAT_SECONDS: Final = 10.0
"""How often a publisher by WebSocket is pinged."""

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

PROXY_HEADERS: Final = ("Forwarded", "X-Forwarded-For", "Via")
"""What proxies add to requests that they pass on."""

REFUSALS: Final[dict[str, type[web.HTTPClientError | web.HTTPServerError]]] = {
    "key": web.HTTPUnauthorized,
    "guessing": web.HTTPTooManyRequests,
    "busy": web.HTTPConflict,
    "sourced": web.HTTPConflict,
    "limit": web.HTTPServiceUnavailable,
    "node": web.HTTPForbidden,
}
"""How each way to be refused is answered."""

_TYPES: Final = {"publish.js": "text/javascript", "publish.css": "text/css", "index.html": "text/html"}

log = structlog.get_logger(__name__)


class Over(Exception):
    """Nothing more is taken of what is published; says why."""


class HttpDoor:
    """Answers `/publish/…`.

    Args:
        publications: lets publishers in.
        metrics: of this process.
        host: what the listener is bound to.
        first_seconds: how long the first bytes may take.
    """

    def __init__(
        self, publications: Publications, metrics: IngressMetrics, host: str, first_seconds: float = FIRST_SECONDS
    ) -> None:
        self._publications = publications
        self._metrics = metrics
        self._is_loopback = _is_loopback(host)
        self._first_seconds = first_seconds
        folder = resources.files("headrace_ingress") / "web"
        self._files = {name: (folder / name).read_bytes() for name in _TYPES}

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/publish/{stream:.+}", self._get, allow_head=False)
        app.router.add_put("/publish/{stream:.+}", self._put)
        app.router.add_post("/publish/{stream:.+}", self._put)
        app.router.add_get("/publish-page/{file}", self._file, allow_head=False)

    # -- answers --------------------------------------------------------------------------------------------------

    async def _get(self, request: web.Request) -> web.StreamResponse:
        _name(request)
        if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
            return await self._socket(request)
        return self._answer_file("index.html")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["file"]
        if name not in self._files or name == "index.html":
            raise web.HTTPNotFound
        return self._answer_file(name)

    def _answer_file(self, name: str) -> web.Response:
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, hdrs.CACHE_CONTROL: "no-cache"}
        return web.Response(body=self._files[name], content_type=_TYPES[name], charset="utf-8", headers=headers)

    async def _put(self, request: web.Request) -> web.StreamResponse:
        upload = self._let_in(request, "http")
        try:
            await upload.take(_body(request), self._first_seconds)
        except Over as over:
            # The rest of the body will not be read: close, or the peer waits for it to be.
            response = web.Response(status=409, text=f"{over}\n")
            response.force_close()
            return response
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="nothing was sent in time\n") from None
        finally:
            upload.leave()
        return web.Response(status=204)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        upload = self._let_in(request, "websocket")
        socket = web.WebSocketResponse(max_msg_size=MESSAGE_MAX_BYTES, heartbeat=HEARTBEAT_SECONDS)
        try:
            await socket.prepare(request)
            await upload.take(_messages(socket), self._first_seconds)
        except Over as over:
            await socket.close(code=1008, message=str(over).encode()[:120])
        except TimeoutError:
            await socket.close(code=1008, message=b"nothing was sent in time")
        finally:
            upload.leave()
        return socket

    # -- inside ---------------------------------------------------------------------------------------------------

    def _let_in(self, request: web.Request, door: str) -> Upload:
        """Let a publisher in.

        Raises:
            HTTPException: when it may not.
        """
        name = _name(request)
        peer = Peer(door, request.remote or "", self._is_loopback and not _is_foreign(request))
        upload = Upload(self._publications, name, door, self._metrics)
        try:
            upload.admit(_key(request), peer)
        except PublishRefused as refused:
            refusal = REFUSALS[refused.code](text=f"{refused}\n")
            refusal.force_close()
            raise refusal from None
        return upload


class Upload:
    """One publisher's file on its way into the pipe."""

    def __init__(self, publications: Publications, name: StreamName, door: str, metrics: IngressMetrics) -> None:
        self._publications = publications
        self._name = name
        self._door = door
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._publication: Publication | None = None
        self._file: BytePipe | None = None
        self._room = asyncio.Event()
        self._over: asyncio.Future[str] = self._loop.create_future()

    def admit(self, key: str, peer: Peer) -> None:
        """Ask whether it may publish.

        Raises:
            PublishRefused: when it may not.
        """
        self._publication = self._publications.admit(self._name, key, peer, self._end)
        self._metrics.door_connections.labels(self._door).inc()

    async def take(self, pieces: AsyncIterator[bytes], first_seconds: float) -> None:
        """Take the file to its end.

        Raises:
            Over: when nothing more is taken.
            TimeoutError: when the first bytes do not come in time.
        """
        taking = asyncio.create_task(self._take(pieces, first_seconds), name=f"publisher of {self._name}")
        try:
            ends: list[asyncio.Future[Any]] = [taking, self._over]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not taking.done() and self._over.done():
                self._metrics.door_ended.labels(self._door, "over").inc()
                raise Over(self._over.result())
            await taking
        finally:
            taking.cancel()
            await asyncio.wait({taking})

    async def _take(self, pieces: AsyncIterator[bytes], first_seconds: float) -> None:
        resume = on_loop(self._loop, lambda _: self._room.set())
        first = b""
        async with asyncio.timeout(first_seconds):
            while len(first) < SNIFF_BYTES:
                piece = await anext(pieces, None)
                if piece is None:
                    break
                first += piece
        self._file = BytePipe(sniff(first), lambda: resume(""))
        assert self._publication is not None
        self._publication.add(self._file)
        await self._write(first)
        async for piece in pieces:
            await self._write(piece)

    async def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._room.clear()
        if not self._file.write(data):
            await self._room.wait()

    def leave(self) -> None:
        """The connection is over."""
        if self._file is not None:
            self._file.end()
        if self._publication is not None:
            self._publications.leave(self._name, self._publication)
            self._metrics.door_connections.labels(self._door).dec()

    def _end(self, why: str) -> None:
        if not self._over.done():
            self._over.set_result(why)


SNIFF_BYTES: Final = 16
"""What a file's kind is told by."""


def sniff(first: bytes) -> str:
    """Return libav's name of the format of a file that begins so; what is unknown is read as MP4, and refused there."""
    if first.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if first.startswith(b"FLV"):
        return "flv"
    return "mpegts" if first[:1] == b"\x47" else "mov"


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    async for piece in request.content.iter_any():
        yield piece


async def _messages(socket: web.WebSocketResponse) -> AsyncIterator[bytes]:
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            yield message.data
        elif message.type is WSMsgType.TEXT:
            return


def _name(request: web.Request) -> StreamName:
    try:
        return stream_name(request.match_info["stream"])
    except InvalidName as error:
        raise web.HTTPNotFound(text=f"{error}\n") from None


def _key(request: web.Request) -> str:
    """Return the key: `?key=`, a bearer token or the password of Basic."""
    if "key" in request.query:
        return request.query["key"]
    kind, _, value = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return ""


def _is_foreign(request: web.Request) -> bool:
    """Whether it is from elsewhere: a page that is shown on this machine asks, or a proxy on it, for others."""
    if any(name in request.headers for name in PROXY_HEADERS):
        return True
    origin = request.headers.get(hdrs.ORIGIN)
    try:
        host = urlsplit(f"//{request.host}").hostname or ""
        is_other = origin is not None and urlsplit(origin).netloc != request.host
    except ValueError:
        return True
    return is_other or not _is_loopback(host)  # a name that somebody else made lead here


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
