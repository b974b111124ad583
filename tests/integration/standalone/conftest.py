"""The `headrace` command as a process, on free ports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

READY_SECONDS = 60.0
"""Longest wait for Headrace to be up: a busy machine imports libav and starts five Pythons in seconds."""

FREE_PORTS = {
    f"HEADRACE_{group}__{name}": "0"
    for group, name in [
        ("EDGE", "PORT"),
        ("EDGE", "FMP4_PORT"),
        ("INGRESS", "PORT"),
        ("INGRESS", "RTMP_PORT"),
        ("INTERMEDIATE", "PORT"),
        ("CONTROL_API", "PORT"),
    ]
}


def run_headrace(*arguments: str, timeout: float = 60, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "headrace_standalone.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "COLUMNS": "200", **environ},
        check=False,
    )


class Running:
    """A `headrace up` that runs, with what it has written so far."""

    def __init__(self, arguments: tuple[str, ...], environ: dict[str, str]) -> None:
        self.output = ""
        self.errors = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headrace_standalone.cli", "up", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **FREE_PORTS, "HEADRACE_LOG__FORMAT": "json", **environ},
            start_new_session=True,
        )
        self._threads = [threading.Thread(target=self._read, args=(name,)) for name in ("stdout", "stderr")]
        for thread in self._threads:
            thread.start()

    def _read(self, name: str) -> None:
        pipe = self.process.stdout if name == "stdout" else self.process.stderr
        assert pipe is not None
        for line in pipe:
            if name == "stdout":
                self.output += line
            else:
                self.errors += line

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """Return what `condition` returns as soon as that is true."""
        deadline = time.monotonic() + READY_SECONDS
        while not (result := condition()):
            assert time.monotonic() < deadline, f"{what} did not come:\n{self.output}\n{self.errors}"
            assert self.process.poll() is None, f"it ended before {what}:\n{self.output}\n{self.errors}"
            time.sleep(0.05)
        return result

    def address(self, label: str) -> str:
        """Return the address that is printed beside `label`, without its path."""
        pattern = re.compile(rf"^{label} +(\w+://[^/\s]+)", re.MULTILINE)
        found = self.wait_for(lambda: pattern.search(self.output), label)
        return str(found[1])

    @property
    def api(self) -> str:
        """The API's base URL."""
        return self.address("API")

    @property
    def edge(self) -> str:
        """The edge's base URL."""
        return self.address("all streams")

    def events(self, event: str, **figures: object) -> list[dict[str, Any]]:
        """Return the log lines of an event with these figures."""
        lines = (json.loads(line) for line in self.errors.splitlines() if line.startswith("{"))
        found = [line for line in lines if line["event"] == event]
        return [line for line in found if all(line.get(name) == value for name, value in figures.items())]

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(30)
        finally:
            self._close()

    def kill(self) -> None:
        """End it at once, with whatever it started."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._close()

    def _close(self) -> None:
        for thread in self._threads:
            thread.join(5)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


StartUp = Callable[..., Running]


@pytest.fixture
def up() -> Iterator[StartUp]:
    """Start `headrace up` with arguments and environment; it is ended after the test."""
    started: list[Running] = []

    def start(*arguments: str, **environ: str) -> Running:
        started.append(Running(arguments, environ))
        return started[-1]

    yield start
    for running in started:
        running.kill()


@pytest.fixture
def headrace() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run another command to its end."""
    return run_headrace
