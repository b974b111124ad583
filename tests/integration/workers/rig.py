"""An edge with two workers among real processes: ingress with the test pattern as `demo`, edge and control API."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from headrace.testing import wait_until
from support.play_client import Seen, follow
from support.redis_server import RedisServer
from support.services import Service, running

SECRET = "a secret of the tests, of 32 bytes or more"

PATIENCE = 30.0
"""Longest wait for what a busy machine does in a second or two."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The processes; `common` are the settings of all of them."""

    common: dict[str, str]
    ingress: Service
    edge: Service
    api: Service

    def address(self, name: str) -> str:
        """Return host and port of one of the edge's listeners."""
        return f"127.0.0.1:{self.edge.port_of(name)}"

    @property
    def url(self) -> str:
        """Base URL of the edge's pages."""
        return f"http://{self.address('edge')}"

    def play(self, stream: str = "demo") -> str:
        """URL that players connect to."""
        return f"ws://{self.address('edge')}/play/{stream}"

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers that run."""
        return workers_of(self.edge.pid)


@contextmanager
def cluster(**settings: str) -> Iterator[Cluster]:
    """Run the processes for the length of the block."""
    with RedisServer() as store:
        common = {"registry.url": store.url, "relay.secret": "a secret of the tests", **settings}
        sources = json.dumps({"demo": "test:"})
        ingress = Service("ingress", "ingress-1", {**common, "ingress.port": "0", "ingress.sources": sources})
        edge = Service("edge", "edge-1", {**common, "edge.port": "0", "edge.fmp4_port": "0", "edge.workers": "2"})
        api = Service("control-api", "api-1", {**common, "control_api.port": "0"})
        with running(ingress, edge, api):
            wait_started(edge)
            yield Cluster(common, ingress, edge, api)


def wait_started(edge: Service) -> None:
    """Wait until the node itself has started, and not only its workers."""
    deadline = time.monotonic() + PATIENCE
    while not any("process" not in line for line in edge.events("started")):
        assert edge.is_running, edge.log
        assert time.monotonic() < deadline, edge.log
        time.sleep(0.05)


def workers_of(pid: int) -> list[int]:
    """Return the process ids of the workers of a node that run."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if "workers.worker" in Path(f"/proc/{child}/cmdline").read_text()]


def is_alive(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def get(url: str, **headers: str) -> tuple[int, str]:
    """Return status and text of an answer, over a connection of its own: whichever worker gets that."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url, headers=headers) as answer:
        return answer.status, await answer.text()


class Metrics:
    """What `/metrics` said."""

    def __init__(self, text: str) -> None:
        self._text = text

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the only sample that has these labels; `None` when there is none."""
        found = self.values(name, **labels)
        return found[0] if len(found) == 1 else None

    def values(self, name: str, **labels: str) -> list[float]:
        """Return the values of all samples that have these labels."""
        rows = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", self._text, re.MULTILINE)
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        return [float(value) for had, value in rows if wanted <= set(had.split(","))]


async def metrics_of(url: str) -> Metrics:
    """Ask for the metrics."""
    status, text = await get(f"{url}/metrics")
    assert status == 200
    return Metrics(text)


@asynccontextmanager
async def followers(count: int, url: str) -> AsyncIterator[list[Seen]]:
    """Have so many players watch, for the length of the block, each with something to see."""
    crowd = [Seen() for _ in range(count)]
    tasks = [asyncio.create_task(follow(url, seen, f"viewer-{number}")) for number, seen in enumerate(crowd)]
    try:
        await wait_until(lambda: all(seen.chunks for seen in crowd), PATIENCE)
        yield crowd
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def json_of(url: str) -> Any:
    """Return the document at an address."""
    status, text = await get(url)
    assert status == 200, text
    return json.loads(text)
