"""A worker tells its node how it goes."""

from __future__ import annotations

import asyncio
from typing import Final

from headrace.clock import next_beat
from headrace.relay.hub import Hub
from headrace.service.runtime import Runtime
from headrace_edge.edge import Edge
from headrace_edge.workers.counting import families_of
from headrace_edge.workers.line import Line
from headrace_edge.workers.messages import Report

REPORT_SECONDS: Final = 1.0
"""How often: what the node shows of its workers is as old as this."""


class Reporter:
    """Reports; a component with `start` and `stop`.

    Args:
        line: to the node.
        edge: whose viewers are counted; it is told of those that other workers have.
        hub: whose demands are.
        runtime: whose checks and metrics are.
    """

    def __init__(self, line: Line, edge: Edge, hub: Hub, runtime: Runtime) -> None:
        self._line = line
        self._edge = edge
        self._hub = hub
        self._runtime = runtime
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to report."""
        self._line.on_others = self._note_others
        self._task = self._runtime.spawn("report", self._report())

    async def stop(self) -> None:
        """Report for the last time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._say()

    async def _report(self) -> None:
        while True:
            self._say()
            await next_beat(REPORT_SECONDS)

    def _say(self) -> None:
        runtime = self._runtime
        viewers, demands = self._edge.viewers, self._hub.demands_total
        self._line.report(Report(viewers, demands, runtime.health.problems(), families_of(runtime.metrics)))

    def _note_others(self, viewers: int) -> None:
        self._edge.elsewhere = viewers
