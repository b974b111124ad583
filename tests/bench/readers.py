"""What it costs to read feeds in worker processes instead of threads of the ingress, in runs that alternate.

    .venv/bin/python tests/bench/readers.py [--feeds 40] [--seconds 8] [--pairs 3] [--json FILE]

Each run is an ingress in this process that carries so many file feeds of 2 Mbit/s with sound. The figures: CPU of all
processes for each feed, of the event loop's thread alone, resident memory, and how long after the capture time of its
last picture a chunk of video is published. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import structlog

from bench.packager import make_clip, write_flv
from headrace.relay.broadcast import Broadcast
from integration.ingress.workers import site, workers_of

CLIP_SECONDS = 20
FRAME_SECONDS = 0.04
SETTLE_SECONDS = 3.0
MIB = 1024 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare readers in threads with readers in workers.")
    parser.add_argument("--feeds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.flv"
        write_flv(clip, make_clip(), CLIP_SECONDS)
        runs: dict[int, list[dict[str, float]]] = {0: [], 2: []}
        for _ in range(arguments.pairs):
            for workers, found in runs.items():
                found.append(run_apart(clip, workers, arguments.feeds, arguments.seconds))
    rows = [{"name": f"{arguments.feeds} feeds, {workers} workers", **_medians(runs[workers])} for workers in runs]
    text = json.dumps(rows, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def run_apart(clip: Path, workers: int, feeds: int, seconds: float) -> dict[str, float]:
    """Return the figures of one run, in a process that has nothing of the run before."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (str(clip), workers, feeds, seconds))


def measure(clip: str, workers: int, feeds: int, seconds: float) -> dict[str, float]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    return asyncio.run(_measure(clip, workers, feeds, seconds))


async def _measure(clip: str, workers: int, feeds: int, seconds: float) -> dict[str, float]:
    latencies: list[float] = []
    begun = time.monotonic()
    async with site({f"cam{number}": f"file:{clip}" for number in range(feeds)}, workers=workers) as ingress:
        await ingress.live(0.3)
        lived = time.monotonic() - begun
        for stream in ingress.streams.values():
            stream.broadcast.listeners.clear()
            stream.broadcast.listeners.add(_Watch(stream.broadcast, latencies))
        await asyncio.sleep(SETTLE_SECONDS)
        latencies.clear()
        pids = [os.getpid(), *(worker.pid for worker in workers_of(os.getpid()))]
        before, loop_before = [_cpu_seconds(pid) for pid in pids], _thread_seconds(pids[0], pids[0])
        await asyncio.sleep(seconds)
        spent = [_cpu_seconds(pid) - start for pid, start in zip(pids, before, strict=True)]
        loop = _thread_seconds(pids[0], pids[0]) - loop_before
        figures: dict[str, Any] = {
            "cpu_ms_per_s_and_feed": 1000 * sum(spent) / seconds / feeds,
            "loop_ms_per_s_and_feed": 1000 * loop / seconds / feeds,
            "memory_mib": sum(_memory_bytes(pid) for pid in pids) / MIB,
            "largest_worker_mib": max((_memory_bytes(pid) / MIB for pid in pids[1:]), default=0.0),
            "all_live_seconds": lived,
        }
    latencies.sort()
    for percent in (10, 50, 90):
        figures[f"latency_p{percent}_ms"] = 1000 * latencies[len(latencies) * percent // 100]
    return figures


class _Watch:
    """Notes how long after its last picture was due each chunk of video is published."""

    def __init__(self, broadcast: Broadcast, latencies: list[float]) -> None:
        self._broadcast = broadcast
        self._latencies = latencies
        self._last: object = None

    def __call__(self) -> None:
        chunk = self._broadcast.last.get(1)
        if chunk is not None and chunk is not self._last and chunk.samples:
            self._last = chunk
            captured = chunk.capture_us / 1_000_000 + (chunk.samples - 1) * FRAME_SECONDS
            self._latencies.append(time.time() - captured)


def _cpu_seconds(pid: int) -> float:
    return sum(_thread_seconds(pid, int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir())


def _thread_seconds(pid: int, thread: int) -> float:
    return int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0]) / 1e9


def _memory_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
