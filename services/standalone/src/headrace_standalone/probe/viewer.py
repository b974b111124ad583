"""A viewer of `headrace.play.v1` that counts what it gets, and comes back when an edge goes away."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from headrace.clock import Clock, microseconds
from headrace.errors import StartupError, reason
from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.transport.backoff import Backoff
from headrace.wire.chunk import CHUNK_MAX_BYTES, parse_chunk
from headrace.wire.errors import WireError
from headrace.wire.play import (
    SUBPROTOCOL,
    AskTime,
    EdgeMessage,
    Edges,
    GapNotice,
    GoingAway,
    Ping,
    Play,
    Pong,
    Refused,
    Skipped,
    State,
    TellTime,
    Tracks,
    Welcome,
    decode_from_edge,
    encode,
)
from headrace_standalone.probe.measure import Measurement, Missing

OPEN_SECONDS = 5.0
"""How long connecting may take."""

CLOSE_SECONDS = 1.0
"""How long closing may take; the answer of a dead edge is not waited for any longer."""

ASK_TIME_SECONDS = 2.0
"""How often the edge's clock is asked for."""

HEARTBEAT_MS = 1000
"""The heartbeat assumed until the edge has told its own."""

SILENT_HEARTBEATS = 3
"""Heartbeats missed after which an edge counts as gone (docs/protocol.md, section 3.2)."""

RETRY_MIN_SECONDS = 0.1
RETRY_MAX_SECONDS = 2.0

FINAL_CLOSE_CODES = frozenset({1000, 1002, 1008})
"""Close codes after which a player does not come back (docs/protocol.md, section 3.3)."""

Tell = Callable[[str, dict[str, Any]], None]
"""Called with the kind of an event (`state`, `missing`, `connected`, `lost`) and its figures."""


class Viewer:
    """Watches one stream until cancelled, from one edge after the other.

    Args:
        stream: what to watch.
        edge: WebSocket base URL of the first edge, for example `ws://127.0.0.1:8088`.
        clock: where the time is read.
        tell: told what happens.
    """

    def __init__(self, stream: StreamName, edge: str, clock: Clock, tell: Tell) -> None:
        self.measurement = Measurement(clock.monotonic())
        self._stream = stream
        self._edges = [edge]
        self._clock = clock
        self._tell = tell
        self._session = secrets.token_hex(8)
        self._heartbeat_ms = HEARTBEAT_MS
        self._leave = asyncio.Event()

    async def watch(self) -> None:
        """Watch until the stream has ended, coming back with what was had when a connection ends.

        Raises:
            StartupError: when the very first connection cannot be made, or the edge refuses.
        """
        backoff = Backoff(RETRY_MIN_SECONDS, RETRY_MAX_SECONDS)
        while True:
            try:
                if await self._connect():
                    return
                backoff.reset()
                words = "the edge ended the connection"
            except (OSError, InvalidURI, InvalidHandshake, WireError) as error:
                words = _words(error)
                if not self.measurement.connections:
                    raise StartupError(f"cannot watch {self._stream} at {self._edges[0]}: {words}") from error
            self._edges.append(self._edges.pop(0))
            self.measurement.state = "reconnecting"
            self._tell("lost", {"reason": words, "next_edge": self._edges[0]})
            await asyncio.sleep(backoff.next(random.random()))

    async def _connect(self) -> bool:
        """Watch by one connection; return whether it ended for good."""
        async with connect(
            f"{self._edges[0]}/play/{quote(self._stream)}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,
            max_size=CHUNK_MAX_BYTES,
            proxy=None,
        ) as socket:
            if socket.subprotocol != SUBPROTOCOL:
                raise WireError("bad_version", f"the server there does not speak {SUBPROTOCOL}")
            await socket.send(encode(Play(session=self._session, after=self.measurement.after())).decode())
            self.measurement.connections += 1
            if self.measurement.connections == 1:
                self.measurement.join(microseconds(self._clock.utc()))
            asking = asyncio.create_task(self._ask_time(socket))
            try:
                return await self._receive(socket)
            finally:
                asking.cancel()

    async def _receive(self, socket: ClientConnection) -> bool:
        self._leave.clear()
        try:
            while not self._leave.is_set():
                async with asyncio.timeout(SILENT_HEARTBEATS * self._heartbeat_ms / 1000):
                    message = await socket.recv()
                if isinstance(message, bytes):
                    self._take_chunk(message)
                else:
                    await self._take(socket, decode_from_edge(message))
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
            if code in FINAL_CLOSE_CODES - {1000}:
                raise StartupError(f"{self._edges[0]} closed the connection: {closed.rcvd}") from closed
            return code == 1000
        return False

    def _take_chunk(self, record: bytes) -> None:
        utc_us = microseconds(self._clock.utc())
        missing = self.measurement.add(parse_chunk(record), self._clock.monotonic(), utc_us)
        self._tell_missing(missing)

    def _tell_missing(self, missing: Missing | None) -> None:
        if missing is not None:
            after = str(missing.after) if missing.after else None
            figures = {"after": after, "before": str(missing.before), "chunks": missing.chunks, "told": missing.told}
            self._tell("missing", figures)

    async def _take(self, socket: ClientConnection, message: EdgeMessage | None) -> None:
        measurement = self.measurement
        match message:
            case Welcome():
                measurement.edge = message.edge
                self._heartbeat_ms = message.heartbeat_ms
                self._learn(message.edges)
                self._tell("connected", {"edge": message.edge, "url": self._edges[0]})
            case State():
                measurement.state, measurement.reason = message.state.value, message.reason
                measurement.route = tuple(hop.node for hop in message.route)
                self._tell("state", {"state": measurement.state, "reason": message.reason, "route": measurement.route})
            case Tracks():
                measurement.open(message.tracks)
                self._tell("tracks", {"epoch": message.epoch, "codecs": [track.codec for track in message.tracks]})
            case GapNotice():
                epoch, segment, chunk = message.next
                self._tell_missing(measurement.announce(ChunkId(Epoch(epoch), message.track, segment, chunk)))
            case Skipped():
                measurement.skipped += message.entries
                self._tell("skipped", {"entries": message.entries})
            case Ping():
                await socket.send(encode(Pong(id=message.id)).decode())
            case TellTime():
                measurement.clock.add(int(message.sent), message.utc_us, microseconds(self._clock.utc()))
            case Edges():
                self._learn(message.edges)
            case GoingAway():
                self._learn(message.edges)
                self._leave.set()
            case Refused():
                raise StartupError(f"{self._edges[0]} refuses: {message.reason} ({message.code})")
            case None:
                pass

    def _learn(self, edges: tuple[str, ...]) -> None:
        """Keep the edge in use first, the others after it."""
        self._edges[1:] = [edge.rstrip("/") for edge in edges if edge.rstrip("/") != self._edges[0]]

    async def _ask_time(self, socket: ClientConnection) -> None:
        while True:
            await socket.send(encode(AskTime(sent=microseconds(self._clock.utc()))).decode())
            await asyncio.sleep(ASK_TIME_SECONDS)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return reason(error) if isinstance(error, OSError) else str(error)
