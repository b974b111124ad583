"""The door of Headrace's own players: `headrace.play.v1` at `/play/{stream}` (docs/protocol.md, section 3)."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from aiohttp import web

from headrace.access.policy import Asked
from headrace.identifiers import InvalidName, StreamName, stream_name
from headrace.relay.hub import TooManyStreams
from headrace.wire import play
from headrace.wire.errors import WireError
from headrace_edge.asking import asked_of
from headrace_edge.edge import Edge, Refusal
from headrace_edge.frames import CloseCode
from headrace_edge.framing import PlayFraming, message_frame
from headrace_edge.handshake import Flood, ViewerSocket, open_socket
from headrace_edge.upgrade import is_upgrade

DOOR = PlayFraming.door

HELLO_SECONDS = 5.0
"""How long a player may take to say `play` (docs/protocol.md, section 3.1)."""

REPORT_MAX_SECONDS = 3600.0
"""Largest latency or buffer that a report may tell: a broken clock must not spoil the sums of the histograms."""

REPORT_MAX_COUNT = 10_000
"""Most stalls or dropped frames that one report may add."""

FRAMING = PlayFraming()


class PlayDoor:
    """Lets players in; one for each edge."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /play/{stream}`: the handshake, then the conversation until one side ends it."""
        if not is_upgrade(request.headers):
            raise web.HTTPUpgradeRequired(text="this is a WebSocket; open it with a player")
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        if play.SUBPROTOCOL not in (name.strip() for name in offered.split(",")):
            self._edge.refusal(DOOR, "subprotocol", "")
            raise web.HTTPBadRequest(text=f"offer the WebSocket subprotocol {play.SUBPROTOCOL}")
        asked = asked_of(request, StreamName(request.match_info["stream"]))
        base = f"{request.scheme}://{request.host}"
        try:
            async with contextlib.AsyncExitStack() as stack:
                stack.enter_context(self._edge.seat(DOOR))
                socket, answer = await open_socket(
                    request, self._edge.clock, max_bytes=play.PLAYER_TEXT_MAX_BYTES, protocols=[play.SUBPROTOCOL]
                )
                # From here on the connection is the conversation's, and nothing may come in between.
                self._edge.host(socket.sender, Conversation(self._edge, socket, asked, base).run(), stack.pop_all())
                return answer
        except Refusal as refusal:
            raise web.HTTPServiceUnavailable(text=refusal.reason) from None


class Conversation:
    """What one player says, and what it is told beside the stream.

    Args:
        edge: where it watches.
        socket: the way to it.
        asked: what its request asks for; the name is not checked yet.
        base: the URL at which it found this edge.
    """

    __slots__ = ("_asked", "_base", "_counted", "_edge", "_socket")

    def __init__(self, edge: Edge, socket: ViewerSocket, asked: Asked, base: str) -> None:
        self._edge = edge
        self._socket = socket
        self._asked = asked
        self._base = base
        self._counted: tuple[float, float] | None = None

    async def run(self) -> None:
        """Talk until one side ends it, and close accordingly."""
        try:
            await self._talk()
        except Refusal as refusal:
            self._tell(play.Refused(code=refusal.code, reason=refusal.reason))
            await self._socket.close(CloseCode.REFUSED, refusal.code)
        except WireError as error:
            self._edge.refusal(DOOR, error.code, str(error))
            await self._socket.close(CloseCode.PROTOCOL_ERROR, error.code)
        except Flood:
            self._edge.refusal(DOOR, "flood", "")
            self._tell(play.Refused(code="flood", reason="too many messages"))
            await self._socket.close(CloseCode.REFUSED, "flood")
        except TooManyStreams as error:
            self._edge.refusal(DOOR, "streams", str(error))
            await self._socket.close(CloseCode.TRY_LATER, str(error))
        else:
            await self._socket.close()

    async def _talk(self) -> None:
        name = self._valid_name()
        hello = await self._hello()
        if hello is None:
            return
        asked = replace(self._asked, stream=name, session=self._asked.session or hello.session)
        async with self._edge.admitted(DOOR, asked) as held:
            held.when_ended(self._end)
            await self._play(name, hello)

    def _end(self, code: str, reason: str) -> None:
        """Tell the player that it may not go on, and close."""
        self._tell(play.Refused(code=code, reason=reason))
        self._socket.sender.finish(CloseCode.REFUSED, code)

    async def _play(self, name: StreamName, hello: play.Play) -> None:
        edge = self._edge
        self._tell(
            play.Welcome(
                edge=edge.options.node,
                stream=name,
                edges=edge.edges(self._base),
                heartbeat_ms=round(edge.options.heartbeat_seconds * 1000),
                utc_us=edge.utc_us(),
            )
        )
        # What a player counts goes on from edge to edge: what it counted before it came here is not ours.
        self._counted = None if hello.after else (0.0, 0.0)
        with edge.watching(name, FRAMING, self._socket.sender, hello.had(), hello.session):
            async for message in self._socket.messages():
                self._hear(message)

    def _valid_name(self) -> StreamName:
        try:
            return stream_name(self._asked.stream)
        except InvalidName as error:
            raise self._edge.refusal(DOOR, "bad_name", str(error)) from None

    async def _hello(self) -> play.Play | None:
        """Return the player's first message, `None` when it leaves instead.

        Raises:
            Refusal: when it says nothing in time.
            WireError: when it says something else.
        """
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                async for message in self._socket.messages():
                    said = _decode(message)
                    if isinstance(said, play.Play):
                        return said
                    if said is not None:
                        raise WireError("bad_order", "play must come first")
        except TimeoutError:
            reason = f"no play within {HELLO_SECONDS:g} s"
            raise self._edge.refusal(DOOR, "no_hello", reason) from None
        return None

    def _hear(self, message: bytes | str) -> None:
        said = _decode(message)
        if isinstance(said, play.Play):
            raise WireError("bad_order", "play came again")
        if isinstance(said, play.AskTime):
            self._tell(play.TellTime(sent=said.sent, utc_us=self._edge.utc_us()))
        elif isinstance(said, play.Report):
            self._note(said)

    def _note(self, report: play.Report) -> None:
        metrics = self._edge.metrics
        for milliseconds, histogram in (
            (report.latency_ms, metrics.viewer_latency_seconds),
            (report.buffer_ms, metrics.viewer_buffer_seconds),
        ):
            if milliseconds is not None and 0 <= milliseconds <= REPORT_MAX_SECONDS * 1000:
                histogram.observe(milliseconds / 1000)
        counts = (report.stalls or 0.0, report.dropped_frames or 0.0)
        for now, before, counter in zip(
            counts, self._counted or counts, (metrics.viewer_stalls, metrics.viewer_dropped_frames), strict=True
        ):
            counter.inc(min(max(0.0, now - before), REPORT_MAX_COUNT))
        self._counted = counts

    def _tell(self, message: play.EdgeMessage) -> None:
        if not self._socket.sender.is_paused:
            self._socket.sender.write(message_frame(message))


def _decode(message: bytes | str) -> play.PlayerMessage | None:
    if isinstance(message, bytes):
        raise WireError("bad_message", "players send text")
    return play.decode_from_player(message)
