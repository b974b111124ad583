"""One relay hop: what it costs in CPU for each stream, and what it adds to latency.

Three processes of their own: an origin that writes chunks of real size, a relay (an intermediate without its HTTP
extras) and a receiver. The receiver fetches the same streams straight from the origin and by way of the relay, in turns
within one run, so that a busy machine disturbs both alike; what the hop adds is the difference of the two.

    python tests/bench/relay_hop.py --json build/relay_hop.json

CPU is that of the relay's process by /proc/<pid>/schedstat, all threads, and on loopback it includes the kernel's work
of receiving what it sends. Times are milliseconds of one machine's clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from headrace.clock import SystemClock, microseconds
from headrace.http.listener import HttpListener
from headrace.identifiers import ChunkId, Epoch, NodeId, StreamName
from headrace.registry.desired import DesiredEntry, DesiredKey
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.relay.broadcast import Broadcast
from headrace.relay.hub import Demand, Hub
from headrace.session.node import Node
from headrace.session.options import RelayOptions
from headrace.wire.chunk import Chunk, Flag, make_chunk
from headrace.wire.stream import RouteHop, StreamState, Track

CHUNK_SECONDS = 0.1
VIDEO_BYTES = 25_000
AUDIO_BYTES = 1_600
SETTLE_SECONDS = 1.0
CHUNKS_PER_SEGMENT = 20
TRACKS = (
    Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=b"v" * 800),
    Track(track=2, kind="audio", codec="mp4a.40.2", timescale=48_000, header=b"a" * 700),
)


@dataclass
class FixedCluster:
    """A registry that knows what it was told."""

    nodes: dict[NodeId, NodeRecord] = field(default_factory=dict)
    streams: Mapping[StreamName, StreamRecord] = field(default_factory=lambda: MappingProxyType({}))
    desired: Mapping[DesiredKey, DesiredEntry] = field(default_factory=lambda: MappingProxyType({}))
    watchers: set[Callable[[], None]] = field(default_factory=set)

    def keep_node(self, record: NodeRecord) -> None:
        """Know our own record."""
        self.nodes[NodeId(record.node)] = record

    def refresh(self) -> None:
        """Do nothing: all there is to know is known."""


def stream_names(count: int) -> list[StreamName]:
    return [StreamName(f"cam{number}") for number in range(count)]


async def make_node(name: str, role: str, layer: int, parent: str, streams: int) -> tuple[Node, Hub, HttpListener]:
    """Start a node that fetches every stream from the node at `parent`, if any."""
    cluster, hub = FixedCluster(), Hub()
    if parent:
        owner = NodeId(parent.partition("=")[0])
        cluster.nodes[owner] = NodeRecord(node=owner, role="ingress", relay_url=parent.partition("=")[2])
        cluster.streams = {
            stream: StreamRecord(stream=stream, node=owner, epoch=1, state="live") for stream in stream_names(streams)
        }
    record = NodeRecord(node=name, role=role, layer=layer)
    node = Node(
        record,
        hub,
        cluster,
        RelayOptions(linger_seconds=0.0),
        SystemClock(),
        CollectorRegistry(),
        lambda: f"ws://127.0.0.1:{listener.bound_port}/relay",
    )
    app = web.Application()
    app.router.add_get("/relay", node.relay_handler())
    listener = HttpListener(name, "127.0.0.1", 0, app)
    await listener.start()
    await node.start()
    return node, hub, listener


# -- origin and relay ------------------------------------------------------------------------------


class Source:
    """One stream: 100 ms of video and audio ten times a second."""

    def __init__(self, broadcast: Broadcast) -> None:
        self._broadcast = broadcast
        self._clock = SystemClock()
        self._begin = int(self._clock.utc())
        self._number = 0
        self._media = {1: random.randbytes(VIDEO_BYTES), 2: random.randbytes(AUDIO_BYTES)}
        broadcast.open(Epoch(self._begin * 1000), TRACKS)
        broadcast.set_state(StreamState.LIVE, "", (RouteHop("origin", "ingress"),))

    def step(self) -> None:
        """Write the next chunks; their capture time is now."""
        segment, chunk = divmod(self._number, CHUNKS_PER_SEGMENT)
        end = Flag.END_OF_SEGMENT if chunk == CHUNKS_PER_SEGMENT - 1 else Flag(0)
        for track in TRACKS:
            first = Flag.RANDOM_ACCESS if chunk == 0 or track.kind == "audio" else Flag(0)
            id = ChunkId(self._broadcast.epoch, track.track, self._begin + segment, chunk)
            ticks = track.timescale // 10
            time = self._begin * track.timescale + self._number * ticks
            now_us = microseconds(self._clock.utc())
            self._broadcast.append(make_chunk(id, first | end, time, ticks, 0, 3, now_us, self._media[track.track]))
        self._number += 1


async def produce(hub: Hub, streams: int) -> None:
    """Write all streams, spread evenly over the interval."""
    loop = asyncio.get_running_loop()
    sources = [Source(hub.produce(name)) for name in stream_names(streams)]
    due = loop.time()
    while True:
        for source in sources:
            due += CHUNK_SECONDS / streams
            await asyncio.sleep(max(0.0, due - loop.time()))
            source.step()


async def serve(role: str, parent: str, streams: int) -> None:
    """Be the origin or the relay until standard input ends."""
    node, hub, listener = await make_node(role, role, 0 if role == "origin" else 1, parent, streams)
    writing = asyncio.create_task(produce(hub, streams)) if role == "origin" else None
    print(node.record.relay_url, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    if writing is not None:
        writing.cancel()
    await node.stop()
    await listener.stop()


# -- receiver --------------------------------------------------------------------------------------


class Receiver:
    """Fetches every stream from one parent while it is on, and notes how old video chunks are when they come."""

    def __init__(self, hub: Hub, streams: int) -> None:
        self._hub = hub
        self._streams = streams
        self._clock = SystemClock()
        self._demands: list[Demand] = []
        self.latency_ms: list[float] = []
        self.chunks = 0

    def begin(self) -> None:
        """Want every stream."""
        for name in stream_names(self._streams):
            demand = self._hub.demand(name)
            cursor = demand.broadcast.join()
            demand.broadcast.listeners.add(lambda d=demand, c=cursor: self._read(d, c))  # type: ignore[misc]
            self._demands.append(demand)

    def end(self) -> None:
        """Want none."""
        for demand in self._demands:
            demand.broadcast.listeners.clear()
            demand.release()
        self._demands.clear()

    def forget(self) -> None:
        """Begin to measure anew."""
        self.latency_ms, self.chunks = [], 0

    def _read(self, demand: Demand, cursor: Any) -> None:
        now_us = microseconds(self._clock.utc())
        for entry in demand.broadcast.read(cursor):
            if isinstance(entry, Chunk):
                self.chunks += 1
                if entry.id.track == 1:
                    self.latency_ms.append((now_us - entry.capture_us) / 1000)


async def receive(direct: str, by_relay: str, relay_pid: int, streams: int, rounds: int, seconds: float) -> None:
    """Measure both ways in turns and print the figures as JSON."""
    receivers: dict[str, Receiver] = {}
    nodes = []
    for way, parent in (("direct", direct), ("relayed", by_relay)):
        node, hub, listener = await make_node(f"receiver-{way}", "edge", 1000, parent, streams)
        nodes.append((node, listener))
        receivers[way] = Receiver(hub, streams)
    rows: list[dict[str, Any]] = []
    for number in range(rounds):
        for way in random.sample(["direct", "relayed"], 2):
            rows.append({"round": number, "way": way, **await measure(receivers[way], relay_pid, streams, seconds)})
    print(json.dumps(rows), flush=True)
    for node, listener in nodes:
        await node.stop()
        await listener.stop()


async def measure(receiver: Receiver, relay_pid: int, streams: int, seconds: float) -> dict[str, Any]:
    """Receive for a while; return delivery, latency and the relay's CPU of that time."""
    receiver.begin()
    await asyncio.sleep(SETTLE_SECONDS)
    receiver.forget()
    loop = asyncio.get_running_loop()
    begun, cpu = loop.time(), cpu_seconds(relay_pid)
    await asyncio.sleep(seconds)
    lasted, cpu = loop.time() - begun, cpu_seconds(relay_pid) - cpu
    expected = streams * len(TRACKS) * lasted / CHUNK_SECONDS
    row = {
        "delivered": round(receiver.chunks / expected, 3),
        "chunks": receiver.chunks,
        "relay_cpu_seconds": cpu,
        "seconds": lasted,
        "latency_ms": list(receiver.latency_ms),
    }
    receiver.end()
    return row


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process so far."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


# -- the run ---------------------------------------------------------------------------------------


def run(streams: int = 20, rounds: int = 5, seconds: float = 3.0) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    with _Process("origin", "", streams) as origin, _Process("relay", f"origin={origin.url}", streams) as relay:
        command = [
            *("receiver", "--streams", str(streams), "--rounds", str(rounds), "--seconds", str(seconds)),
            *("--parent", f"origin={origin.url}", "--relay", f"relay={relay.url}", "--pid", str(relay.pid)),
        ]
        done = subprocess.run([sys.executable, __file__, *command], stdout=subprocess.PIPE, check=True)
    return summary(json.loads(done.stdout.splitlines()[-1]), streams)


def summary(rows: list[dict[str, Any]], streams: int) -> dict[str, Any]:
    """Return the figures of a run: medians over rounds, latencies over all chunks."""
    relayed = [row for row in rows if row["way"] == "relayed"]
    idle = [row["relay_cpu_seconds"] / row["seconds"] for row in rows if row["way"] == "direct"]
    latency = {
        way: [value for row in rows if row["way"] == way for value in row["latency_ms"]]
        for way in ("direct", "relayed")
    }
    pairs = [
        (quantiles(one["latency_ms"]), quantiles(other["latency_ms"]))
        for one in relayed
        for other in rows
        if other["way"] == "direct" and other["round"] == one["round"]
    ]
    added = {name: statistics.median(one[name] - other[name] for one, other in pairs) for name in ("p50", "p99")}
    cpu = [row["relay_cpu_seconds"] / row["seconds"] for row in relayed]
    return {
        "name": "one relay hop",
        "streams": streams,
        "rounds": len(relayed),
        "megabits_per_second_each": round((VIDEO_BYTES + AUDIO_BYTES) * 8 / CHUNK_SECONDS / 1e6, 2),
        "delivered_least": min(row["delivered"] for row in rows),
        "relay_cpu_ms_per_stream_second": round(statistics.median(cpu) / streams * 1000, 3),
        "relay_cpu_us_per_chunk": round(
            statistics.median(row["relay_cpu_seconds"] / max(1, row["chunks"]) * 1e6 for row in relayed), 1
        ),
        "relay_idle_cpu_percent": round(statistics.median(idle) * 100, 2),
        "direct_ms": quantiles(latency["direct"]),
        "relayed_ms": quantiles(latency["relayed"]),
        "added_p50_ms": round(added["p50"], 3),
        "added_p99_ms": round(added["p99"], 3),
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """Return median and 99th percentile."""
    if len(values) < 2:
        return {"p50": 0.0, "p99": 0.0}
    cuts = statistics.quantiles(values, n=100)
    return {"p50": round(cuts[49], 3), "p99": round(cuts[98], 3)}


class _Process:
    """Origin or relay, for a `with` block."""

    def __init__(self, role: str, parent: str, streams: int) -> None:
        command = [sys.executable, __file__, role, "--parent", parent, "--streams", str(streams)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        self.url = ""

    def __enter__(self) -> _Process:
        assert self._process.stdout is not None
        while not self.url.startswith("ws:"):
            line = self._process.stdout.readline()
            assert line, "the process ended"
            self.url = line.strip()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Run the benchmark, or be one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", nargs="?", choices=["origin", "relay", "receiver"], help=argparse.SUPPRESS)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn of a round")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--parent", default="", help=argparse.SUPPRESS)
    parser.add_argument("--relay", default="", help=argparse.SUPPRESS)
    parser.add_argument("--pid", type=int, default=os.getpid(), help=argparse.SUPPRESS)
    given = parser.parse_args()
    _quiet()
    if given.role == "receiver":
        asyncio.run(receive(given.parent, given.relay, given.pid, given.streams, given.rounds, given.seconds))
    elif given.role:
        asyncio.run(serve(given.role, given.parent, given.streams))
    else:
        figures = run(given.streams, given.rounds, given.seconds)
        print(json.dumps(figures, indent=1))
        if given.json:
            given.json.parent.mkdir(parents=True, exist_ok=True)
            given.json.write_text(json.dumps(figures, indent=1) + "\n")


def _quiet() -> None:
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    main()
