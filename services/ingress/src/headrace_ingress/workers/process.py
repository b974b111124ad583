"""One worker process as ingress sees it: started, talked to, killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from headrace_ingress.workers.messages import SAID_BY_WORKERS, Beat, Frame, FrameReader, MessageError

PROGRAM: Final = "headrace_ingress.workers.worker"

RECEIVE_BYTES: Final = 256 * 1024
"""Most that is taken from a worker in one turn of the loop."""

ORDERS_MAX: Final = 10_000
"""Most orders that wait to be sent: a worker that takes none hangs, and is seen to long before."""

REPORT_MAX_BYTES: Final = 64 * 1024
"""How much is read of a crash's last words: what a pipe holds."""

TRACE_PLACES: Final = 6
"""How many callers of where it crashed are logged."""

_CURRENT = re.compile(r"^Current thread 0x([0-9a-f]+).*\n((?:  .*\n)*)", re.MULTILINE)
_PLACE = re.compile(r'^  File "(?:.*/)?([^"/]+)", line (\d+) in (.+)$', re.MULTILINE)
_SECRETS = "HEADRACE_"
"""What names of our settings begin with in the environment; some hold credentials, and no worker reads any."""


@dataclass(frozen=True, slots=True)
class Crash:
    """What a process said at its end; both are empty when it could not.

    Attributes:
        thread: which one crashed, as `threading.get_ident` has it.
        trace: where it was.
    """

    thread: int = 0
    trace: str = ""


class WorkerProcess:
    """A process from `run` to its end.

    Args:
        name: in logs, metrics and lists of processes.
        setup: the first frame it is sent.
        on_said: takes its frames.
        is_own: whether it has one feed only, which is not to be trusted with others.

    Attributes:
        pid: 0 before it runs.
        beat: its newest sign of life, kept by whoever owns it.
        silent_ticks: how often it was looked at since it said anything.
        reason: why it was killed by us, empty while it was not.
    """

    def __init__(
        self, name: str, setup: bytes, on_said: Callable[[WorkerProcess, list[Frame]], None], *, is_own: bool
    ) -> None:
        self.name = name
        self.is_own = is_own
        self.pid = 0
        self.beat: Beat | None = None
        self.silent_ticks = 0
        self.reason = ""
        self._on_said = on_said
        self._frames = FrameReader(SAID_BY_WORKERS)
        self._loop = asyncio.get_running_loop()
        self._link, self._far = socket.socketpair()
        self._link.setblocking(False)
        self._room = memoryview(bytearray(RECEIVE_BYTES))
        self._is_read = self._is_watched = False
        self._orders: deque[tuple[bytes, int]] = deque()
        self._process: asyncio.subprocess.Process | None = None
        self.order(setup)

    async def run(self) -> tuple[int, Crash]:
        """Run the process to its end; return its exit code, negative for a signal, and what it said of a crash.

        Raises:
            OSError: when it cannot be started.
        """
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)  # what does not fit is left out: a process that crashes must not wait
        try:
            await self._start(writing)
            assert self._process is not None
            code = await self._process.wait()
            self._drain()
            return code, read_crash(reading)
        finally:
            self._close()
            os.close(reading)
            os.close(writing)

    def order(self, frame: bytes, descriptor: int = -1) -> None:
        """Send an order, and a descriptor with it, which is closed here."""
        self._orders.append((frame, descriptor))
        if len(self._orders) > ORDERS_MAX:
            self.kill("hang")
        elif not self._is_watched:
            self._send()

    def kill(self, reason: str) -> None:
        """End it at once, with all that it started."""
        self.reason = self.reason or reason
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    # -- inside --------------------------------------------------------------------------------------------------

    async def _start(self, report: int) -> None:
        passed = self._far.fileno(), report
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
        # A session of its own: Ctrl-C reaches ingress alone, and what the worker starts can be killed with it.
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", PROGRAM, *map(str, passed), self.name),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=passed,
            env=environment,
            start_new_session=True,
        )
        self._far.close()
        self.pid = self._process.pid
        if self.reason:
            self.kill(self.reason)
        self._is_read = True
        self._loop.add_reader(self._link, self._receive)

    def _receive(self) -> bool:
        """Take what came; return whether anything did."""
        try:
            count = self._link.recv_into(self._room)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            count = 0
        if not count:
            self._stop_reading()
            self.kill("")  # without its socket it is of no use
            return False
        self.silent_ticks = 0
        try:
            self._on_said(self, self._frames.take(self._room[:count]))
        except MessageError:
            self._stop_reading()
            self.kill("protocol")
        return self._is_read

    def _drain(self) -> None:
        """Take what it said before it ended."""
        while self._is_read and self._receive():
            pass

    def _send(self) -> None:
        while self._orders:
            data, descriptor = self._orders[0]
            try:
                sent = self._send_one(data, descriptor)
            except (BlockingIOError, InterruptedError):
                if not self._is_watched:
                    self._is_watched = True
                    self._loop.add_writer(self._link, self._send)
                return
            except OSError:
                self._forget_orders()
                break
            if descriptor >= 0:
                os.close(descriptor)
            if sent < len(data):
                self._orders[0] = data[sent:], -1
            else:
                self._orders.popleft()
        if self._is_watched:
            self._is_watched = False
            self._loop.remove_writer(self._link)

    def _send_one(self, data: bytes, descriptor: int) -> int:
        if descriptor < 0:
            return self._link.send(data)
        return socket.send_fds(self._link, [data], [descriptor])

    def _forget_orders(self) -> None:
        while self._orders:
            _, descriptor = self._orders.popleft()
            if descriptor >= 0:
                os.close(descriptor)

    def _stop_reading(self) -> None:
        if self._is_read:
            self._is_read = False
            self._loop.remove_reader(self._link)

    def _close(self) -> None:
        self.kill("")  # what it started may have outlived it
        self.pid = 0
        self._stop_reading()
        self._forget_orders()
        self._send()
        self._far.close()
        self._link.close()


def read_crash(report: int) -> Crash:
    """Return what the interpreter wrote into a pipe when a signal ended it (faulthandler's format)."""
    try:
        return parse_crash(os.read(report, REPORT_MAX_BYTES).decode(errors="replace"))
    except BlockingIOError:
        return Crash()


def parse_crash(text: str) -> Crash:
    """The same of its text."""
    found = _CURRENT.search(text)
    if found is None:
        return Crash()
    places = [f"{name}:{line} {function}" for name, line, function in _PLACE.findall(found[2])]
    return Crash(int(found[1], 16), ", ".join(places[:TRACE_PLACES]))
