"""A way to a UDP server on which datagrams get lost, in both directions."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class Losses:
    """What gets lost.

    Attributes:
        share: of datagrams.
        lost: how many were.
    """

    def __init__(self, share: float, seed: int = 1) -> None:
        self.share = share
        self.lost = 0
        self._chance = random.Random(seed)

    def happens(self) -> bool:
        """Return whether the next datagram is lost."""
        is_lost = self._chance.random() < self.share
        self.lost += is_lost
        return is_lost


class _Back(asyncio.DatagramProtocol):
    """Answers of the server to one client."""

    def __init__(self, front: Any, client: Any, losses: Losses) -> None:
        self._front = front
        self._client = client
        self._losses = losses

    def datagram_received(self, data: bytes, address: Any) -> None:
        if not self._losses.happens():
            self._front.sendto(data, self._client)


class _Front(asyncio.DatagramProtocol):
    """Where clients send to."""

    def __init__(self, port: int, losses: Losses) -> None:
        self._port = port
        self._losses = losses
        self._transport: Any = None
        self._ways: dict[Any, asyncio.Task[Any]] = {}

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        if address not in self._ways:
            self._ways[address] = asyncio.create_task(self._open(address))
        way = self._ways[address]
        if way.done() and not self._losses.happens():
            way.result().sendto(data)

    async def _open(self, client: Any) -> Any:
        made, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Back(self._transport, client, self._losses), remote_addr=("127.0.0.1", self._port)
        )
        return made

    async def close(self) -> None:
        """Close every way."""
        for way in self._ways.values():
            (await way).close()
        self._transport.close()


@asynccontextmanager
async def losing(port: int, losses: Losses) -> AsyncIterator[int]:
    """Run the way for a `with` block; give its port."""
    loop = asyncio.get_running_loop()
    transport, front = await loop.create_datagram_endpoint(lambda: _Front(port, losses), local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        await front.close()
