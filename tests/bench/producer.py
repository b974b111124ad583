"""An ingress without media: a node that publishes streams whose chunks have exact sizes and come at an exact rate.

Everything but the media is the product's: it is found through the registry and serves its streams over relay links. It
is set up by the environment, as services are, and by its command line:

    producer.py RATE PHASE_US STREAMS VIDEO_BYTES AUDIO_BYTES

RATE is in ticks a second; a tick writes one chunk of video, and one of audio unless AUDIO_BYTES is 0, into each stream.
The sizes are those of the payload of a plain fMP4 message. Its bytes 32 to 40 are the moment of the tick, microseconds
since 1970, and so is the capture time of the chunk.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Sequence
from typing import Any

from headrace.http.application import make_application
from headrace.http.listener import HttpListener
from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.media.boxes import make_box
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.records import StreamRecord
from headrace.registry.registry import Registry, make_registry
from headrace.registry.sealing import Vault
from headrace.relay.broadcast import RingLimits
from headrace.relay.hub import Hub
from headrace.service.loading import load_settings
from headrace.service.runtime import Component, Runtime, run
from headrace.service.settings import Settings
from headrace.session.membership import join_cluster
from headrace.wire.chunk import Chunk, Flag, make_chunk
from headrace.wire.stream import RouteHop, StreamState, Track
from unit.edge.synthetic import header

STAMP_AT = 32
"""Where the payload of a plain message has its stamp: after a moof of 24 bytes and the header of the mdat."""

PRFT = make_box("prft", bytes(24))
MOOF = make_box("moof", bytes(16))

VIDEO = Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=header(1), width=1280, height=720)
AUDIO = Track(track=2, kind="audio", codec="mp4a.40.2", timescale=90_000, header=header(2), sample_rate=48_000)


def stream_names(count: int) -> list[StreamName]:
    """Return what the streams are called."""
    return [StreamName(f"bench{number}") for number in range(count)]


class Source:
    """One stream of the producer."""

    def __init__(self, hub: Hub, name: StreamName, epoch: int, rate: float, sizes: Sequence[int]) -> None:
        self.broadcast = hub.produce(name)
        self._rate = rate
        self._tracks = (VIDEO, AUDIO)[: len(sizes)]
        self._tails = [random.randbytes(size - STAMP_AT - 8) for size in sizes]
        self._number = 0
        self._begin = epoch // 1000
        self.broadcast.open(Epoch(epoch), self._tracks)
        self.broadcast.set_state(StreamState.LIVE, "", (RouteHop("producer", "ingress"),))

    def step(self, now_us: int) -> None:
        """Write the chunks of one tick."""
        for track, tail in zip(self._tracks, self._tails, strict=True):
            self.broadcast.append(self._chunk(track, tail, now_us))
        self._number += 1

    def _chunk(self, track: Track, tail: bytes, now_us: int) -> Chunk:
        each = max(1, round(self._rate))  # chunks of a segment: a second
        segment, number = divmod(self._number, each)
        flags = Flag.END_OF_SEGMENT if number == each - 1 else Flag(0)
        if number == 0 or track is AUDIO:
            flags |= Flag.RANDOM_ACCESS
        identity = ChunkId(self.broadcast.epoch, track.track, self._begin + segment, number)
        ticks = round(track.timescale / self._rate)
        time = self._begin * track.timescale + self._number * ticks
        media = PRFT + MOOF + make_box("mdat", now_us.to_bytes(8, "big"), tail)
        return make_chunk(identity, flags, time, ticks, 0, 1, now_us, media)


class Producer:
    """Writes all streams until stopped."""

    def __init__(self, runtime: Runtime, registry: Registry, sources: list[Source], rate: float, phase: float) -> None:
        self._runtime = runtime
        self._registry = registry
        self._sources = sources
        self._interval = 1 / rate
        self._phase = phase
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        for source in self._sources:
            broadcast = source.broadcast
            self._registry.keep_stream(
                StreamRecord(stream=broadcast.name, node=self._runtime.node, epoch=broadcast.epoch, state="live")
            )
        self._task = self._runtime.spawn("producer", self._produce())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _produce(self) -> None:
        clock = self._runtime.clock
        tick = int(clock.utc() / self._interval)
        while True:
            tick += 1
            await asyncio.sleep(max(0.0, tick * self._interval + self._phase - clock.utc()))
            for source in self._sources:
                source.step(int(clock.utc() * 1e6))


def build(settings: Settings, runtime: Runtime) -> Sequence[Component]:
    """Return the producer's components, as the command line wants it."""
    rate, phase_us, streams, *sizes = (float(word) for word in sys.argv[1:])
    hub = Hub(RingLimits(seconds=10))
    metrics = RegistryMetrics.make(runtime.metrics)
    vault = Vault([settings.relay.secret.get_secret_value()])
    group = settings.registry
    registry = make_registry(group.url, group.prefix, group.lease_seconds, runtime.clock, metrics, vault)
    app = make_application(runtime)
    listener = HttpListener("producer", "127.0.0.1", 0, app)
    member = join_cluster(settings, runtime, hub, registry, lambda: ("127.0.0.1", listener.bound_port))
    app.router.add_get("/relay", member.node.relay_handler())
    epoch = int(runtime.clock.utc()) * 1000
    wanted = [round(size) for size in sizes if size]
    sources = [Source(hub, name, epoch, rate, wanted) for name in stream_names(int(streams))]
    return [listener, member, Producer(runtime, registry, sources, rate, phase_us / 1e6)]


def main() -> Any:
    """Run until told to stop."""
    return run("producer", "ingress", load_settings(None, os.environ), build)


if __name__ == "__main__":
    sys.exit(main())
