"""Ingress processes that can all run one camera, a viewer at an edge, and an observer of the registry."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from headrace.clock import SystemClock
from headrace.identifiers import StreamName
from headrace.registry.records import StreamRecord
from headrace.registry.registry import Registry, make_registry
from headrace.registry.sealing import Vault
from headrace.testing import wait_until
from headrace_ingress.wanted import source_key
from support.play_client import Seen, watch
from support.services import Service

CAM = StreamName("cam1")
SECRET = "a secret of the tests"
LEASE_SECONDS = 1.5
WAIT_SECONDS = 40.0


@dataclass
class Cluster:
    """Two ingresses, an edge with one viewer, and an observer.

    Attributes:
        ingresses: by node id.
        seen: what the viewer saw.
    """

    registry: Registry
    ingresses: dict[str, Service]
    seen: Seen

    @property
    def owner(self) -> str:
        """Who holds the source, empty for nobody."""
        claim = self.registry.claims.get(source_key(CAM))
        return claim.node if claim else ""

    @property
    def stream(self) -> StreamRecord | None:
        return self.registry.streams.get(CAM)

    @property
    def standby(self) -> str:
        """An ingress that is not the owner."""
        return next(node for node in self.ingresses if node != self.owner)

    @property
    def newest_segment(self) -> int:
        """The number of the newest segment at the viewer."""
        return max(chunk.id.segment for chunk in self.seen.chunks)

    async def live_at(self, node: str) -> None:
        """Wait until a node is the owner and its stream is live."""

        def is_live() -> bool:
            stream = self.stream
            return self.owner == node and stream is not None and (stream.node, stream.state) == (node, "live")

        await wait_until(is_live, WAIT_SECONDS, what=f"live at {node}; it is {self.owner} {self.stream}")

    async def watched(self, epochs: int, chunks: int = 10) -> None:
        """Wait until the viewer has seen so many epochs, and so many chunks of the last."""
        await wait_until(
            lambda: (
                len(self.seen.epochs) == epochs
                and sum(chunk.id.epoch == self.seen.epochs[-1] for chunk in self.seen.chunks) >= chunks
            ),
            WAIT_SECONDS,
            what=f"{epochs} epochs at the viewer; {self.seen.states}, {self.seen.epochs}, {self.seen.failure}",
        )

    def wrong_numbers(self) -> list[str]:
        """Return what is wrong with the viewer's chunks: a number twice or backwards, or time running backwards."""
        wrong = []
        for track in {chunk.id.track for chunk in self.seen.chunks}:
            chunks = [chunk for chunk in self.seen.chunks if chunk.id.track == track]
            for one, two in itertools.pairwise(chunks):
                same = one.id.epoch == two.id.epoch and one.is_followed_by(two.id)
                later = two.id.epoch > one.id.epoch and two.id.segment > one.id.segment and two.id.chunk == 0
                if not (same or later) or two.decode_time < one.decode_time + one.duration:
                    wrong.append(f"{two.id} after {one.id}")
        return wrong


def ingress(node: str, redis_url: str, uri: str, share: bool = True, lease_seconds: float = LEASE_SECONDS) -> Service:
    """Return an ingress that may run the camera; with an empty URI its own configuration has none."""
    return Service(
        "ingress",
        node,
        {
            "registry.url": redis_url,
            "registry.lease_seconds": str(lease_seconds),
            "relay.secret": SECRET,
            "ingress.port": "0",
            "ingress.silence_seconds": "30",
            "ingress.sources": json.dumps({CAM: uri} if uri else {}),
            "ingress.share_sources": "true" if share else "false",
            "ingress.allow_networks": '["127.0.0.0/8"]',
        },
    )


@asynccontextmanager
async def cluster(
    redis_url: str, ingresses: list[Service], lease_seconds: float = LEASE_SECONDS
) -> AsyncIterator[Cluster]:
    """Run the ingresses, an edge and a viewer for a `with` block."""
    settings = {"registry.url": redis_url, "registry.lease_seconds": str(lease_seconds), "relay.secret": SECRET}
    edge = Service("edge", "edge-1", {**settings, "edge.port": "0", "edge.fmp4_port": "0"})
    registry = make_registry(redis_url, "headrace", lease_seconds, SystemClock(), vault=Vault([SECRET]))
    seen, over = Seen(), asyncio.Event()
    services = [*ingresses, edge]
    viewer: asyncio.Task[Seen] | None = None
    try:
        for service in services:
            service.start()
        await registry.start()
        port = await asyncio.to_thread(edge.port)
        url = f"ws://127.0.0.1:{port}/play/{CAM}"
        viewer = asyncio.create_task(watch(url, seen, lambda _: over.is_set(), 300))
        yield Cluster(registry, {service.node: service for service in ingresses}, seen)
    finally:
        if viewer is not None:
            viewer.cancel()
            with suppress(asyncio.CancelledError, AssertionError):
                await viewer
        await registry.close()
        for service in reversed(services):
            await asyncio.to_thread(service.stop)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() - self._since
