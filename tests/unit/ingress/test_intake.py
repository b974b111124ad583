"""Streams that publishers of other clusters offer and take back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from headrace.identifiers import ChunkId, Epoch, NodeId, StreamName
from headrace.media.samples import PackagerOptions
from headrace.registry.memory import MemoryRegistry, MemoryStore
from headrace.registry.transfers import pull_key
from headrace.relay.hub import Hub
from headrace.service.runtime import Runtime
from headrace.session.border import PUBLISHER
from headrace.session.link import Link
from headrace.testing import wait_until
from headrace_ingress.border.intake import Intake
from headrace_ingress.feed import FeedOptions
from headrace_ingress.metrics import IngressMetrics

NAME = StreamName("from/cam1")
LEASE_SECONDS = 0.5


class Publisher:
    """A link to somebody who offers streams, as far as it is asked for here."""

    peer = NodeId("push-1")
    peer_role = PUBLISHER
    peer_key = "partner"

    def __init__(self) -> None:
        self.offers: Mapping[StreamName, Epoch] = {}
        self.is_open = True
        self.reason = ""
        self._closed = asyncio.Event()

    def subscribe(
        self, stream: StreamName, after: Mapping[int, ChunkId] | None, history_seconds: float, feed: object
    ) -> int:
        """See `Link`."""
        return 1

    def unsubscribe(self, handle: int) -> None:
        """See `Link`."""

    def close(self, code: int, reason: str) -> None:
        """See `Link`."""
        self.is_open, self.reason = False, reason
        self._closed.set()

    async def wait_closed(self) -> None:
        """See `Link`."""
        await self._closed.wait()


class Rig:
    """An intake, and one publisher."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.registry = MemoryRegistry(self.store, LEASE_SECONDS)
        self.hub = Hub()
        runtime = Runtime(NodeId("in-1"), "ingress", metrics=CollectorRegistry())
        metrics, options = IngressMetrics.make(runtime.metrics), FeedOptions(PackagerOptions())
        self.intake = Intake(self.hub, self.registry, runtime, metrics, options, LEASE_SECONDS)
        self.publisher = Publisher()

    def offer(self, *names: StreamName) -> None:
        """Have the publisher offer these streams and no others."""
        self.publisher.offers = {name: Epoch(1) for name in names}
        self.intake.offers_changed(cast(Link, cast(Any, self.publisher)))

    @property
    def is_forgotten(self) -> bool:
        """Whether nothing is left of the stream."""
        return not self.intake.has(NAME) and not self.hub.streams and pull_key(NAME) not in self.registry.desired


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.registry.start()
    await rig.intake.start()
    yield rig
    await rig.intake.stop()
    await rig.registry.close()


async def test_offered_and_withdrawn(rig: Rig) -> None:
    """A stream is asked for as long as it is offered, and its name is free afterwards."""
    rig.offer(NAME)
    await wait_until(lambda: rig.hub.produced(NAME))
    assert pull_key(NAME) in rig.registry.desired
    rig.offer()
    await wait_until(lambda: rig.is_forgotten)
    assert rig.publisher.is_open


async def test_withdrawn_before_it_was_taken(rig: Rig) -> None:
    """A publisher that changes its mind at once leaves nothing behind."""
    rig.offer(NAME)
    rig.offer()
    await wait_until(lambda: not rig.intake._pending)
    await wait_until(lambda: rig.is_forgotten)


async def test_withdrawn_while_the_store_is_away(rig: Rig) -> None:
    """The name is free again when the store is back: nobody else would ever give it up."""
    rig.offer(NAME)
    await wait_until(lambda: rig.hub.produced(NAME))
    rig.store.take_away()
    await wait_until(lambda: not rig.registry.connected)
    rig.offer()
    await wait_until(lambda: not rig.hub.streams)
    rig.store.bring_back()
    await wait_until(lambda: rig.is_forgotten, 20)
