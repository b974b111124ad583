"""The workers of a node: started, told what they need to know, asked how they do, started again, ended."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import structlog

from headrace.clock import next_beat
from headrace.errors import ConfigurationError, StartupError
from headrace.http.listener import HttpListener
from headrace.identifiers import NODE_ID_MAX_BYTES
from headrace.relay.hub import Hub
from headrace.service.runtime import Runtime
from headrace_edge.seeing import SeenBy
from headrace_edge.workers.counting import WorkerCounts
from headrace_edge.workers.desk import Desk
from headrace_edge.workers.feeding import Feeding
from headrace_edge.workers.messages import Ask, Hello, Others, Report, View, decode_from_worker
from headrace_edge.workers.ports import SharedPort
from headrace_edge.workers.process import WorkerProcess
from headrace_edge.workers.talk import Talk, talk_over

READY_SECONDS: Final = 30.0
"""How long workers may take until they are ready: several Pythons that start on one busy core take seconds."""

VIEW_SECONDS: Final = 0.2
"""How long changes of the cluster are gathered before workers are told."""

TICK_SECONDS: Final = 0.5
"""How often workers are told how many viewers the others have, and the store who watches."""

SILENT_TICKS: Final = 30
"""How often a worker is looked at without a word from it before it counts as hung: it reports every second. They are
counted, not timed, so that a node that stood still itself does not take its workers for hung."""

UNSENT_MAX_BYTES: Final = 8 * 1024 * 1024
"""Beyond so much that it has not taken a worker is told no changes; it hears of them when it has."""

ASKED_MAX: Final = 10_000
"""Most questions of one worker that are answered at once: a viewer who begins asks one."""

NAME_MAX: Final = NODE_ID_MAX_BYTES - 12
"""Characters of the node's id in the names of its workers, which are node ids themselves."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What workers are.

    Attributes:
        number: how many.
        settings: returns what they are told, once the ports are known.
        secret: proves that they are ours.
        ports: that they listen on.
        door: where they take their streams.
    """

    number: int
    settings: Callable[[], dict[str, Any]]
    secret: str = field(repr=False)
    ports: Sequence[SharedPort]
    door: HttpListener


class Workers:
    """All workers, as one component.

    Args:
        plan: what they are.
        runtime: of the node's process.
        hub: whose demands stand for the workers' viewers.
        seen: the node's view of the cluster, which they are told.
        feeding: serves them.
        desk: answers them.
        counts: shows what they count.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        runtime: Runtime,
        hub: Hub,
        seen: SeenBy,
        feeding: Feeding,
        desk: Desk,
        counts: WorkerCounts,
    ) -> None:
        self._plan = plan
        self._runtime = runtime
        self._hub = hub
        self._seen = seen
        self._feeding = feeding
        self._desk = desk
        self._counts = counts
        self._workers = [WorkerProcess(number, runtime.clock, self._begin) for number in range(1, plan.number + 1)]
        self._tasks: list[asyncio.Task[None]] = []
        self._answering: dict[WorkerProcess, set[asyncio.Task[None]]] = {worker: set() for worker in self._workers}
        self._telling: asyncio.TimerHandle | None = None
        self._stopping = False

    @property
    def problem(self) -> str | None:
        """What is wrong, for `/health/ready`; `None` when all is well. One that died is no problem: others go on."""
        if not any(worker.running for worker in self._workers):
            return "no worker runs"
        told = {
            f"{name}: {words}"
            for worker in self._workers
            if worker.report is not None
            for name, words in worker.report.problems.items()
        }
        return "; ".join(sorted(told)) or None

    async def start(self) -> None:
        """Start all; when one fails, all end again.

        Raises:
            ConfigurationError, StartupError: as the worker that failed said.
        """
        self._seen.watchers.add(self._note_change)
        try:
            async with asyncio.TaskGroup() as group:
                for worker in self._workers:
                    group.create_task(worker.start(READY_SECONDS))
        except BaseExceptionGroup as failures:
            await self.stop()
            told = failures.subgroup((ConfigurationError, StartupError))
            raise (told or failures).exceptions[0] from None
        except BaseException:
            await self.stop()
            raise
        for worker in self._workers:
            self._tasks.append(self._runtime.spawn(f"look-after-{worker.spec.name}", worker.look_after()))
        self._tasks.append(self._runtime.spawn("workers", self._tick()))
        for port in self._plan.ports:
            port.tell()

    async def stop(self) -> None:
        """Have every worker send its viewers elsewhere and end."""
        self._stopping = True
        self._seen.watchers.discard(self._note_change)
        if self._telling is not None:
            self._telling.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in self._workers))
        answering = [task for tasks in self._answering.values() for task in tasks]
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
        for worker in self._workers:
            if worker.talk is not None:
                worker.talk.close()
        await self._feeding.stop()
        await self._desk.close()

    # -- one worker ------------------------------------------------------------------------------------------------

    async def _begin(self, worker: WorkerProcess, own: socket.socket) -> Talk:
        """Say hello to a worker that was just started."""
        if worker.talk is not None:
            self._counts.restarted()
        # Whoever had its number before may still hold sessions; nothing of this one is to be taken for that one's.
        name = f"{self._runtime.node[:NAME_MAX]}.{worker.number}.{secrets.token_hex(4)}"
        talk = await talk_over(own, partial(self._hear, worker, name), partial(self._ended, worker, name))
        door = self._plan.door
        url = f"ws://{door.host}:{door.bound_port}/relay"
        talk.say(Hello(self._plan.settings(), self._runtime.node, name, url, self._plan.secret))
        talk.say(worker.told.change(self._seen.nodes, self._seen.streams) or View())
        return talk

    def _hear(self, worker: WorkerProcess, name: str, body: bytes) -> None:
        message = decode_from_worker(body)
        worker.silence = 0
        if isinstance(message, Report):
            worker.report = message
            self._counts.take(f"{worker.number}", message.families)
            return
        tasks = self._answering[worker]
        if len(tasks) >= ASKED_MAX:
            raise ValueError("too many questions")
        assert worker.talk is not None
        task = asyncio.create_task(self._answer(worker.talk, name, message), name=f"answer-{worker.spec.name}")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _answer(self, talk: Talk, name: str, ask: Ask) -> None:
        talk.say(await self._desk.answer(name, ask))

    def _ended(self, worker: WorkerProcess, name: str) -> None:
        """The process is gone, or what it said made no sense."""
        self._counts.ended(f"{worker.number}")
        self._desk.forget(name)
        worker.report = None
        if not self._stopping:
            worker.kill()

    # -- all of them -----------------------------------------------------------------------------------------------

    def _note_change(self) -> None:
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(VIEW_SECONDS, self._tell_views)

    def _tell_views(self) -> None:
        self._telling = None
        for worker in self._workers:
            if worker.talk is None or not worker.talk.is_open:
                continue
            if worker.talk.unsent_bytes > UNSENT_MAX_BYTES:
                self._note_change()
                continue
            view = worker.told.change(self._seen.nodes, self._seen.streams)
            if view is not None:
                worker.talk.say(view)

    async def _tick(self) -> None:
        while True:
            await next_beat(TICK_SECONDS)
            reports = {worker: worker.report for worker in self._workers if worker.report is not None}
            self._hub.borne = sum(report.demands for report in reports.values()) - self._feeding.subscriptions
            viewers = sum(report.viewers for report in reports.values())
            for worker in self._workers:
                self._look_at(worker, viewers - (reports[worker].viewers if worker in reports else 0))
            await self._desk.tell()

    def _look_at(self, worker: WorkerProcess, others: int) -> None:
        if not worker.running or worker.talk is None:
            return
        if worker.others != others:
            worker.others = others
            worker.talk.say(Others(others))
        worker.silence += 1
        if worker.silence >= SILENT_TICKS:
            log.error("worker_hangs", process=worker.spec.name, seconds=SILENT_TICKS * TICK_SECONDS)
            worker.kill()
