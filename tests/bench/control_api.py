"""How long the control API takes to tell of 1,000 streams on 50 nodes, and 1,000 transfers, as one process on one core.

The process is asked by one connection, one request after the other, so what is measured is the whole way of an answer:
HTTP, access, the view, JSON. Its CPU is /proc/<pid>/schedstat of all its threads.

    python tests/bench/control_api.py --json build/control_api.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from headrace.access.viewing import MemoryViewing
from headrace.clock import SystemClock
from headrace.http.application import make_application
from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId
from headrace.registry.memory import MemoryRegistry
from headrace.registry.records import NodeRecord, StreamRecord, TrackSummary
from headrace.service.runtime import Runtime
from headrace.telemetry.logging import configure_logging
from headrace_control_api.access import Access
from headrace_control_api.cluster_counts import ClusterCounts
from headrace_control_api.counting import api_metrics
from headrace_control_api.events import EventLog
from headrace_control_api.routes import add_routes
from headrace_control_api.tokens import TokenOffice
from headrace_control_api.transfers import Engine, Wanted

STREAMS = 1000
INGRESSES, INTERMEDIATES, EDGES = 10, 10, 30
CARRIED_BY_EDGE = 200
PATHS = (
    "/rest-api/stream/find_all",
    "/rest-api/pull/find_all",
    "/api/v1/streams",
    "/api/v1/streams?state=live&limit=100",
    "/api/v1/transfers",
    "/api/v1/topology",
    "/metrics",
)
TRACKS = (
    TrackSummary(track=1, kind="video", codec="avc1.64001f", width=1920, height=1080, bandwidth=4_000_000),
    TrackSummary(track=2, kind="audio", codec="mp4a.40.2", sample_rate=48_000, channels=2, bandwidth=128_000),
)


def fill(registry: MemoryRegistry) -> None:
    """Announce the cluster."""
    names = [f"site{number % 20}/cam{number}" for number in range(STREAMS)]
    for number, name in enumerate(names):
        node = f"ingress-{number % INGRESSES}"
        registry.keep_stream(StreamRecord(stream=name, node=node, epoch=1_700_000_000_000, state="live", tracks=TRACKS))
    for number in range(INGRESSES):
        registry.keep_node(
            NodeRecord(node=f"ingress-{number}", role="ingress", streams=tuple(names[number::INGRESSES]))
        )
    for number in range(INTERMEDIATES):
        own = tuple(names[number::INTERMEDIATES])
        registry.keep_node(NodeRecord(node=f"intermediate-{number}", role="intermediate", layer=1, streams=own))
    for number in range(EDGES):
        own = tuple(names[(number * 31 + step * 5) % STREAMS] for step in range(CARRIED_BY_EDGE))
        registry.keep_node(NodeRecord(node=f"edge-{number}", role="edge", layer=1000, streams=own))


async def order(registry: MemoryRegistry) -> None:
    """Ask for a transfer of each stream."""
    engine = Engine(registry, SystemClock(), settle_seconds=0.0)
    for number in range(STREAMS):
        await engine.begin(Wanted("push", "ws://far.example:8080", f"site{number % 20}/cam{number}"))


async def serve() -> None:
    """Be the process that is measured: print the port, serve until stdin ends."""
    configure_logging("warning")
    registry = MemoryRegistry(clock=SystemClock())
    await registry.start()
    fill(registry)
    await order(registry)
    runtime = Runtime(NodeId("api"), "control-api")
    app = make_application(runtime)
    events = EventLog(registry, runtime.clock)
    office = TokenOffice(MemoryViewing(runtime.clock), runtime.clock, "s" * 32)
    add_routes(app, registry, Access(), api_metrics(runtime.metrics), events, office)
    runtime.metrics.register(ClusterCounts(registry, office.viewing, STREAMS))
    app.router.add_get("/idle", _idle)
    listener = HttpListener("bench", "127.0.0.1", 0, app)
    await events.start()
    await listener.start()
    print(listener.bound_port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await listener.stop()
    await events.stop()
    await registry.close()


async def _idle(request: web.Request) -> web.Response:
    return web.Response()


async def measure(port: int, pid: int, rounds: int) -> list[dict[str, Any]]:
    """Ask each path `rounds` times."""
    rows = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for path in ("/idle", *PATHS):
            await ask(session, path)
            times, before = [], cpu_seconds(pid)
            for _ in range(rounds):
                began = time.perf_counter()
                size = await ask(session, path)
                times.append((time.perf_counter() - began) * 1000)
            rows.append(
                {
                    "path": path,
                    "streams": STREAMS,
                    "nodes": INGRESSES + INTERMEDIATES + EDGES,
                    "bytes": size,
                    "median_ms": round(statistics.median(times), 2),
                    "p99_ms": round(statistics.quantiles(times, n=100)[98], 2),
                    "cpu_ms": round((cpu_seconds(pid) - before) * 1000 / rounds, 2),
                }
            )
    return rows


async def ask(session: aiohttp.ClientSession, path: str) -> int:
    """Ask once and return the length of the answer."""
    async with session.get(path) as response:
        response.raise_for_status()
        return len(await response.read())


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, all threads."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def main() -> None:
    """Start the API on one core, ask it, print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.serve:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        asyncio.run(serve())
        return
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        rows = asyncio.run(measure(int(process.stdout.readline()), process.pid, arguments.rounds))
        process.communicate(timeout=20)
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
