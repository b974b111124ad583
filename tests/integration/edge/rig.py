"""An edge as its app builds it, on free ports, around a hub that a test writes into; and clients of it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self, TypeVar

from websockets.asyncio.client import ClientConnection, connect

from headrace.http.listener import HttpListener
from headrace.identifiers import ChunkId, NodeId, StreamName
from headrace.registry.memory import MemoryRegistry
from headrace.relay.broadcast import RingLimits
from headrace.relay.hub import Hub
from headrace.service.groups import Settings
from headrace.service.runtime import Runtime
from headrace.testing import wait_until
from headrace.wire import play
from headrace.wire.chunk import Chunk, parse_chunk
from headrace_edge.app import build
from headrace_edge.edge import Edge
from unit.edge.synthetic import Feed

ANSWER_SECONDS = 10.0

T = TypeVar("T")


class EdgeRig:
    """One edge. `settings` are of the group `edge`; ports are free ones."""

    def __init__(
        self,
        node: str = "edge-1",
        *,
        ring: RingLimits | None = None,
        tls: ssl.SSLContext | None = None,
        **settings: Any,
    ) -> None:
        self.runtime = Runtime(NodeId(node), "edge", tls=tls)
        self.hub = Hub(ring)
        self.registry = MemoryRegistry()
        everything = Settings.model_validate({"edge": {"port": 0, "fmp4_port": 0, **settings}})
        self._components = list(build(everything, self.runtime, self.hub, self.registry))
        self._stack = contextlib.AsyncExitStack()
        self.edge = next(part for part in self._components if isinstance(part, Edge))
        self._listeners = {part.name: part for part in self._components if isinstance(part, HttpListener)}

    async def __aenter__(self) -> Self:
        await self.registry.start()
        self._stack.push_async_callback(self.registry.close)
        for component in self._components:
            await component.start()
            self._stack.push_async_callback(component.stop)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def stop(self) -> None:
        """Stop as a signal would."""
        await self._stack.aclose()

    def address(self, name: str = "edge") -> str:
        return f"127.0.0.1:{self._listeners[name].bound_port}"

    def connections(self) -> int:
        """Return how many connections the main port has."""
        server = self._listeners["edge"]._runner.server
        return 0 if server is None else len(server.connections)

    def feed(self, name: str = "demo", **options: Any) -> Feed:
        """Begin to publish a stream."""
        return Feed(self.hub.produce(StreamName(name)), **options)

    def value(self, name: str, **labels: str) -> float:
        return self.runtime.metrics.get_sample_value(f"headrace_edge_{name}", labels) or 0.0

    def plain(self, path: str = "demo", **options: Any) -> connect:
        return connect(f"ws://{self.address('fmp4')}/{path}", max_size=None, compression=None, **options)

    @contextlib.asynccontextmanager
    async def play(
        self, stream: str = "demo", after: Mapping[int, ChunkId] | None = None, session: str = "test", **options: Any
    ) -> AsyncIterator[PlayClient]:
        """Join a stream as a player does, past the welcome."""
        async with self.dial(stream, **options) as socket:
            places = None if after is None else {track: id.position for track, id in after.items()}
            await socket.send(play.encode(play.Play(session=session, after=places)).decode())
            client = PlayClient(socket)
            client.welcome = await client.expect(play.Welcome)
            yield client

    def dial(self, stream: str = "demo", **options: Any) -> connect:
        """Open the WebSocket of a player."""
        subprotocols: Any = options.pop("subprotocols", [play.SUBPROTOCOL])
        return connect(
            f"ws://{self.address()}/play/{stream}",
            subprotocols=subprotocols,
            max_size=None,
            compression=None,
            **options,
        )

    async def wait_viewers(self, count: int) -> None:
        await wait_until(lambda: self.edge.viewers == count, what=f"{count} viewers")


class PlayClient:
    """What a player hears.

    Attributes:
        welcome: the first message.
        said: every text message so far.
    """

    welcome: play.Welcome

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.said: list[play.EdgeMessage] = []

    async def next(self) -> Chunk | play.EdgeMessage:
        """Return what comes next."""
        async with asyncio.timeout(ANSWER_SECONDS):
            data = await self.socket.recv()
        if isinstance(data, bytes):
            return parse_chunk(data)
        message = play.decode_from_edge(data)
        assert message is not None
        self.said.append(message)
        return message

    async def expect(self, kind: type[T]) -> T:
        """Return the next message of a kind, passing over others."""
        while True:
            message = await self.next()
            if isinstance(message, kind):
                return message

    async def chunks(self, count: int) -> list[Chunk]:
        """Return the next chunks."""
        return [await self.expect(Chunk) for _ in range(count)]
