"""Bad guests: what an edge's memory and its other viewers feel of those who mean no good.

A hundred viewers watch while thousands of connections misbehave in one way at a time. Told are the edge's memory
before, at its most and after, the viewers' latency without and with them, and what the edge counted.

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
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.building import NoCompiler
from bench.fan_out_parts import KEY, LOAD_CORE, Load, Server, Viewers, cpu_seconds, edge_of, memory_kib, product
from support.services import Service

LOAD = Load(10, 25_600, 100)

SETTLE_SECONDS = 2.0
"""Who joins gets media that are up to a second old first."""

QUIET_SECONDS = 3.0
BAD_SECONDS = 15.0
"""Longer than a connection may take to send its first request."""

STUCK_SECONDS = 25.0
"""Longer than a viewer may take nothing."""

DIAL_AT_ONCE = 200

GUESTS_NICE = 10
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


def measure(way: str, guests: int) -> dict[str, Any]:
    """Run one way; return its row."""
    with product(LOAD, **{"edge.viewers_max": "20000"}) as server, Viewers(server, LOAD) as crowd:
        time.sleep(SETTLE_SECONDS)
        quiet = listen(crowd, QUIET_SECONDS)
        before, most = memory_kib(server.pid), 0
        cpu, since = cpu_seconds(server.pid), time.monotonic()
        child = start_guests(server, way, guests)
        time.sleep(1.0)
        crowd.say("go")
        began = time.monotonic()
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            most = max(most, memory_kib(server.pid))
            time.sleep(0.2)
            if time.monotonic() - began > 4 * BAD_SECONDS:
                os.kill(child, 9)
        busy = crowd.told()
        cpu = (cpu_seconds(server.pid) - cpu) / (time.monotonic() - since)
        time.sleep(2.0)
        after = memory_kib(server.pid)
        refused = refusals(edge_of(server))
    return {
        "name": f"{guests:,} guests {way}",
        "memory_before_mib": round(before / 1024, 1),
        "memory_most_mib": round(most / 1024, 1),
        "memory_after_mib": round(after / 1024, 1),
        "kib_per_guest": round((most - before) / guests, 1),
        "quiet_p99_ms": quiet["p99_ms"],
        "busy_p50_ms": busy["p50_ms"],
        "busy_p99_ms": busy["p99_ms"],
        "viewers_lost": busy["lost"],
        "cpu": round(cpu, 2),
        "load_average": round(os.getloadavg()[0], 1),
        "refused": refused,
    }


def listen(crowd: Viewers, seconds: float) -> dict[str, Any]:
    """Return what viewers counted in a while."""
    crowd.say("go")
    time.sleep(seconds)
    return crowd.told()


def start_guests(server: Server, way: str, guests: int) -> int:
    """Start the guests as a process of their own on the core of the load; return its id."""
    child = os.fork()
    if child:
        return child
    os.sched_setaffinity(0, {LOAD_CORE})
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
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"any of: {'; '.join(WAYS)}")
    given = parser.parse_args()
    rows = []
    try:
        for way in given.ways or WAYS:
            rows.append(measure(way, given.guests))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    except NoCompiler as error:
        rows = [{"name": "bad guests", "absent": str(error)}]
    print(json.dumps(rows, indent=1))
    if given.json:
        given.json.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
