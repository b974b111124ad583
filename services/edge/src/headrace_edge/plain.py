"""The door of everybody else's players: plain fMP4 over WebSocket, on a port of its own.

`ws://edge:8410/{stream}`: no subprotocol; the first binary message is ftyp+moov of all tracks, each later one a whole
moof+mdat. The handshake is answered as EvoStream's `inboundWSFMP4` answers it.
"""

from __future__ import annotations

import contextlib
import re

from aiohttp import web

from headrace.identifiers import InvalidName, StreamName, stream_name
from headrace.relay.hub import TooManyStreams
from headrace.wire.errors import WireError
from headrace_edge.asking import asked_of, challenge_of
from headrace_edge.edge import Edge, Refusal
from headrace_edge.frames import CloseCode
from headrace_edge.framing import PlainFraming
from headrace_edge.handshake import Flood, ViewerSocket, open_socket
from headrace_edge.upgrade import is_upgrade

DOOR = PlainFraming.door

TEXT_MAX_BYTES = 4 * 1024
"""Longest message a viewer may send: players of this kind have nothing to say but single words."""

LATER_MODES = ("progressive", "fullMp4")
"""Query flags that ask for another framing than the plain one, which this edge does not have."""

FRAMING = PlainFraming()

_HEADERS = {"Content-Type": "application/octet-stream", "Access-Control-Allow-Origin": "*"}

_PLAYLIST_PREFIX = re.compile(r"[0-9A-Za-z-]{1,64};\*")
"""What EvoStream's player puts before names that it takes for playlists: a UUID and `;*`."""


def requested_name(path: str) -> StreamName:
    """Return the stream that a request path asks for.

    Raises:
        InvalidName: when it is not a stream name.
    """
    name = path.removeprefix("/")
    prefix = _PLAYLIST_PREFIX.match(name)
    return stream_name(name[prefix.end() :] if prefix else name)


class PlainDoor:
    """Lets plain fMP4 viewers in; one for each edge."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /{stream}`: the handshake, then media until one side ends it."""
        try:
            name = requested_name(request.path)
        except InvalidName as error:
            self._edge.refusal(DOOR, "bad_name", str(error))
            return web.Response(status=404, reason="Not found", headers={"Connection": "close"})
        if not is_upgrade(request.headers):
            raise web.HTTPUpgradeRequired(text="this is a WebSocket; open it with a player")
        for mode in LATER_MODES:
            if mode in request.query:
                self._edge.refusal(DOOR, "mode", mode)
                raise web.HTTPNotImplemented(text=f"this edge has no {mode} mode; leave it out for plain fMP4")
        try:
            async with contextlib.AsyncExitStack() as stack:
                stack.enter_context(self._edge.seat(DOOR))
                held = await stack.enter_async_context(self._edge.admitted(DOOR, asked_of(request, name)))
                clock = self._edge.clock
                socket, answer = await open_socket(request, clock, max_bytes=TEXT_MAX_BYTES, headers=_HEADERS)
                held.when_ended(lambda code, reason: socket.sender.finish(CloseCode.REFUSED, code))
                self._edge.host(socket.sender, self._serve(socket, name), stack.pop_all())
                return answer
        except Refusal as refusal:
            headers = {"Connection": "close", **challenge_of(refusal.status)}
            return web.Response(status=refusal.status, text=refusal.reason, headers=headers)

    async def _serve(self, socket: ViewerSocket, name: StreamName) -> None:
        try:
            await self._play(socket, name)
        except WireError as error:
            self._edge.refusal(DOOR, error.code, str(error))
            await socket.close(CloseCode.PROTOCOL_ERROR, error.code)
        except Flood:
            self._edge.refusal(DOOR, "flood", "")
            await socket.close(CloseCode.REFUSED, "flood")
        except TooManyStreams as error:
            self._edge.refusal(DOOR, "streams", str(error))
            await socket.close(CloseCode.TRY_LATER, str(error))
        else:
            await socket.close()

    async def _play(self, socket: ViewerSocket, name: StreamName) -> None:
        with self._edge.watching(name, FRAMING, socket.sender):
            async for _ in socket.messages():
                pass  # nothing that a plain viewer says changes what it gets
