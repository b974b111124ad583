"""Bad guests: what an edge's memory and its other viewers feel of those who mean no good.

A hundred viewers watch while thousands of connections misbehave in one way at a time. Told are the edge's memory
before, at its most and after, the viewers' latency without and with them, and what the edge counted. With `--elsewhere`
the guests go to another server on the edge's core, the ceiling in C: what the viewers feel then is the machine's, the
kernel's and the guests' own work.

    PYTHONPATH=tests python tests/bench/bad_input.py --json build/bad_input.json [--guests 10000] [WAY...]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.building import NoCompiler
from bench.fan_out_parts import (
    KEY,
    LOAD_CORE,
    Load,
    Server,
    Viewers,
    ceiling,
    cpu_seconds,
    edge_of,
    memory_kib,
    product,
)
from support.services import Service

LOAD = Load(10, 25_600, 100)

SETTLE_SECONDS = 2.0
"""Who joins gets media that are up to a second old first."""

QUIET_SECONDS = 10.0
BAD_SECONDS = 15.0
"""Longer than a connection may take to send its first request."""

STUCK_SECONDS = 25.0
"""Longer than a viewer may take nothing."""

DIAL_AT_ONCE = 200

WINDOW_SECONDS, STOLEN_MOST_SECONDS = 0.5, 0.015
"""Latencies are counted in windows; one in which a shared host took so much time from us tells nothing of the edge."""

GUESTS_NICE = 19
"""The guests yield their core to the viewers, whose latency would else tell of that core and not of the edge."""

Guest = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int, float], Awaitable[None]]


def handshake(path: str) -> bytes:
    """Return a good request."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


async def never_finish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, until: float) -> None:
    """Send half a request."""
    writer.write(handshake("/bench0")[:60])
    await wait_end(reader, until)


async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, until: float) -> None:
    """Ask for a stream and let it pile up."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(handshake("/bench0"))
    await asyncio.sleep(until - time.monotonic())


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, until: float) -> None:
    """Send text for ever."""
    writer.write(handshake("/bench0"))
    text = struct.pack(">BB", 0x81, 0x80 | 100) + bytes(4) + b"x" * 100
    while time.monotonic() < until and not reader.at_eof():
        writer.write(text * 10)
        await writer.drain()
        await reader.read(1 << 20)


async def come_and_go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, until: float) -> None:
    """Come in and leave at once; the caller dials again."""
    writer.write(handshake("/bench0"))
    await reader.read(100)


async def ask_for_anything(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, until: float
) -> None:
    """Ask for one of a thousand streams that are not there."""
    writer.write(handshake(f"/nothing-{number % 1000}"))
    await wait_end(reader, until)


WAYS: dict[str, tuple[Guest, bool, float]] = {
    "never finish the handshake": (never_finish, False, BAD_SECONDS),
    "never read": (never_read, False, STUCK_SECONDS),
    "send text for ever": (talk, True, BAD_SECONDS),
    "open and close in a loop": (come_and_go, True, BAD_SECONDS),
    "ask for 1,000 different streams": (ask_for_anything, False, BAD_SECONDS),
}
"""Each way by its name, whether a guest that is done comes again, and for how long they all do it."""


async def wait_end(reader: asyncio.StreamReader, until: float) -> None:
    """Read until the other side closes or time is up."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, until - time.monotonic())):
            while await reader.read(1 << 16):
                pass


async def misbehave(port: int, guests: int, way: str) -> int:
    """Let guests misbehave for a while; return how many connections that took."""
    guest, again, seconds = WAYS[way]
    until = time.monotonic() + seconds
    dialling, dialled = asyncio.Semaphore(DIAL_AT_ONCE), 0

    async def be_one(number: int) -> None:
        nonlocal dialled
        while time.monotonic() < until:
            try:
                async with dialling:
                    address = (f"127.0.0.{1 + number % 8}", 0)
                    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=address)
                    dialled += 1
                    if again:
                        await guest(reader, writer, number, until)
                if not again:
                    await guest(reader, writer, number, until)
                writer.transport.abort()
            except OSError:
                await asyncio.sleep(0.1)
            if not again:
                return

    await asyncio.gather(*(be_one(number) for number in range(guests)))
    return dialled


def measure(way: str, guests: int, *, elsewhere: bool = False) -> dict[str, Any]:
    """Run one way; return its row."""
    with ExitStack() as stack:
        server = stack.enter_context(product(LOAD, **{"edge.viewers_max": "20000"}))
        crowd = stack.enter_context(Viewers(server, LOAD))
        goal = stack.enter_context(ceiling(LOAD)) if elsewhere else server
        time.sleep(SETTLE_SECONDS)
        since = time.monotonic()
        quiet = listen(crowd, lambda: time.monotonic() < since + QUIET_SECONDS)
        before, most = memory_kib(server.pid), 0
        cpu, began = cpu_seconds(server.pid), time.monotonic()
        child = start_guests(goal, way, guests)

        def go_on() -> bool:
            nonlocal most
            most = max(most, memory_kib(server.pid))
            if time.monotonic() - began > 4 * BAD_SECONDS:
                os.kill(child, 9)
            return os.waitpid(child, os.WNOHANG)[0] == 0

        busy = listen(crowd, go_on)
        cpu = (cpu_seconds(server.pid) - cpu) / (time.monotonic() - began)
        time.sleep(2.0)
        after = memory_kib(server.pid)
        refused = refusals(edge_of(server))
    return {
        "name": f"{guests:,} guests {way}" + (", elsewhere" if elsewhere else ""),
        "memory_before_mib": round(before / 1024, 1),
        "memory_most_mib": round(most / 1024, 1),
        "memory_after_mib": round(after / 1024, 1),
        "kib_per_guest": round((most - before) / guests, 1),
        **{f"quiet_{name}": value for name, value in quiet.told().items()},
        **{f"busy_{name}": value for name, value in busy.told().items()},
        "viewers_lost": busy.lost,
        "cpu": round(cpu, 2),
        "load_average": round(os.getloadavg()[0], 1),
        "refused": refused,
    }


@dataclass
class Heard:
    """What viewers counted in a while.

    Attributes:
        latencies: messages by milliseconds.
        windows, stolen: how many windows count, and how many do not, because the machine was stopped in them.
        lost: viewers.
    """

    latencies: Counter[float]
    windows: int = 0
    stolen: int = 0
    lost: int = 0

    def told(self) -> dict[str, float]:
        """Return the figures of a row."""
        parts = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99}
        return {
            **{name: self._quantile(part) for name, part in parts.items()},
            "windows": self.windows,
            "stolen_windows": self.stolen,
        }

    def _quantile(self, part: float) -> float:
        due = part * self.latencies.total()
        for latency, count in sorted(self.latencies.items()):
            due -= count
            if due <= 0:
                return latency
        return 0.0


def listen(crowd: Viewers, go_on: Callable[[], bool]) -> Heard:
    """Return what viewers counted while `go_on`, but for what they did while the host gave the machine no time."""
    heard = Heard(Counter())
    while go_on():
        stolen = stolen_seconds()
        crowd.say("go")
        time.sleep(WINDOW_SECONDS)
        told = crowd.told()
        heard.lost = told["lost"]
        if stolen_seconds() - stolen > STOLEN_MOST_SECONDS:
            heard.stolen += 1
            continue
        heard.windows += 1
        for latency, count in told["latency"]:
            heard.latencies[latency] += count
    return heard


def stolen_seconds() -> float:
    """Return how long the machine's cores were ready and the host ran something else (proc_stat(5), steal)."""
    first = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(first[8]) / os.sysconf("SC_CLK_TCK")


def start_guests(server: Server, way: str, guests: int) -> int:
    """Start the guests as a process of their own on the core of the load; return its id."""
    child = os.fork()
    if child:
        return child
    os.sched_setaffinity(0, {LOAD_CORE})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    os.nice(GUESTS_NICE)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    code = 1
    try:
        dialled = asyncio.run(misbehave(server.port, guests, way))
        print(f"{way}: {dialled} connections", file=sys.stderr, flush=True)
        code = 0
    finally:
        os._exit(code)


def refusals(edge: Service) -> dict[str, float]:
    """Return the edge's counts of whom it turned away, by reason."""
    text = edge.get("/metrics")
    found = re.findall(r'headrace_edge_refused_total{door="fmp4",reason="(\w+)"} (\S+)', text)
    counts = {reason: float(count) for reason, count in found}
    stuck = re.search(r'headrace_edge_stuck_total{door="fmp4"} (\S+)', text)
    return counts | ({"stuck": float(stuck[1])} if stuck and float(stuck[1]) else {})


def main() -> None:
    """Measure what was asked for, print the rows and write them where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--guests", type=int, default=10_000)
    parser.add_argument("--elsewhere", action="store_true", help="let the guests go to another server on that core")
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"any of: {'; '.join(WAYS)}")
    given = parser.parse_args()
    rows = []
    try:
        for way in given.ways or WAYS:
            rows.append(measure(way, given.guests, elsewhere=given.elsewhere))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    except NoCompiler as error:
        rows = [{"name": "bad guests", "absent": str(error)}]
    print(json.dumps(rows, indent=1))
    if given.json:
        given.json.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
