"""An ingress with several feeds whose readers are in worker processes, and those processes as the system sees them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId, StreamName
from headrace.registry.memory import MemoryRegistry
from headrace.relay.hub import Hub
from headrace.service.runtime import Runtime
from headrace.service.settings import Settings
from headrace.testing import wait_until
from headrace_ingress.app import build
from integration.ingress.rig import Watched

PROGRAM = b"headrace_ingress.workers.worker"
PATTERN = "test:?size=128x128&audio=no"

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")


@dataclass(frozen=True)
class Worker:
    """A worker process."""

    pid: int

    @property
    def threads(self) -> dict[str, int]:
        """Thread ids by name; of threads with one name the first, which is the reader's."""
        found: dict[str, int] = {}
        for task in sorted(Path(f"/proc/{self.pid}/task").iterdir(), key=lambda path: int(path.name)):
            found.setdefault((task / "comm").read_text().strip(), int(task.name))
        return found

    @property
    def feeds(self) -> set[str]:
        return {name.removeprefix("feed ") for name in self.threads if name.startswith("feed ")}

    @property
    def words(self) -> bytes:
        """Arguments and environment, as every process of this user may read them."""
        return Path(f"/proc/{self.pid}/cmdline").read_bytes() + Path(f"/proc/{self.pid}/environ").read_bytes()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def crash(self, feed: str) -> None:
        """Have the thread that reads a feed end the process, as a fault in a library does."""
        libc = ctypes.CDLL(None)
        libc.tgkill(self.pid, self.threads[f"feed {feed}"], int(signal.SIGSEGV))


def workers_of(parent: int) -> Iterator[Worker]:
    """Yield the living workers of a process."""
    for pid in children_of(parent):
        try:
            if PROGRAM in Path(f"/proc/{pid}/cmdline").read_bytes():
                yield Worker(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue


def children_of(parent: int) -> list[int]:
    """Return the living processes that a process started."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal():
                state, its_parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(its_parent) == parent and state != "Z":
                    found.append(int(path.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def is_there(pid: int) -> bool:
    """Return whether a process lives."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Site:
    """An ingress that runs in this process.

    Attributes:
        streams: what came of each.
        url: its HTTP door.
    """

    streams: Mapping[str, Watched]
    runtime: Runtime
    url: str

    def worker_of(self, feed: str) -> Worker | None:
        """Return who reads a feed now."""
        for worker in workers_of(os.getpid()):
            try:
                if feed in worker.feeds:
                    return worker
            except FileNotFoundError:
                continue
        return None

    async def worker(self, feed: str, other_than: Worker | None = None) -> Worker:
        """Wait until a worker reads a feed."""
        await wait_until(lambda: self.worker_of(feed) not in {None, other_than}, 30, what=f"{feed} is read")
        found = self.worker_of(feed)
        assert found is not None
        return found

    async def live(self, seconds: float = 0.5) -> None:
        """Wait until all streams are live."""
        for stream in self.streams.values():
            await stream.live(seconds)

    async def back(self, feed: str, since: float, epochs: int = 2) -> None:
        """Wait until a feed has begun its newest epoch and is live in it; tell how long that took."""
        stream = self.streams[feed]
        await wait_until(
            lambda: (
                len(stream.opened) >= epochs and any(one.id.epoch == stream.broadcast.epoch for one in stream.chunks())
            ),
            30,
            what=f"{feed} is back",
        )
        print(f"{feed} is back after {time.monotonic() - since:.2f} s")

    def metric(self, name: str, **labels: str) -> float:
        """The value of an exported metric."""
        return self.runtime.metrics.get_sample_value(f"headrace_ingress_{name}", labels) or 0.0


@asynccontextmanager
async def site(sources: Mapping[str, str], publishes: str = "", **ingress: Any) -> AsyncIterator[Site]:
    """Run an ingress with these sources, and a stream to publish, for a `with` block."""
    group = {"rtmp": False, "port": 0, **ingress, "sources": dict(sources)}
    hub, registry = Hub(), MemoryRegistry()
    runtime = Runtime(NodeId("ingress-1"), "ingress", metrics=CollectorRegistry())
    streams = {name: watch(hub, name, registry, runtime) for name in [*sources, *([publishes] if publishes else [])]}
    components = build(Settings.model_validate({"ingress": group}), runtime, hub, registry)
    await registry.start()
    for component in components:
        await component.start()
    listener = next(component for component in components if isinstance(component, HttpListener))
    try:
        yield Site(streams, runtime, f"http://127.0.0.1:{listener.bound_port}")
    finally:
        for component in reversed(components):
            await component.stop()
        await registry.close()
    assert runtime.failure is None
    assert not list(workers_of(os.getpid()))


def watch(hub: Hub, name: str, registry: MemoryRegistry, runtime: Runtime) -> Watched:
    """Note everything that comes of a stream."""
    broadcast = hub.produce(StreamName(name))
    watched = Watched(broadcast, registry, runtime)
    cursor = broadcast.resume({})
    broadcast.listeners.add(lambda: watched.entries.extend(broadcast.read(cursor)))
    return watched
