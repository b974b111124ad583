"""A narrow way between two nodes: a TCP proxy that lets only so much through in a second, and holds little."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

PIECE_BYTES = 8 * 1024
BUFFER_BYTES = 32 * 1024


class Narrow:
    """Carries connections to one port.

    Attributes:
        port: where to connect instead.
        carried: bytes so far, towards whoever connected.
    """

    def __init__(self, target: int, bytes_per_second: float) -> None:
        self.port = 0
        self.carried = 0
        self._target = target
        self._rate = bytes_per_second
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on any free port."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        listening.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._connected, sock=listening, limit=PIECE_BYTES)
        self.port = listening.getsockname()[1]

    async def stop(self) -> None:
        """End every connection."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = socket.socket()
        onward.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        onward.setblocking(False)
        await asyncio.get_running_loop().sock_connect(onward, ("127.0.0.1", self._target))
        far_reader, far_writer = await asyncio.open_connection(sock=onward, limit=PIECE_BYTES)
        self._writers += [writer, far_writer]
        ways = (self._carry(reader, far_writer, 1e9), self._carry(far_reader, writer, self._rate))
        for way in ways:
            task = asyncio.create_task(way)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(PIECE_BYTES):
                writer.write(data)
                await writer.drain()
                if rate == self._rate:
                    self.carried += len(data)
                await asyncio.sleep(len(data) / rate)
        writer.close()


@contextlib.asynccontextmanager
async def narrow_way(target: int, bytes_per_second: float) -> AsyncIterator[Narrow]:
    """Give a proxy to `target` that is stopped at the end."""
    way = Narrow(target, bytes_per_second)
    await way.start()
    try:
        yield way
    finally:
        await way.stop()
