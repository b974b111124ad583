"""The pages of an edge: `/` lists the streams of the cluster, `/watch/{stream}` plays one, `/player/` is the player.

All files are read once, when the edge is built, and served from memory: no request ever names a file.
"""

from __future__ import annotations

import hashlib
import html
import mimetypes
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from string import Template
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import hdrs, web

from headrace.identifiers import InvalidName, StreamName, stream_name
from headrace_edge.libraries import find_libraries
from headrace_edge.seeing import SeenBy

FILES_MAX_BYTES = 16 * 1024 * 1024
"""Most bytes of files that are held: the player has some hundred thousand, libraries beside it a few million."""

CACHE_SECONDS = 60
"""How long a browser may use a module without asking: short, for their names stay when their contents change."""

SESSION_BYTES = 12
"""Random bytes of a session's name: nobody guesses somebody else's."""

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "media-src 'self' blob:",
        "worker-src 'self' blob:",
        "connect-src 'self' http: https: ws: wss:",  # a player goes to whichever edge is alive
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors *",  # a page of somebody else may embed /watch/
    )
)

_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".wasm": "application/wasm"}
"""Types that must not depend on what the machine's tables say."""


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is answered."""

    body: bytes
    content_type: str
    etag: str


def read_files(folder: Traversable) -> dict[str, StaticFile]:
    """Return every file below `folder` by its path, but for hidden ones; nothing when there is no such folder.

    Raises:
        ValueError: when they have more than `FILES_MAX_BYTES` together.
    """
    files = {}
    held = 0
    for path, file in _walk(folder, ""):
        body = file.read_bytes()
        held += len(body)
        if held > FILES_MAX_BYTES:
            raise ValueError(f"the files below {folder} have more than {FILES_MAX_BYTES} bytes")
        suffix = path[path.rfind(".") :]
        kind = _TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"
        files[path] = StaticFile(body, kind, hashlib.sha256(body).hexdigest()[:32])
    return files


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.startswith((".", "__pycache__")):
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry


class Pages:
    """The handlers of the pages.

    Args:
        node: whose pages they are.
        registry: what streams there are.
        is_public: whether anybody may watch a stream.
    """

    def __init__(self, node: str, registry: SeenBy, is_public: Callable[[StreamName], bool] = lambda _: True) -> None:
        package = resources.files("headrace_edge")
        self._node = node
        self._registry = registry
        self._is_public = is_public
        self._site = read_files(package / "site")
        self._player = read_files(package / "web")
        self._libraries = {
            name: StaticFile(body, "text/javascript", hashlib.sha256(body).hexdigest()[:32])
            for name, body in find_libraries().items()
        }
        self._watch = Template(self._site["watch.html"].body.decode())

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the pages."""
        return [
            web.get("/", self._index),
            web.get("/watch/{stream:.+}", self._watch_page),
            web.get("/streams", self._streams),
            web.get("/site/{path:.+}", self._site_file),
            web.get("/player/{path:.+}", self._player_file),
            web.get("/vendor/{path:.+}", self._library_file),
            web.get("/favicon.ico", self._icon),
        ]

    async def _index(self, request: web.Request) -> web.Response:
        return _page(self._site["index.html"].body.decode())

    async def _watch_page(self, request: web.Request) -> web.Response:
        try:
            name = stream_name(request.match_info["stream"])
        except InvalidName as error:
            raise web.HTTPNotFound(text=str(error)) from None
        asked = dict(request.query)
        if not self._is_public(name):
            asked.setdefault("session", secrets.token_urlsafe(SESSION_BYTES))  # all ways of the page are one viewer
        query = f"?{urlencode(asked)}" if asked else ""
        page = _page(
            self._watch.substitute(
                stream=html.escape(name), path=html.escape(quote(name)), query=html.escape(query, quote=True)
            )
        )
        page.headers[hdrs.CACHE_CONTROL] = "no-store" if asked else "no-cache"
        return page

    async def _streams(self, request: web.Request) -> web.Response:
        streams = [
            {
                "name": record.stream,
                "state": record.state,
                "owner": record.node,
                "tracks": [msgspec.to_builtins(track) for track in record.tracks],
            }
            for _, record in sorted(self._registry.streams.items())
        ]
        answer = {"node": self._node, "streams": streams}
        return web.json_response(answer, headers={hdrs.CACHE_CONTROL: "no-store"})

    async def _site_file(self, request: web.Request) -> web.Response:
        return _file(request, self._site.get(request.match_info["path"]))

    async def _player_file(self, request: web.Request) -> web.Response:
        return _file(request, self._player.get(request.match_info["path"]))

    async def _library_file(self, request: web.Request) -> web.Response:
        return _file(request, self._libraries.get(request.match_info["path"]))

    async def _icon(self, request: web.Request) -> web.Response:
        return _file(request, self._site.get("icon.svg"))


def _page(text: str) -> web.Response:
    headers = {hdrs.CACHE_CONTROL: "no-cache", "Content-Security-Policy": CONTENT_SECURITY_POLICY}
    return web.Response(text=text, content_type="text/html", headers=headers)


def _file(request: web.Request, file: StaticFile | None) -> web.Response:
    if file is None:
        raise web.HTTPNotFound(text=f"there is no {request.path}")
    headers = {hdrs.CACHE_CONTROL: f"public, max-age={CACHE_SECONDS}", hdrs.ETAG: f'"{file.etag}"'}
    if any(known.value in (file.etag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    text = file.content_type.startswith("text/") or file.content_type == "image/svg+xml"
    return web.Response(
        body=file.body, content_type=file.content_type, charset="utf-8" if text else None, headers=headers
    )
