"""A way to an RTSP server on which packets overtake each other and get lost; all else passes as it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_HEAD_BYTES = 4


@dataclass
class Disorder:
    """What happens to a publisher's packets of RTP.

    Attributes:
        swap_every: how often a packet is overtaken by the next of its track, in packets; 0 for never.
        lose_every: how often one is lost; 0 for never.
        lost: how many were.
    """

    swap_every: int = 0
    lose_every: int = 0
    lost: int = 0
    _count: int = 0
    _held: dict[int, bytes] = field(default_factory=dict)

    def passed(self, channel: int, framed: bytes) -> list[bytes]:
        """Return what is passed on when a packet comes."""
        if channel % 2:
            return [framed]
        self._count += 1
        if self.lose_every and self._count % self.lose_every == 0:
            self.lost += 1
            return []
        if (held := self._held.pop(channel, None)) is not None:
            return [framed, held]
        if self.swap_every and self._count % self.swap_every == 0:
            self._held[channel] = framed
            return []
        return [framed]


@asynccontextmanager
async def disordering(port: int, disorder: Disorder) -> AsyncIterator[int]:
    """Run the way for a `with` block; give its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_connection("127.0.0.1", port)
        for way in (_copy(there, writer), _disorder(reader, out, disorder)):
            tasks.add(asyncio.create_task(way))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    finally:
        writer.close()


async def _disorder(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, disorder: Disorder) -> None:
    try:
        while first := await reader.read(1):
            if first != b"$":
                writer.write(first + await reader.readuntil(b"\n"))
                continue
            head = first + await reader.readexactly(_HEAD_BYTES - 1)
            framed = head + await reader.readexactly(int.from_bytes(head[2:], "big"))
            writer.writelines(disorder.passed(head[1], framed))
    finally:
        writer.close()
