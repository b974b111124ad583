"""An ingress with the test pattern as `demo` and two edges, as processes that find each other in a real Redis."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from support.redis_server import RedisServer
from support.services import Service, running


class LiveCluster:
    """The processes; `settings` are those of all of them."""

    def __init__(self, store: str, settings: dict[str, str]) -> None:
        self.common = {"registry.url": store, "relay.secret": "a secret of the tests", **settings}
        sources = json.dumps({"demo": "test:"})
        self.ingress = Service("ingress", "ingress-1", {**self.common, "ingress.port": "0", "ingress.sources": sources})
        self.edges = [self.edge("edge-1"), self.edge("edge-2")]

    def edge(self, name: str) -> Service:
        return Service("edge", name, {**self.common, "edge.port": "0", "edge.fmp4_port": "0"})

    def replace(self, place: int, name: str) -> None:
        """Kill an edge and start another in its place; returns when that listens."""
        self.edges[place].kill()
        self.edges[place].stop()
        self.edges[place] = self.edge(name).start()
        self.edges[place].port()

    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{edge.port()}" for edge in self.edges]


@contextmanager
def live_cluster(settings: dict[str, str] | None = None) -> Iterator[LiveCluster]:
    """Run the processes for the length of the block."""
    with RedisServer() as store:
        made = LiveCluster(store.url, settings or {})
        with running(made.ingress, *made.edges):
            try:
                yield made
            finally:
                for edge in made.edges:
                    edge.stop()  # perhaps another than at the beginning


def stalls_allowed() -> int:
    """Return how often a player may stall: never, but on a machine with twice the work that it can do."""
    return 0 if os.getloadavg()[0] < 2 * (os.cpu_count() or 1) else 3


async def wait_filled(url: str, *, segments: int, epochs: int = 1) -> None:
    """Wait until a playlist has so many epochs, and so many whole segments of the newest."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(90):
        while True:
            async with http.get(f"{url}/live/demo/1.m3u8") as answer:
                found = (await answer.text()).split("#EXT-X-DISCONTINUITY\n")
            if len(found) >= epochs and found[-1].count("#EXTINF") >= segments:
                return
            await asyncio.sleep(0.2)
