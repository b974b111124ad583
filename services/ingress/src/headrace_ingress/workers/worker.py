"""The program of a worker: reads feeds in threads, and tells ingress what they tell.

`python -m headrace_ingress.workers.worker LINK REPORT NAME`: a socket to ingress, a pipe for the last words of a crash,
and a name for lists of processes. What is to be read comes by the socket, so no credentials stand in arguments or
environment.

Theory of operation
-------------------
The main thread takes orders and tells twice a second that it is alive. Each feed has its reader's thread, which writes
to the socket by itself: what it tells is copied once and wakes nobody here. Where ingress does not take it, all readers
wait, and their sources feel it. A worker has no work of its own: when ingress is gone, however that ended, it ends at
once, and whatever it started with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import structlog

from headrace.clock import SystemClock
from headrace.telemetry.logging import configure_logging
from headrace_ingress.arriving import Arrivals
from headrace_ingress.events import Closed, Event, Numbers
from headrace_ingress.jobs import make_source
from headrace_ingress.reader import Reader
from headrace_ingress.workers.messages import (
    ORDERS,
    Beat,
    Cost,
    Frame,
    FrameReader,
    Kind,
    MessageError,
    Opened,
    Setup,
    read_order,
    write_beat,
    write_begun,
    write_event,
)

BEAT_SECONDS: Final = 0.5
"""How often ingress is told that the worker is alive."""

RECEIVE_BYTES: Final = 64 * 1024
DESCRIPTORS_MAX: Final = 16
"""Most that is taken from the socket at once: bytes, and descriptors with them; the kernel ends a read at each."""

PIECES_MAX: Final = 512
"""Most pieces in one write; the kernel takes 1,024."""

_PR_SET_PDEATHSIG: Final = 1

log = structlog.get_logger(__name__)


class Uplink:
    """The way to ingress, for all threads."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._lock = threading.Lock()

    def send(self, pieces: Sequence[bytes]) -> None:
        """Send whole frames; waits while ingress does not take them."""
        with self._lock:
            try:
                for begin in range(0, len(pieces), PIECES_MAX):
                    some = pieces[begin : begin + PIECES_MAX]
                    sent = self._link.sendmsg(some)
                    if sent < sum(map(len, some)):
                        self._link.sendall(b"".join(some)[sent:])
            except OSError:
                end()


@dataclass(frozen=True, slots=True)
class _Attempt:
    reader: Reader
    arrivals: Arrivals
    stopping: threading.Event


class Worker:
    """Obeys orders until ingress is gone."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._uplink = Uplink(link)
        self._frames = FrameReader(ORDERS)
        self._descriptors: deque[int] = deque()
        self._clock = SystemClock()
        self._setup: Setup | None = None
        self._attempts: dict[int, _Attempt] = {}

    def run(self) -> None:
        """Obey until the other side is gone."""
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        next_beat = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            if now >= next_beat:
                self._uplink.send([write_beat(self._beat(now))])
                next_beat = now + BEAT_SECONDS
            if poll.poll((next_beat - now) * 1000) and not self._receive():
                return

    def _receive(self) -> bool:
        """Take what came; return False at the end."""
        data, descriptors, _, _ = socket.recv_fds(self._link, RECEIVE_BYTES, DESCRIPTORS_MAX)
        self._descriptors += descriptors
        for frame in self._frames.take(data):
            self._obey(frame)
        return bool(data)

    def _obey(self, frame: Frame) -> None:
        order = read_order(frame)
        if isinstance(order, Setup):
            self._setup = order
            levels: Any = order.log_level, order.log_format
            configure_logging(*levels)
        elif isinstance(order, Opened):
            self._open(frame.attempt, order)
        elif frame.kind is Kind.FILE:
            self._add_file(frame.attempt, str(order))
        elif (attempt := self._attempts.get(frame.attempt)) is not None:
            self._instruct(attempt, frame.kind, order)

    def _instruct(self, attempt: _Attempt, kind: Kind, order: object) -> None:
        if isinstance(order, Numbers):
            attempt.reader.go_on(order)
        elif kind is Kind.HOLD:
            attempt.reader.hold()
        elif kind is Kind.STOP:
            attempt.stopping.set()
        else:
            attempt.arrivals.end()

    def _open(self, number: int, order: Opened) -> None:
        assert self._setup is not None, "it is the first order"
        options = self._setup.options
        arrivals, stopping, put = Arrivals(), threading.Event(), self._put(number)
        try:
            source = make_source(order.job, options, arrivals, self._clock, stopping)
            how = (order.numbers, options.packager, self._clock, put, stopping)
            reader = Reader(order.job.stream, source, *how, is_held=order.job.is_held)
            self._attempts[number] = _Attempt(reader, arrivals, stopping)
            reader.start()
        except Exception:
            # No thread to be had, or a fault of ours: it costs this attempt only.
            log.exception("reader_not_started", stream=order.job.stream)
            put(Closed("a fault in this program, see its log", False, order.numbers, "fault"))
            return
        self._uplink.send([write_begun(number, reader.thread)])

    def _put(self, number: int) -> Callable[[Event], None]:
        def put(event: Event) -> None:
            if isinstance(event, Closed):
                self._attempts.pop(number, None)
            self._uplink.send(write_event(number, event))

        return put

    def _add_file(self, number: int, format: str) -> None:
        descriptor = self._descriptors.popleft()
        attempt = self._attempts.get(number)
        if attempt is None:
            os.close(descriptor)
        else:
            attempt.arrivals.add(format, descriptor)

    def _beat(self, now: float) -> Beat:
        costs = {
            number: Cost(attempt.reader.cpu_seconds, attempt.reader.busy_seconds(now))
            for number, attempt in list(self._attempts.items())
        }
        return Beat(memory_bytes(), time.process_time(), costs)


def memory_bytes() -> int:
    """Return the resident memory of this process; where that cannot be told, the most it ever had."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(pages) * resource.getpagesize()


def end() -> NoReturn:
    """End this process now, and what it started: nobody is left to read for."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def die_with_parent() -> None:
    """Have the system kill this process when its parent is gone: one that is stopped does not see its socket close."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def main() -> None:
    """Run until ingress is gone."""
    link, report = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    # Ctrl-C and a service manager's SIGTERM are for ingress, which ends its workers in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    die_with_parent()
    faulthandler.enable(report)
    with contextlib.suppress(ConnectionError, MessageError):
        Worker(link).run()
    end()


if __name__ == "__main__":
    main()
