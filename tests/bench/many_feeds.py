"""A hundred file feeds on one ingress: what each takes, and whether any of them is ever late.

    PYTHONPATH=tests python tests/bench/many_feeds.py [--feeds 100] [--seconds 600] [--json FILE]

A real `headrace ingress` with two workers plays a recording of 2 Mbit/s H.264 and AAC over and over, once for each
feed, and this process subscribes to all of them as a child does. Linux only.

- **CPU** is the growth of all threads' time of the ingress and its workers (/proc/<pid>/task/*/schedstat): reading,
  packaging and serving this one child. What this process takes to receive is beside it and counts for nothing.
- **Memory** is Pss (/proc/<pid>/smaps_rollup), so that what processes share is counted once; for a feed it is what
  all of them take more than the same ingress with two feeds.
- **Lateness** is that of a chunk's arrival here after its last sample was due by the file's own decode times, counted
  from the first chunk that was seen: what a feed loses once it has lost for ever, and pacing cannot hide it. More than
  the length of a chunk is late; sound, which leaves with the next chunk of its picture, has two.
- **Stalls of the machine** are told beside it, by a process that does nothing but sleep for 5 ms again and again: where
  that comes late, everybody does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import structlog

from bench.packager import cpu_seconds
from bench.relay_hop import make_node, stream_names
from headrace.clock import SystemClock
from headrace.relay.cursor import Cursor
from headrace.relay.hub import Demand, Hub
from headrace.testing import wait_until
from headrace.wire.chunk import Chunk
from integration.ingress.workers import workers_of
from support.services import Service, running

FILE_SECONDS = 64
"""A hundred feeds begin it anew every 0.6 s."""

BASE_FEEDS = 2
"""Feeds of the ingress that memory is compared with: both workers are there."""

LIVE_SECONDS = 60.0
SETTLE_SECONDS, BASE_SETTLE_SECONDS = 12.0, 6.0
"""Time before anything counts: until all are open. Rings fill later, in the first 75 s."""

PACE_MAX_US = 1000
"""How far a chunk's capture time may be from where the first one says: more is a feed that began to count anew."""

LATE_MS = {1: 100.0, 2: 200.0}
"""When a chunk is late, by track."""

STALL_SECONDS = 0.02
"""How late somebody who only sleeps may be before that is a stall of the machine."""

AFTER_STALL_SECONDS = 1.0
"""How long a stall is what chunks are late for: a hundred feeds catch up."""

SLEEPER = f"""
import time
due = time.time()
while True:
    due += 0.005
    time.sleep(max(0.0, due - time.time()))
    if (now := time.time()) - due > {STALL_SECONDS}:
        print(due, now, flush=True)
        due = now
"""

KIB = 1024


def write_recording(path: Path) -> None:
    """Write what is played: 640x360, 25 frames a second, a keyframe every 2 s, and stereo sound."""
    picture = f"testsrc2=size=640x360:rate=25:duration={FILE_SECONDS},noise=alls=30:allf=t,format=yuv420p"
    video = "-c:v libx264 -preset ultrafast -bf 0 -g 50 -b:v 1900k -maxrate 1900k -bufsize 950k"
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"anoisesrc=r=48000:a=0.3:d={FILE_SECONDS}"]
    sound = "-c:a aac -ac 2 -b:a 96k -movflags +faststart"
    subprocess.run(["ffmpeg", "-v", "error", "-y", *inputs, *video.split(), *sound.split(), str(path)], check=True)


@dataclass(slots=True)
class _Line:
    """The timeline of one track: where it was first seen, and what one sample lasts."""

    capture_us: int
    decode_time: int
    timescale: int
    frame: int

    def due_us(self, chunk: Chunk) -> int:
        """Return when the last sample of a chunk is due."""
        ticks = chunk.decode_time + chunk.duration - self.frame - self.decode_time
        return self.capture_us + ticks * 1_000_000 // self.timescale

    def strays_us(self, chunk: Chunk) -> int:
        """Return by how much a chunk's capture time is not where it should be."""
        ticks = chunk.decode_time - self.decode_time
        return abs(chunk.capture_us - self.capture_us - ticks * 1_000_000 // self.timescale)


class Feed:
    """One stream as it comes.

    Attributes:
        lateness_ms: how much later than due each chunk came, by track.
        late: when chunks came that were late.
        paced_anew: how often it gave up to be in time.
        epochs: how many began.
    """

    def __init__(self, hub: Hub, demand: Demand, clock: SystemClock) -> None:
        self.lateness_ms: dict[int, list[float]] = {1: [], 2: []}
        self.late: list[float] = []
        self.paced_anew = self.epochs = self.chunks = 0
        self._lines: dict[int, _Line] = {}
        self._epoch = 0
        self._demand, self._clock = demand, clock
        cursor = demand.broadcast.join()
        demand.broadcast.listeners.add(lambda: self._read(cursor))

    def forget(self) -> None:
        """Count from here on; timelines stay."""
        self.lateness_ms = {1: [], 2: []}
        self.late = []
        self.paced_anew = self.chunks = 0

    def _read(self, cursor: Cursor) -> None:
        now_us = self._clock.utc() * 1_000_000
        for entry in self._demand.broadcast.read(cursor):
            if isinstance(entry, Chunk) and entry.samples:
                self._take(entry, now_us)

    def _take(self, chunk: Chunk, now_us: float) -> None:
        if chunk.id.epoch != self._epoch:
            self._epoch, self._lines = chunk.id.epoch, {}
            self.epochs += 1
        line = self._lines.get(chunk.id.track)
        if line is None:
            track = self._demand.broadcast.tracks[chunk.id.track]
            frame = round(track.timescale / track.frame_rate) if track.kind == "video" else 1024
            line = self._lines[chunk.id.track] = _Line(chunk.capture_us, chunk.decode_time, track.timescale, frame)
        lateness_ms = (now_us - line.due_us(chunk)) / 1000
        self.chunks += 1
        if lateness_ms > LATE_MS[chunk.id.track]:
            self.late.append(now_us / 1_000_000)
        self.paced_anew += line.strays_us(chunk) > PACE_MAX_US
        self.lateness_ms[chunk.id.track].append(lateness_ms)


@dataclass(frozen=True, slots=True)
class Spent:
    """What an ingress and its workers have taken by now: seconds of CPU and bytes of Pss, by role."""

    cpu: Mapping[str, float]
    memory: Mapping[str, int]


def spent(pid: int) -> Spent:
    """Return that."""
    pids = {"ingress": pid, **{f"worker {number}": one.pid for number, one in enumerate(_workers(pid), 1)}}
    return Spent(
        {role: cpu_seconds(one) for role, one in pids.items()}, {role: pss_bytes(one) for role, one in pids.items()}
    )


def _workers(pid: int) -> list[Any]:
    return sorted(workers_of(pid), key=lambda worker: worker.pid)


def pss_bytes(pid: int) -> int:
    """Return a process's memory, its part of what it shares with others (proc_pid_smaps(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * KIB


def machine_busy() -> tuple[float, float]:
    """Return the seconds of CPU that the whole machine has worked, and that others took from it, since it began."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / ticks, steal / ticks


async def measure(recording: Path, feeds: int, settle: float, seconds: float) -> dict[str, Any]:
    """Return the figures of one ingress with so many feeds."""
    sources = {str(name): recording.as_uri() for name in stream_names(feeds)}
    settings = {"ingress.port": "0", "ingress.rtmp": "false", "ingress.sources": json.dumps(sources)}
    with running(Service("ingress", "ingress-1", settings)) as (ingress,):
        url = f"ws://127.0.0.1:{ingress.port_of('ingress')}/relay"
        node, hub, listener = await make_node("child", "edge", 1000, f"ingress-1={url}", feeds)
        demands = [hub.demand(name) for name in stream_names(feeds)]
        clock = SystemClock()
        watched = [Feed(hub, demand, clock) for demand in demands]
        try:
            await wait_until(lambda: all(feed.chunks for feed in watched), LIVE_SECONDS, what="all feeds are live")
            await asyncio.sleep(settle)
            figures = await _window(ingress.pid, watched, seconds)
        finally:
            for demand in demands:
                demand.broadcast.listeners.clear()
                demand.release()
            await node.stop()
            await listener.stop()
        figures["breaks"] = len(ingress.events("feed_broken")) + len(ingress.events("worker_ended"))
    return figures


async def _window(pid: int, feeds: list[Feed], seconds: float) -> dict[str, Any]:
    for feed in feeds:
        feed.forget()
    clock, loads = SystemClock(), [os.getloadavg()[0]]
    began, before, busy, own = clock.monotonic(), spent(pid), machine_busy(), cpu_seconds(os.getpid())
    with stalls() as stalled:
        await asyncio.sleep(seconds)
    lasted, after, busy_after = clock.monotonic() - began, spent(pid), machine_busy()
    own = cpu_seconds(os.getpid()) - own
    loads.append(os.getloadavg()[0])
    late = [at for feed in feeds for at in feed.late]
    cpu = {role: (after.cpu[role] - before.cpu[role]) / lasted for role in after.cpu}
    return {
        "seconds": round(lasted, 1),
        "cpu_cores": {role: round(share, 3) for role, share in cpu.items()},
        "cpu_ms_per_s_and_feed": round(1000 * sum(cpu.values()) / len(feeds), 2),
        "child_cores": round(own / lasted, 3),
        "others_cores": round((busy_after[0] - busy[0] - own) / lasted - sum(cpu.values()), 3),
        "stolen_cores": round((busy_after[1] - busy[1]) / lasted, 3),
        "load_average": [round(load, 1) for load in loads],
        "memory_mib": {role: round(size / KIB**2, 1) for role, size in after.memory.items()},
        "memory_total_mib": round(sum(after.memory.values()) / KIB**2, 1),
        "memory_growth_mib": round((sum(after.memory.values()) - sum(before.memory.values())) / KIB**2, 1),
        "chunks": sum(feed.chunks for feed in feeds),
        "video_chunks_least": min(len(feed.lateness_ms[1]) for feed in feeds),
        "video_ms": quantiles(ms for feed in feeds for ms in feed.lateness_ms[1]),
        "audio_ms": quantiles(ms for feed in feeds for ms in feed.lateness_ms[2]),
        "late": len(late),
        "late_without_stall": sum(
            not any(begin <= at <= end + AFTER_STALL_SECONDS for begin, end in stalled) for at in late
        ),
        "stalls": len(stalled),
        "stall_max_ms": round(max((1000 * (end - begin) for begin, end in stalled), default=0.0), 1),
        "paced_anew": sum(feed.paced_anew > 0 for feed in feeds),
        "epochs": sum(feed.epochs for feed in feeds),
    }


@contextmanager
def stalls() -> Iterator[list[tuple[float, float]]]:
    """Note for a `with` block when the machine stalls; the list is whole when it is over. Times are UTC."""
    found: list[tuple[float, float]] = []
    sleeper = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, text=True)
    try:
        yield found
    finally:
        sleeper.terminate()
        told, _ = sleeper.communicate()
        found += [(float(begin), float(end)) for begin, end in (line.split() for line in told.splitlines())]


def quantiles(values: Iterable[float]) -> dict[str, float]:
    """Return how late chunks were: in the middle, of the latest hundredth and thousandth the first, and at most."""
    ordered = sorted(values)
    places = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {name: round(ordered[min(int(len(ordered) * part), len(ordered) - 1)], 1) for name, part in places.items()}


def table(row: Mapping[str, Any]) -> str:
    """Return the table for docs/performance.md."""
    rows = {
        "CPU for each feed, ms a second": row["cpu_ms_per_s_and_feed"],
        "CPU of " + ", ".join(row["cpu_cores"]) + ", cores": ", ".join(map(str, row["cpu_cores"].values())),
        "beside them, cores: the child, everything else": f"{row['child_cores']}, {row['others_cores']}",
        "memory for each feed (Pss)": f"{row['memory_per_feed_mib']} MiB",
        "memory of all": f"{row['memory_total_mib']} MiB, {row['memory_growth_mib']:+} from begin to end",
        "chunks": f"{row['chunks']:,}",
        "video later than due, p50, p99, p99.9, longest": ", ".join(map(str, row["video_ms"].values())) + " ms",
        "sound later than due, p50, p99, p99.9, longest": ", ".join(map(str, row["audio_ms"].values())) + " ms",
        "chunks that were late, of these not within a second of a stall": f"{row['late']}, {row['late_without_stall']}",
        "stalls of the machine, and the longest": f"{row['stalls']}, {row['stall_max_ms']} ms",
        "feeds that broke": row["breaks"],
        "feeds that began anew, or lost time": f"{row['epochs'] - row['feeds']}, {row['paced_anew']}",
    }
    head = f"| {row['feeds']} feeds, {row['seconds']:.0f} s, load average {row['load_average']} | |\n|---|---:|\n"
    return head + "\n".join(f"| {name} | {value} |" for name, value in rows.items())


async def run(feeds: int, seconds: float) -> dict[str, Any]:
    """Return all figures."""
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "recording.mp4"
        write_recording(recording)
        base = await measure(recording, BASE_FEEDS, BASE_SETTLE_SECONDS, 1.0)
        figures = await measure(recording, feeds, SETTLE_SECONDS, seconds)
    more = figures["memory_total_mib"] - base["memory_total_mib"]
    return {"feeds": feeds, "memory_per_feed_mib": round(more / (feeds - BASE_FEEDS), 2), **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description="Many file feeds on one ingress.")
    parser.add_argument("--feeds", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    row = asyncio.run(run(arguments.feeds, arguments.seconds))
    print(json.dumps(row, indent=2))
    print(table(row))
    if arguments.json:
        arguments.json.write_text(json.dumps({"name": f"{arguments.feeds} file feeds", **row}, indent=2) + "\n")


if __name__ == "__main__":
    main()
