"""One feed of a real source into a broadcast, and everything that came of it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from headrace.identifiers import NodeId, StreamName
from headrace.media.boxes import combine_headers
from headrace.registry.memory import MemoryRegistry
from headrace.relay.broadcast import Broadcast, Entry, Gap, Opened, StateChange
from headrace.relay.hub import Hub
from headrace.service.runtime import Component, Runtime
from headrace.service.settings import Settings
from headrace.testing import wait_until
from headrace.wire.chunk import Chunk
from headrace.wire.stream import StreamState
from headrace_ingress.app import build

NAME = StreamName("cam1")

LIVE_SECONDS = 30.0
"""Longest wait for a feed to be live: a busy machine encodes the server's first picture in seconds."""

PATIENT = {"silence_seconds": 30}
"""A busy machine is silent for a second now and then, which is told; tests of that say so."""


@dataclass
class Watched:
    """A feed that runs, and all entries of its broadcast."""

    broadcast: Broadcast
    registry: MemoryRegistry
    runtime: Runtime
    entries: list[Entry] = field(default_factory=list)
    components: list[Component] = field(default_factory=list)

    @property
    def state(self) -> StreamState:
        return self.broadcast.state.state

    @property
    def reason(self) -> str:
        return self.broadcast.state.reason

    @property
    def states(self) -> list[StreamState]:
        """Every state that was told, repetitions with other reasons left out."""
        told = [entry.state for entry in self.entries if isinstance(entry, StateChange)]
        return [state for state, _ in itertools.groupby(told)]

    @property
    def opened(self) -> list[Opened]:
        return [entry for entry in self.entries if isinstance(entry, Opened) and not entry.revision]

    @property
    def codecs(self) -> list[str]:
        return [track.codec for track in self.broadcast.tracks.values()]

    def chunks(self, track: int = 1) -> list[Chunk]:
        return [entry for entry in self.entries if isinstance(entry, Chunk) and entry.id.track == track]

    def seconds(self, track: int = 1) -> float:
        """How much media of a track came so far."""
        timescale = self.broadcast.tracks[track].timescale if track in self.broadcast.tracks else 1
        return sum(chunk.duration for chunk in self.chunks(track)) / timescale

    def file(self) -> bytes:
        """The newest epoch as one media file."""
        opened = self.opened[-1]
        header = combine_headers([track.header for track in opened.tracks])
        chunks = (entry for entry in self.entries if isinstance(entry, Chunk) and entry.id.epoch == opened.epoch)
        return header + b"".join(bytes(chunk.media) for chunk in chunks)

    async def live(self, seconds: float = 0.5) -> None:
        """Wait until it is live and so much media of its first track has come since."""
        before = self.seconds() if self.state is StreamState.LIVE else None

        def enough() -> bool:
            if self.state is not StreamState.LIVE:
                return False
            epoch = self.broadcast.epoch
            ticks = sum(chunk.duration for chunk in self.chunks() if chunk.id.epoch == epoch)
            since = ticks / self.broadcast.tracks[1].timescale
            return since >= seconds or (before is not None and self.seconds() - before >= seconds)

        await wait_until(enough, LIVE_SECONDS, what=f"live; it is {self.broadcast.state}")

    async def interrupted(self, because: str) -> None:
        """Wait until it is interrupted for a reason that holds these words."""
        await wait_until(
            lambda: self.state is StreamState.INTERRUPTED and because in self.reason,
            LIVE_SECONDS,
            what=f"interrupted because {because!r}",
        )

    def check(self) -> None:
        """Assert what docs/protocol.md promises: no chunk is missing, nothing runs backwards, no gap is told."""
        assert not [entry for entry in self.entries if isinstance(entry, Gap)]
        assert self.broadcast.duplicates == 0
        for track in {entry.id.track for entry in self.entries if isinstance(entry, Chunk)}:
            chunks = self.chunks(track)
            # A cursor joins at a picture: sound that came before the first one is not seen.
            assert chunks[0].id.chunk == 0 or track != 1
            for one, two in itertools.pairwise(chunks):
                if one.id.epoch == two.id.epoch:
                    assert one.is_followed_by(two.id)
                    assert two.decode_time == one.decode_time + one.duration
                else:
                    assert one.ends_segment
                    assert two.id.epoch > one.id.epoch
                    assert (two.id.segment, two.id.chunk) == (one.id.segment + 1, 0)


@asynccontextmanager
async def feeding(uri: str, **ingress: Any) -> AsyncIterator[Watched]:
    """Feed a stream from `uri` for a `with` block; other settings of the group `ingress` may be given."""
    group = {
        "rtmp": False,
        "port": 0,
        "retry_min_seconds": 0.05,
        "retry_max_seconds": 0.2,
        **PATIENT,
        **ingress,
        "sources": {NAME: uri},
    }
    async with feeding_settings(Settings.model_validate({"ingress": group})) as watched:
        yield watched


@asynccontextmanager
async def feeding_settings(settings: Settings) -> AsyncIterator[Watched]:
    """The same with all settings."""
    hub, registry = Hub(), MemoryRegistry()
    runtime = Runtime(NodeId("ingress-1"), "ingress", metrics=CollectorRegistry())
    broadcast = hub.produce(NAME)
    watched = Watched(broadcast, registry, runtime)
    cursor = broadcast.resume({})
    broadcast.listeners.add(lambda: watched.entries.extend(broadcast.read(cursor)))
    watched.components += build(settings, runtime, hub, registry)
    await registry.start()
    for component in watched.components:
        await component.start()
    try:
        yield watched
    finally:
        for component in reversed(watched.components):
            await component.stop()
        await registry.close()
    assert runtime.failure is None
