"""Python's `websockets`, used as its documentation says: every message to every client by `broadcast`.

    websockets_broadcast.py RATE MESSAGE_BYTES

It prints its port and ends with standard input. Each message carries the moment it was made, microseconds since 1970,
at offset 32, as ours does.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time

from websockets.asyncio.server import ServerConnection, broadcast, serve


async def main(rate: float, size: int) -> None:
    """Send until standard input ends."""
    clients: set[ServerConnection] = set()

    async def handle(client: ServerConnection) -> None:
        clients.add(client)
        try:
            await client.wait_closed()
        finally:
            clients.discard(client)

    async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=4096) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        media, tick = os.urandom(size), int(time.time() * rate) + 1
        while not ended.done():
            await asyncio.sleep(max(0.0, tick / rate - time.time()))
            broadcast(clients, media[:32] + round(time.time() * 1e6).to_bytes(8, "big") + media[40:])
            tick += 1


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2])))
