"""Many viewers in a few processes: the process itself (`python -m chaos.probes`), and the harness's side of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chaos.identity import Figures, figures_from
from chaos.viewer import Viewer

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Seen:
    """One viewer, as it stood when it was asked.

    Attributes:
        silence: seconds since a chunk came of the track that is silent longest.
        newest_capture_us: capture time of the newest chunk of the track that is furthest behind.
    """

    name: str
    edge: str
    state: str
    route: tuple[str, ...]
    silence: float
    newest_capture_us: int
    figures: Figures


class ProbeProcess:
    """A process with some viewers."""

    def __init__(self, stream: str, names: list[str], urls: list[str]) -> None:
        command = [sys.executable, "-m", "chaos.probes", stream, json.dumps(names), json.dumps(urls)]
        paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ask(self, command: str) -> list[Seen]:
        """Return all viewers; with `begin` their figures begin anew afterwards."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        line = self._process.stdout.readline()
        assert line, f"the probes ended with {self._process.poll()}"
        return [_seen(values) for values in json.loads(line)]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def _seen(values: dict[str, Any]) -> Seen:
    figures = figures_from(values.pop("figures"))
    return Seen(figures=figures, route=tuple(values.pop("route")), **values)


class Probes:
    """All viewers.

    Args:
        urls: WebSocket base URLs of the edges; viewers begin at one after the other.
    """

    def __init__(self, stream: str, urls: list[str], viewers: int, processes: int) -> None:
        shares = [list(range(number, viewers, processes)) for number in range(processes)]
        self.processes = [
            ProbeProcess(stream, [f"viewer-{n}" for n in share], [urls[n % len(urls)] for n in share])
            for share in shares
        ]

    def read(self) -> list[Seen]:
        """Return all viewers as they stand."""
        return [seen for process in self.processes for seen in process.ask("read")]

    def begin(self) -> list[Seen]:
        """Return all viewers, and count anew from now on."""
        return [seen for process in self.processes for seen in process.ask("begin")]

    def close(self) -> None:
        """End them."""
        for process in self.processes:
            process.close()


async def _watch(stream: str, names: list[str], urls: list[str]) -> None:
    viewers = [Viewer(name, stream, url) for name, url in zip(names, urls, strict=True)]
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(viewer.run()) for viewer in viewers]
        while line := await orders.readline():
            answer = [{**viewer.report(), "figures": asdict(viewer.check.figures)} for viewer in viewers]
            if line.strip() == b"begin":
                for viewer in viewers:
                    viewer.check.begin()
            print(json.dumps(answer), flush=True)
        for task in watching:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(_watch(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])))
