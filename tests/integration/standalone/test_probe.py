"""The probe against an edge that does what a test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from headrace.clock import SystemClock
from headrace.errors import StartupError
from headrace.identifiers import ChunkId, Epoch, stream_name
from headrace.testing import wait_until
from headrace.wire import play
from headrace.wire.chunk import Flag, make_chunk
from headrace.wire.stream import RouteHop, StreamState, Track
from headrace_standalone.probe.viewer import Viewer

EPOCH = 1_700_000_000_000
TRACK = Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=b"header")

Script = Callable[["Edge"], Awaitable[None]]


class Edge:
    """One connection of the scripted edge."""

    def __init__(self, socket: ServerConnection, first: dict[str, Any], edges: tuple[str, ...], number: int) -> None:
        self.socket = socket
        self.first = first
        self.edges = edges
        self.number = number

    async def tell(self, *messages: play.EdgeMessage) -> None:
        """Send text messages."""
        for message in messages:
            await self.socket.send(play.encode(message).decode())

    async def chunks(self, *numbers: int) -> None:
        """Send chunks of segment 5 by number."""
        for number in numbers:
            chunk_id = ChunkId(Epoch(EPOCH), 1, 5, number)
            chunk = make_chunk(chunk_id, Flag(0), 0, 9000, 0, 1, round(SystemClock().utc() * 1e6) - 50_000, b"media")
            await self.socket.send(chunk.record)

    async def begin(self, heartbeat_ms: int = 1000) -> None:
        """Say what every edge says first."""
        hops = (RouteHop("ingress-1", "ingress"), RouteHop("edge-1", "edge"))
        welcome = play.Welcome(edge="edge-1", stream="cam1", edges=self.edges, heartbeat_ms=heartbeat_ms, utc_us=0)
        await self.tell(
            welcome, play.State(state=StreamState.LIVE, route=hops), play.Tracks(epoch=EPOCH, tracks=(TRACK,))
        )


@asynccontextmanager
async def edge(script: Script, others: tuple[str, ...] = ()) -> AsyncIterator[tuple[str, list[Edge]]]:
    """Serve an edge that runs `script` for each connection; yield its URL and its connections so far."""
    connections: list[Edge] = []

    async def serve_one(socket: ServerConnection) -> None:
        connection = Edge(socket, json.loads(await socket.recv()), (url, *others), len(connections))
        connections.append(connection)
        with suppress(ConnectionClosed):
            await script(connection)

    async with serve(serve_one, "127.0.0.1", 0, subprotocols=[Subprotocol(play.SUBPROTOCOL)]) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield url, connections


class Watching:
    """A viewer that runs, and what it told."""

    def __init__(self, url: str) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.viewer = Viewer(stream_name("cam1"), url, SystemClock(), lambda *event: self.events.append(event))
        self.task = asyncio.create_task(self.viewer.watch())

    async def wait_for(self, chunks: int) -> None:
        """Wait until so many chunks came."""
        await wait_until(lambda: self.viewer.measurement.chunks >= chunks or self.task.done())
        if self.task.done():
            self.task.result()

    def told(self, kind: str) -> list[dict[str, Any]]:
        """Return the figures of the events of one kind."""
        return [figures for name, figures in self.events if name == kind]


@pytest.fixture
async def watch() -> AsyncIterator[Callable[[str], Watching]]:
    """Start viewers; they are stopped after the test."""
    started: list[Watching] = []

    def start(url: str) -> Watching:
        started.append(Watching(url))
        return started[-1]

    yield start
    for watching in started:
        watching.task.cancel()
    await asyncio.gather(*(watching.task for watching in started), return_exceptions=True)


async def test_counts_what_is_missing_and_what_comes_twice(watch: Callable[[str], Watching]) -> None:
    """A hole is seen at the next chunk, an announced one when it is announced, a repeated chunk is a duplicate."""

    async def script(edge: Edge) -> None:
        await edge.begin()
        await edge.chunks(0, 1, 4, 4)
        await edge.tell(play.GapNotice(track=1, next=(EPOCH, 5, 8)), play.Skipped(entries=3))
        await edge.chunks(8, 9)
        await edge.socket.wait_closed()

    async with edge(script) as (url, _):
        watching = watch(url)
        await watching.wait_for(5)
    measurement = watching.viewer.measurement
    assert (measurement.missing, measurement.duplicates, measurement.skipped) == (2 + 3, 1, 3)
    assert watching.told("missing") == [
        {"after": f"{EPOCH}/1/5.1", "before": f"{EPOCH}/1/5.4", "chunks": 2, "told": False},
        {"after": f"{EPOCH}/1/5.4", "before": f"{EPOCH}/1/5.8", "chunks": 3, "told": True},
    ]
    assert (measurement.edge, measurement.route) == ("edge-1", ("ingress-1", "edge-1"))


async def test_comes_back_with_what_it_had(watch: Callable[[str], Watching]) -> None:
    """After a connection that broke, the next one says the last chunk of each track in the same session."""

    async def script(edge: Edge) -> None:
        await edge.begin()
        await edge.chunks(*([0, 1] if edge.number == 0 else [2, 3]))
        if edge.number == 0:
            edge.socket.transport.abort()
        await edge.socket.wait_closed()

    async with edge(script) as (url, connections):
        watching = watch(url)
        await watching.wait_for(4)
    session = connections[0].first["session"]
    assert connections[0].first == {"type": "play", "session": session}
    assert connections[1].first == {"type": "play", "session": session, "after": {"1": [EPOCH, 5, 1]}}
    assert (watching.viewer.measurement.missing, watching.viewer.measurement.duplicates) == (0, 0)
    assert watching.told("lost")[0]["next_edge"] == url


async def test_goes_to_the_next_edge_when_one_falls_silent(watch: Callable[[str], Watching]) -> None:
    """Three heartbeats without a word mean that the edge is gone, though its connection still stands."""

    async def silent(edge: Edge) -> None:
        await edge.begin(heartbeat_ms=50)
        await edge.chunks(0)
        await edge.socket.wait_closed()

    async def other(edge: Edge) -> None:
        await edge.begin()
        await edge.chunks(1)
        await edge.socket.wait_closed()

    async with edge(other) as (other_url, taken), edge(silent, (other_url,)) as (url, _):
        watching = watch(url)
        await watching.wait_for(2)
        assert taken[0].first["after"] == {"1": [EPOCH, 5, 0]}
        assert watching.told("lost") == [{"reason": "no answer in time", "next_edge": other_url}]


async def test_moves_when_an_edge_drains(watch: Callable[[str], Watching]) -> None:
    """An edge that goes away names another: the viewer goes on there."""

    async def draining(edge: Edge) -> None:
        await edge.begin()
        await edge.chunks(0)
        await edge.tell(play.GoingAway(edges=(other_url,)))
        await edge.socket.wait_closed()

    async def other(edge: Edge) -> None:
        await edge.begin()
        await edge.chunks(1)
        await edge.socket.wait_closed()

    async with edge(other) as (other_url, taken), edge(draining) as (url, _):
        watching = watch(url)
        await watching.wait_for(2)
        assert len(taken) == 1
        assert watching.viewer.measurement.missing == 0


async def test_clock_of_the_edge_is_asked_for(watch: Callable[[str], Watching]) -> None:
    """Latency is read on the edge's clock, an hour ahead here, and heartbeats are answered."""
    heard: list[dict[str, Any]] = []

    async def script(edge: Edge) -> None:
        await edge.begin()
        await edge.tell(play.Ping(id=7, utc_us=0))
        async for text in edge.socket:
            heard.append(json.loads(text))
            if heard[-1]["type"] == "time":
                ahead = round((SystemClock().utc() + 3600) * 1e6)
                await edge.tell(play.TellTime(sent=heard[-1]["sent"], utc_us=ahead))

    async with edge(script) as (url, _):
        watching = watch(url)
        clock = watching.viewer.measurement.clock
        await wait_until(lambda: clock.offset_us and {"type": "pong", "id": 7} in heard)
        assert abs(clock.offset_us - 3600e6) < 10e6


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (play.Refused(code="full", reason="this edge is full"), 1008, "refuses: this edge is full (full)"),
        (None, 1002, "closed the connection"),
    ],
)
async def test_refusal_ends_it(
    message: play.Refused | None, code: int, words: str, watch: Callable[[str], Watching]
) -> None:
    """An edge that refuses ends the probe with its words."""

    async def script(edge: Edge) -> None:
        if message:
            await edge.tell(message)
        await edge.socket.close(code)

    async with edge(script) as (url, _):
        watching = watch(url)
        with pytest.raises(StartupError) as raised:
            await asyncio.wait_for(watching.task, 10)
    assert words in str(raised.value)


async def test_end_of_the_stream_ends_it(watch: Callable[[str], Watching]) -> None:
    """Close code 1000 means that the stream has ended: the probe is done."""

    async def script(edge: Edge) -> None:
        await edge.begin()
        await edge.socket.close(1000)

    async with edge(script) as (url, _):
        await asyncio.wait_for(watch(url).task, 10)


async def test_garbage_ends_the_connection_only(watch: Callable[[str], Watching]) -> None:
    """Bytes that are no chunk record make the probe leave and come back."""

    async def script(edge: Edge) -> None:
        await edge.begin()
        if edge.number == 0:
            await edge.socket.send(b"\x01garbage")
        else:
            await edge.chunks(0)
        await edge.socket.wait_closed()

    async with edge(script) as (url, _):
        watching = watch(url)
        await watching.wait_for(1)
        assert watching.told("lost")[0]["reason"].startswith("truncated: ")


async def test_something_else_answers(watch: Callable[[str], Watching]) -> None:
    """A server that is no edge is named with what is wrong."""
    async with serve(lambda socket: socket.wait_closed(), "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(StartupError, match=r"^cannot watch cam1 at ws://127.0.0.1:\d+: .*headrace.play.v1"):
            await asyncio.wait_for(watch(f"ws://127.0.0.1:{port}").task, 10)
