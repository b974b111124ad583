"""Requests per CPU second: an edge's playlists and parts against nginx serving the same bytes from memory.

Run it with `python -m bench live_http` from `tests/`. Both servers run on the same core and get the same requests from
one client, one after the other; what counts is the CPU time that the server's process took, so that a busy machine
matters little.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from headrace.testing import free_port

SECONDS, QUICK_SECONDS = 4.0, 1.0
"""How long each server is asked for each kind."""

CONNECTIONS = 16
SAMPLE_BYTES = 10_000
"""Size of a picture: 2 Mbit/s with 25 a second, so a part has 120 kB and a segment 500 kB."""

TICKS = os.sysconf("SC_CLK_TCK")

EDGE = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from integration.edge.rig import EdgeRig
from integration.live.publishing import publish
from unit.live.streams import Programme

async def main():
    async with EdgeRig(window_seconds=60.0) as rig:
        publish(rig, Programme(sample_bytes={size}).epoch(60.0))
        print("ADDRESS", rig.address(), flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


async def requests(port: int, path: str, seconds: float) -> int:
    """Send requests for a while over several connections; return how many were answered."""
    answered = 0
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def ask() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
        while loop.time() < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            answered += 1
        writer.close()

    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return answered


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process took so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def rate(pid: int, port: int, path: str, seconds: float) -> float:
    """Return requests per CPU second of the server."""
    before = cpu_seconds(pid)
    answered = await requests(port, path, seconds)
    return answered / max(1 / TICKS, cpu_seconds(pid) - before)


@contextlib.contextmanager
def nginx(folder: Path, port: int):  # type: ignore[no-untyped-def]
    """Serve `folder` with one nginx process; yields its pid."""
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;"
        "events { worker_connections 256; }"
        f"http {{ access_log off; keepalive_requests 1000000; open_file_cache max=100; sendfile on;"
        f"client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;"
        f"uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}"
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen(
        [program, "-c", str(folder / "nginx.conf"), "-p", str(folder)], stderr=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


async def main(seconds: float) -> list[dict[str, Any]]:
    """Measure, print and return a row for each kind."""
    rows = []
    tests = str(Path(__file__).parents[1])
    edge = subprocess.Popen(
        [sys.executable, "-c", EDGE.format(tests=tests, size=SAMPLE_BYTES)], stdout=subprocess.PIPE, text=True
    )
    assert edge.stdout is not None
    line = next(line for line in edge.stdout if line.startswith("ADDRESS"))
    port, other = int(line.rsplit(":", 1)[1]), free_port()
    base = "/live/demo/"
    names = {"playlist": "1.m3u8", "part": "1790000000000/1/125.1.m4s", "segment": "1790000000000/1/125.m4s"}
    try:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as memory, contextlib.ExitStack() as stack:
            folder = Path(memory)
            for name in names.values():
                file = folder / base.strip("/") / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(await fetch(port, base + name))
            pid = stack.enter_context(nginx(folder, other))
            await asyncio.sleep(1)
            for server in (edge.pid, pid):
                os.sched_setaffinity(server, {0})
            for kind, name in names.items():
                ours = await rate(edge.pid, port, base + name, seconds)
                theirs = await rate(pid, other, base + name, seconds)
                row = {"kind": kind, "edge": round(ours), "nginx": round(theirs), "ratio": round(theirs / ours, 2)}
                rows.append(row)
                print(f"{kind:9} edge {ours:8.0f}/CPU s   nginx {theirs:8.0f}/CPU s   ratio 1:{theirs / ours:.1f}")
    finally:
        edge.terminate()
        edge.wait()
    return rows


async def fetch(port: int, path: str) -> bytes:
    """Return one body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
    data = await reader.read()
    writer.close()
    return data.split(b"\r\n\r\n", 1)[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter and rougher")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    arguments = parser.parse_args()
    found = asyncio.run(main(QUICK_SECONDS if arguments.quick else SECONDS))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found))
