"""A small edge for tests of the player: speaks headrace.play.v1 from a broadcast, serves the player, fails on order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from aiohttp import WSMsgType, web

from headrace.relay.broadcast import Broadcast, Cursor, Entry, Gap, Opened, StateChange
from headrace.wire.chunk import Chunk
from headrace.wire.errors import WireError
from headrace.wire.play import (
    SUBPROTOCOL,
    AskTime,
    EdgeMessage,
    GapNotice,
    GoingAway,
    Ping,
    Play,
    Report,
    State,
    TellTime,
    Tracks,
    Welcome,
    decode_from_player,
    encode,
)

WEB = Path(__file__).parents[2] / "web"

PAGE = """<!doctype html>
<meta charset="utf-8"><title>player</title>
<script type="module" src="/player/headrace-player.js"></script>
<headrace-player src="{src}" muted style="width: 640px"></headrace-player>
"""


class PlayServer:
    """One edge on a free port of 127.0.0.1.

    Attributes:
        name: its node id.
        broadcast: what it plays, whatever name is asked for.
        edges: further WebSocket base URLs that it tells about.
        heartbeat_ms: how often it pings.
        frozen: while true it sends nothing, as a host that was cut off.
        filter: which chunks it sends.
        plays: what players asked for, in order.
        reports: what players told, in order.
    """

    def __init__(self, broadcast: Broadcast, name: str = "edge-1", heartbeat_ms: int = 1000) -> None:
        self.name = name
        self.broadcast = broadcast
        self.edges: tuple[str, ...] = ()
        self.heartbeat_ms = heartbeat_ms
        self.frozen = False
        self.filter: Callable[[Chunk], bool] = lambda chunk: True
        self.plays: list[Play] = []
        self.reports: list[Report] = []
        self.port = 0
        self._viewers: set[_Viewer] = set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The page that plays the stream."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def ws_url(self) -> str:
        """Its WebSocket base URL."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def viewers(self) -> int:
        """How many players are connected."""
        return len(self._viewers)

    async def start(self) -> None:
        """Listen; on the same port as before when it was started already."""
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/play/{stream:.+}", self._play)
        app.router.add_static("/player", WEB / "player")
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Die: connections are cut, the port is closed."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def cut(self) -> None:
        """Abort every player's connection."""
        for viewer in tuple(self._viewers):
            viewer.abort()

    async def tell(self, message: EdgeMessage) -> None:
        """Send `message` to every player."""
        for viewer in tuple(self._viewers):
            await viewer.send(message)

    async def drain(self, *edges: str) -> None:
        """Tell players to go to `edges`."""
        await self.tell(GoingAway(edges=edges))

    async def _page(self, request: web.Request) -> web.Response:
        page = PAGE.format(src=request.query.get("src", "/play/test"))
        return web.Response(text=page, content_type="text/html")

    async def _play(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=(SUBPROTOCOL,), compress=False, max_msg_size=65536)
        await socket.prepare(request)
        first = await socket.receive(timeout=5)
        play = decode_from_player(first.data) if first.type is WSMsgType.TEXT else None
        if not isinstance(play, Play):
            await socket.close(code=1002)
            return socket
        self.plays.append(play)
        viewer = _Viewer(self, request, socket)
        self._viewers.add(viewer)
        try:
            await viewer.serve(play, request.match_info["stream"])
        except (ConnectionError, WireError):
            pass
        finally:
            self._viewers.discard(viewer)
        return socket


class _Viewer:
    """One player's connection."""

    def __init__(self, server: PlayServer, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._server = server
        self._request = request
        self._socket = socket
        self._news = asyncio.Event()

    async def serve(self, play: Play, stream: str) -> None:
        """Send until the player leaves."""
        server = self._server
        edges = (server.ws_url, *server.edges)
        await self.send(
            Welcome(edge=server.name, stream=stream, edges=edges, heartbeat_ms=server.heartbeat_ms, utc_us=_utc_us())
        )
        had = play.had()
        cursor = server.broadcast.join() if had is None else server.broadcast.resume(had)
        tasks = [asyncio.create_task(work) for work in (self._feed(cursor), self._beat(), self._listen())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def abort(self) -> None:
        """Cut the connection without a word."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    async def send(self, message: EdgeMessage) -> None:
        """Send one text message, unless the server is frozen."""
        if not self._server.frozen:
            await self._socket.send_str(encode(message).decode())

    async def _feed(self, cursor: Cursor) -> None:
        broadcast = self._server.broadcast
        broadcast.listeners.add(self._news.set)
        try:
            while True:
                self._news.clear()
                if not self._server.frozen:
                    for entry in broadcast.read(cursor):
                        await self._send_entry(entry)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 0.5)
        finally:
            broadcast.listeners.discard(self._news.set)

    async def _send_entry(self, entry: Entry) -> None:
        if isinstance(entry, Chunk):
            if self._server.filter(entry):
                await self._socket.send_bytes(entry.record)
        elif isinstance(entry, Opened):
            await self.send(Tracks(epoch=entry.epoch, tracks=entry.tracks))
        elif isinstance(entry, Gap):
            await self.send(GapNotice(track=entry.next.track, next=entry.next.position))
        elif isinstance(entry, StateChange):
            await self.send(State(state=entry.state, reason=entry.reason, route=entry.route))

    async def _beat(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(self._server.heartbeat_ms / 1000)
            number += 1
            await self.send(Ping(id=number, utc_us=_utc_us()))

    async def _listen(self) -> None:
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                return
            said = decode_from_player(message.data)
            if isinstance(said, AskTime):
                await self.send(TellTime(sent=said.sent, utc_us=_utc_us()))
            elif isinstance(said, Report):
                self._server.reports.append(said)


def _utc_us() -> int:
    return round(time.time() * 1_000_000)
