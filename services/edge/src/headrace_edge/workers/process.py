"""One worker's process, as its node sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from headrace.clock import Clock
from headrace.service.children import Child, ChildSpec, inherited_environment
from headrace_edge.workers.messages import Report
from headrace_edge.workers.seeing import Told
from headrace_edge.workers.talk import Talk

MODULE: Final = "headrace_edge.workers.worker"


class WorkerProcess(Child):
    """A worker; its standard input is a socket to its node, which ends when the node does.

    Args:
        number: from 1.
        begin: called with the node's end of the socket whenever the process was started; returns the conversation.

    Attributes:
        talk: with the process that runs now.
        told: what that was told of the cluster.
        report: what it told last of itself; `None` before it did.
        silence: how often it was looked at since it said something.
        others: how many viewers it was told that the others have.
    """

    def __init__(
        self, number: int, clock: Clock, begin: Callable[[WorkerProcess, socket.socket], Awaitable[Talk]]
    ) -> None:
        spec = ChildSpec(f"worker-{number}", (sys.executable, "-m", MODULE), inherited_environment())
        super().__init__(spec, clock)
        self.number = number
        self.talk: Talk | None = None
        self.told = Told()
        self.report: Report | None = None
        self.silence = 0
        self.others = 0
        self._begin = begin

    def kill(self) -> None:
        """End it without a word; it is started again."""
        if self._process is not None and self._process.returncode is None:
            # Not by asyncio's `kill`, which asks for the exit status first, and takes that of a worker that just died
            # from whoever waits for it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    async def _spawn(self, stdin: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
        own, others = socket.socketpair()
        try:
            with others:
                process = await super()._spawn(others.fileno())
            self.told, self.report, self.silence, self.others = Told(), None, 0, 0
            self.talk = await self._begin(self, own)
        except BaseException:
            own.close()
            raise
        return process
