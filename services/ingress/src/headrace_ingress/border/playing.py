"""A stream of another cluster the way a player gets it (docs/protocol.md, section 3), from one of its edges."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Final, assert_never
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.session.border import Border, BorderError, Far, parse_far
from headrace.transport.dialling import DIAL_SECONDS
from headrace.wire import play
from headrace.wire.chunk import CHUNK_MAX_BYTES, parse_chunk
from headrace.wire.errors import WireError
from headrace_ingress.border.upstream import Taker

SILENT_HEARTBEATS: Final = 3
"""Heartbeats missed after which the edge counts as gone (docs/protocol.md, section 3.2)."""

HEARTBEAT_SECONDS: Final = 1.0
"""The heartbeat that is assumed until the edge told its own."""

HEARTBEAT_MAX_SECONDS: Final = 60.0
"""Longest heartbeat that is believed: the longest that an edge can be set to."""

EDGES_MAX: Final = 16
"""Most edges of the other cluster that are remembered."""

PLAY_PATH: Final = "/play/"


class _Direct(connect):
    """A connection that follows no redirect: only one address was checked."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Fail."""
        return exc


class PlayUpstream:
    """A stream from the edges of another cluster, one after the other.

    Args:
        border: says what may be reached.
        far: the first edge; its query goes with every request.
        stream: its name there.
    """

    def __init__(self, border: Border, far: Far, stream: StreamName) -> None:
        self._border = border
        self._first = far
        self._edges = [far]
        self._stream = stream
        self._session = secrets.token_hex(8)
        self._heartbeat = HEARTBEAT_SECONDS

    async def follow(self, taker: Taker, after: Mapping[int, ChunkId] | None) -> None:
        """See `Upstream`."""
        far = self._edges[0]
        self._edges = [*self._edges[1:], far]
        address = await self._border.address(far)
        path = far.path if far.path.startswith(PLAY_PATH) else PLAY_PATH + quote(self._stream, safe="")
        connection = _Direct(
            far.url(path, self._first.query),
            subprotocols=[Subprotocol(play.SUBPROTOCOL)],
            compression=None,
            open_timeout=DIAL_SECONDS,
            close_timeout=1.0,
            ping_interval=None,
            max_size=CHUNK_MAX_BYTES,
            proxy=None,
            host=address,
            port=far.port,
        )
        try:
            async with connection as socket:
                await self._talk(socket, taker, after)
        except ConnectionClosed as error:
            raise BorderError("lost", f"the other server closed: {error.code} {error.reason}".rstrip()) from None
        except InvalidStatus as error:
            status = error.response.status_code
            code = "refused" if status in {401, 403} else "unreachable"
            text = f"no Headrace and no WCS server answers there (HTTP {status})"
            if code == "refused":
                text = f"the other server refuses players (HTTP {status})"
            raise BorderError(code, text) from None
        except (InvalidHandshake, WebSocketException) as error:
            raise BorderError("unreachable", f"what answers there is no edge: {type(error).__name__}") from None
        except TimeoutError:
            raise BorderError("lost", "nothing came from the other server in time") from None
        except OSError as error:
            raise BorderError("unreachable", f"the other server cannot be reached: {type(error).__name__}") from None
        except WireError as error:
            raise BorderError("lost", f"the other server sends what is not understood: {error.code}") from None

    async def _talk(self, socket: ClientConnection, taker: Taker, after: Mapping[int, ChunkId] | None) -> None:
        if socket.subprotocol != play.SUBPROTOCOL:
            text = "the other server is no Headrace; what WCS servers speak needs WebRTC, which is not there yet"
            raise BorderError("unsupported", text, is_final=True)
        places = {track: had.position for track, had in after.items()} if after else None
        await socket.send(play.encode(play.Play(session=self._session, after=places)).decode())
        while True:
            async with asyncio.timeout(DIAL_SECONDS + SILENT_HEARTBEATS * self._heartbeat):
                message = await socket.recv()
            if isinstance(message, bytes):
                taker.came(parse_chunk(message))
            elif (said := play.decode_from_edge(message)) is not None:
                await self._hear(socket, taker, said)

    async def _hear(self, socket: ClientConnection, taker: Taker, said: play.EdgeMessage) -> None:
        match said:
            case play.Welcome():
                self._heartbeat = min(said.heartbeat_ms / 1000, HEARTBEAT_MAX_SECONDS)
                self._know(said.edges)
            case play.Edges():
                self._know(said.edges)
            case play.Tracks():
                taker.opened(Epoch(said.epoch), said.tracks)
            case play.State():
                taker.told(said.state, said.reason)
            case play.Ping():
                await socket.send(play.encode(play.Pong(id=said.id)).decode())
            case play.GoingAway():
                self._know(said.edges)
                raise BorderError("lost", "the other server's edge goes away")
            case play.Refused():
                raise BorderError("refused", f"the other server refuses: {said.code} {said.reason}".rstrip())
            case play.GapNotice() | play.Skipped() | play.TellTime():
                pass  # the numbers that are missing tell it again
            case _:
                assert_never(said)

    def _know(self, edges: tuple[str, ...]) -> None:
        """Remember the other edges; each is checked like the first when it is connected to."""
        others = []
        for url in edges[:EDGES_MAX]:
            try:
                others.append(parse_far(url))
            except ValueError:
                continue
        current = self._edges[-1]
        self._edges = [far for far in others if (far.host, far.port) != (current.host, current.port)] + [current]
