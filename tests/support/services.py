"""Real service processes for tests: each its own Python, found through a real store, on free loopback ports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_SECONDS = 40.0
"""Longest wait for a service to listen: a busy machine imports libav in seconds."""

STOP_SECONDS = 15.0
"""Longest wait for a service to end by itself after SIGTERM."""

MODULES = {
    "ingress": "headrace_ingress.app",
    "intermediate": "headrace_intermediate.app",
    "edge": "headrace_edge.app",
    "control-api": "headrace_control_api.app",
}


@dataclass
class Service:
    """One service process.

    Attributes:
        role: which program.
        node: its node id.
        settings: environment by setting, for example `{"registry.url": "redis://…"}`.
        host: where it is asked, which is where its settings make it listen.
        prefix: what the command begins with, for example a program that enters a namespace.
    """

    role: str
    node: str
    settings: dict[str, str]
    host: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _log: Path | None = field(default=None, repr=False)

    def start(self) -> Service:
        """Start it; `addresses` waits until it listens."""
        descriptor, name = tempfile.mkstemp(prefix=f"headrace-{self.node}-", suffix=".log")
        self._log = Path(name)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
        for setting, value in {
            "node.id": self.node,
            "log.format": "json",
            "ingress.rtmp_port": "0",
            **self.settings,
        }.items():
            environment["HEADRACE_" + setting.upper().replace(".", "__")] = value
        command = [*self.prefix, *self.command()]
        self._process = subprocess.Popen(command, env=environment, stderr=descriptor, stdout=descriptor)
        os.close(descriptor)
        return self

    def command(self) -> list[str]:
        """Return the command that runs it."""
        return [sys.executable, "-c", f"from {MODULES[self.role]} import main; main()"]

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All it has written so far."""
        return self._log.read_text(errors="replace") if self._log else ""

    def events(self, *events: str) -> list[dict[str, Any]]:
        """Return the log lines of some events, parsed."""
        lines = (json.loads(line) for line in self.log.splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("event") in events]

    def port(self, number: int = 0) -> int:
        """Return the port of its `number`th listener, in the order they were started."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            listening = self.events("listening")
            if len(listening) > number:
                match = re.search(r":(\d+)", str(listening[number].get("address") or listening[number]))
                assert match, listening[number]
                return int(match[1])
            assert self._process is not None
            assert self._process.poll() is None, f"{self.node} ended with {self._process.returncode}:\n{self.log}"
            time.sleep(0.05)
        raise AssertionError(f"{self.node} does not listen after {START_SECONDS:.0f} s:\n{self.log}")

    def port_of(self, name: str) -> int:
        """Return the port of the listener of that name, once it is listened on."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for line in self.events("listening"):
                if line["name"] == name:
                    return int(str(line["address"]).rpartition(":")[2])
            assert self.is_running, f"{self.node} ended:\n{self.log}"
            time.sleep(0.05)
        raise AssertionError(f"{self.node} does not listen as {name} after {START_SECONDS:.0f} s:\n{self.log}")

    def get(self, path: str, number: int = 0) -> Any:
        """GET `path` from one of its listeners; JSON is parsed, anything else is text."""
        request = urllib.request.Request(f"http://{self.host}:{self.port(number)}{path}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read().decode()
            return json.loads(body) if "json" in answer.headers.get("Content-Type", "") else body

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int:
        """Stop it in good order and return its exit status."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        if process.poll() is None:
            process.terminate()
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{self.node} did not stop within {STOP_SECONDS:.0f} s:\n{self.log}") from None
        finally:
            if self._log and not os.environ.get("KEEP_LOGS"):
                self._log.unlink(missing_ok=True)

    def kill(self) -> None:
        """Kill it without a word."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@contextmanager
def running(*services: Service) -> Iterator[tuple[Service, ...]]:
    """Run services for a `with` block and stop them in reverse, whatever happens."""
    started: list[Service] = []
    try:
        for service in services:
            started.append(service.start())
        for service in started:
            service.port()
        yield services
    finally:
        errors = []
        for service in reversed(started):
            try:
                service.stop()
            except AssertionError as error:
                errors.append(str(error))
        assert not errors, "\n".join(errors)


def chain(registry_url: str, sources: dict[str, str], layers: int = 2, **settings: str) -> list[Service]:
    """Return ingress, `layers` intermediates in a chain, and edge, not yet started, all on free ports."""
    common = {"registry.url": registry_url, "relay.secret": "a secret of the tests", **settings}
    ingress = Service("ingress", "ingress-1", {**common, "ingress.port": "0", "ingress.sources": json.dumps(sources)})
    intermediates = [
        Service("intermediate", f"intermediate-{n}", {**common, "intermediate.port": "0", "node.layer": str(n)})
        for n in range(1, layers + 1)
    ]
    edge = Service("edge", "edge-1", {**common, "edge.port": "0", "edge.fmp4_port": "0"})
    return [ingress, *intermediates, edge]
