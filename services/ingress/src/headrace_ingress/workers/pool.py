"""The workers of an ingress: which of them reads which feed, and what becomes of one that dies, hangs or grows.

Theory of operation
-------------------
A feed's attempt goes to the worker with the fewest; there are `ingress.workers` of them at most, started when they are
needed, the first at once. What a worker tells is delivered as if a thread of this process had told it. When a worker
ends, each of its attempts is closed where its numbers stood, and the feeds come back by themselves, by then in another
process. A feed that ended its worker (`headrace_ingress.workers.suspects`) has each later attempt in a worker of its
own, which ends with the attempt.
"""

from __future__ import annotations

import asyncio
import random
import signal
from dataclasses import dataclass
from typing import Final

import structlog

from headrace.identifiers import StreamName
from headrace.service.runtime import Runtime
from headrace.transport.backoff import Backoff
from headrace_ingress.events import GUILTY, LOST, Event, Numbers
from headrace_ingress.jobs import Job, ReaderOptions
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.pull import PLAYLIST_STALL_SECONDS
from headrace_ingress.reading import Reading
from headrace_ingress.workers.attempt import WorkerReading, append
from headrace_ingress.workers.messages import (
    Beat,
    Begun,
    Frame,
    Setup,
    read_said,
    write_open,
    write_setup,
)
from headrace_ingress.workers.process import Crash, WorkerProcess
from headrace_ingress.workers.suspects import Suspects

TICK_SECONDS: Final = 0.5
"""How often workers are looked at. Silence is counted in looks and not in time: who stood still itself has heard
nothing, and that says nothing of others."""

HANG_TICKS: Final = 8
"""So many looks without a word, and a worker hangs. It speaks twice a second from a thread of its own; a busy machine
may keep that waiting for a second or two."""

START_TICKS: Final = 60
"""The same before its first word: it imports libav, which takes half a second, and many on a busy machine."""

STUCK_EXTRA_SECONDS: Final = 60.0
"""How much longer than the longest stall a source may keep its reader before it counts as stuck in a library: where
media begin anywhere, opening them waits for the first keyframe, for a minute."""

OWN_MAX: Final = 8
"""Most workers with one feed only, each of 60 MB; feeds that are kept apart beyond it share these."""

STOP_SECONDS: Final = 1.0
"""How long a killed worker may take to be gone."""

CANNOT_START: Final = "no process can be started to read feeds"
"""What the readiness says while none can."""

ENDED: Final = "the process that read this feed ended"
"""What viewers are told."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkersOptions:
    """The settings groups `ingress` and `log`.

    Attributes:
        count: most workers that feeds share.
        memory_bytes: resident memory beyond which a worker is started again.
        feed_cpu: CPU seconds per second beyond which a feed is kept apart from others.
        log_level, log_format: as in this process.
    """

    count: int = 2
    memory_bytes: int = 2 * 1024**3
    feed_cpu: float = 0.7
    log_level: str = "info"
    log_format: str = "auto"


class Workers:
    """Reads feeds in worker processes, from `start` to `stop`."""

    def __init__(
        self, runtime: Runtime, metrics: IngressMetrics, options: ReaderOptions, own: WorkersOptions = WorkersOptions()
    ) -> None:
        self._runtime = runtime
        self._metrics = metrics
        self._options = own
        self._setup = write_setup(Setup(options, own.log_level, own.log_format))
        self._stuck_seconds = max(options.stall_seconds, PLAYLIST_STALL_SECONDS) + STUCK_EXTRA_SECONDS
        self._workers: dict[WorkerProcess, dict[int, WorkerReading]] = {}
        self._tasks: dict[WorkerProcess, asyncio.Task[None]] = {}
        self._suspects = Suspects()
        self._backoff = Backoff(0.5, 10.0)
        self._not_before = 0.0
        self._numbered = 0
        self._is_stopping = False
        self._tick: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the first worker; it is not waited for."""
        self._spawn(is_own=False)
        self._tick = self._runtime.spawn("workers", self._look())
        self._runtime.health.add("workers", lambda: self.problem)

    async def stop(self) -> None:
        """End all; what they read has ended before."""
        self._is_stopping = True
        if self._tick is not None:
            self._tick.cancel()
        for worker in self._workers:
            worker.kill("stopped")
        tasks = {*self._tasks.values(), *([self._tick] if self._tick is not None else [])}
        await asyncio.wait(tasks, timeout=STOP_SECONDS)

    @property
    def problem(self) -> str | None:
        """What is wrong, for `/health/ready`; `None` when all is well."""
        return CANNOT_START if self._now() < self._not_before else None

    def make(self, job: Job) -> Reading:
        """See `Readers`."""
        return WorkerReading(self, job)

    # -- for attempts ---------------------------------------------------------------------------------------------

    def begin(self, reading: WorkerReading, numbers: Numbers) -> tuple[WorkerProcess, int] | None:
        """Have an attempt read; return by whom and its number there, `None` when no worker can be started."""
        worker = self._place(reading.job.stream)
        if worker is None:
            return None
        self._numbered = self._numbered % 0xFFFFFFFF + 1
        self._workers[worker][self._numbered] = reading
        self._count(worker)
        worker.order(write_open(self._numbered, reading.job, numbers))
        return worker, self._numbered

    def over(self, worker: WorkerProcess, number: int) -> None:
        """An attempt has said its last word."""
        readings = self._workers.get(worker)
        if readings is not None:
            readings.pop(number, None)
            self._count(worker)
            if worker.is_own and not readings:
                worker.kill("done")

    # -- which worker ---------------------------------------------------------------------------------------------

    def _place(self, stream: StreamName) -> WorkerProcess | None:
        is_own = self._suspects.is_guilty(stream, self._now())
        there = [worker for worker in self._workers if worker.is_own is is_own and not worker.reason]
        most = OWN_MAX if is_own else self._options.count
        may_start = not self._is_stopping and self._now() >= self._not_before
        if may_start and len(there) < most and all(self._workers[worker] for worker in there):
            return self._spawn(is_own=is_own)
        return min(there, key=lambda worker: len(self._workers[worker]), default=None)

    def _spawn(self, *, is_own: bool) -> WorkerProcess:
        kind = "own" if is_own else "shared"
        taken = {worker.name for worker in self._workers}
        name = next(name for number in range(1, len(taken) + 2) if (name := f"{kind}-{number}") not in taken)
        worker = WorkerProcess(name, self._setup, self._hear, is_own=is_own)
        self._workers[worker] = {}
        self._tasks[worker] = self._runtime.spawn(f"worker {name}", self._run(worker))
        return worker

    async def _run(self, worker: WorkerProcess) -> None:
        began = self._now()
        try:
            code, crash = await worker.run()
        except OSError as error:
            log.error("worker_not_started", worker=worker.name, reason=str(error))
            code, crash = 0, Crash()
        readings = self._workers.pop(worker)
        del self._tasks[worker]
        self._metrics.forget_worker(worker.name)
        self._ended(worker, code, crash, list(readings.values()), self._now() - began)

    def _ended(
        self, worker: WorkerProcess, code: int, crash: Crash, readings: list[WorkerReading], lived: float
    ) -> None:
        if self._is_stopping or worker.reason == "done":
            return
        now, reason = self._now(), worker.reason or ("crash" if worker.beat is not None else "start")
        culprit = next((one for one in readings if one.is_stuck or (crash.thread and one.thread == crash.thread)), None)
        feeds = {one.job.stream for one in readings}
        log.error(
            "worker_ended",
            worker=worker.name,
            reason=reason,
            exit=describe(code),
            feeds=len(feeds),
            lived_seconds=round(lived, 1),
            **({"stream": culprit.job.stream} if culprit else {}),
            **({"trace": crash.trace} if crash.trace else {}),
        )
        self._metrics.worker_ends.labels(reason).inc()
        if worker.beat is None:
            self._not_before = now + self._backoff.next(random.random())
        else:
            self._backoff.reset()
            self._blame(feeds, culprit, now)
        for reading in readings:
            guilty = self._suspects.is_guilty(reading.job.stream, now)
            reading.lost(ENDED, GUILTY if guilty else LOST)
        if readings and not worker.is_own and worker.beat is not None:
            self._spawn(is_own=False)  # ready when its feeds come back

    def _blame(self, feeds: set[StreamName], culprit: WorkerReading | None, now: float) -> None:
        before = {feed for feed in feeds if self._suspects.is_guilty(feed, now)}
        self._suspects.blame(feeds, culprit.job.stream if culprit else None, now)
        for feed in sorted(feeds - before):
            if self._suspects.is_guilty(feed, now):
                log.warning("feed_kept_apart", stream=feed, reason="it ended the process that read it")

    # -- what they say --------------------------------------------------------------------------------------------

    def _hear(self, worker: WorkerProcess, frames: list[Frame]) -> None:
        """Take what a worker said.

        Raises:
            MessageError: when that is nothing a worker says.
        """
        readings, events = self._workers[worker], dict[int, list[Event]]()
        for frame in frames:
            said, reading = read_said(frame), readings.get(frame.attempt)
            if isinstance(said, Beat):
                self._take_beat(worker, said)
            elif reading is None:
                continue
            elif isinstance(said, Begun):
                reading.thread = said.thread
            else:
                reading.check(said)
                append(events.setdefault(frame.attempt, []), said)
        for number, told in events.items():
            reading = readings[number]
            try:
                reading.take(told)
            except Exception:
                # A fault of ours with one feed; the others' events are in the same bytes.
                log.exception("events_not_taken", stream=reading.job.stream)

    def _take_beat(self, worker: WorkerProcess, beat: Beat) -> None:
        before, worker.beat = worker.beat, beat
        self._metrics.worker_memory.labels(worker.name).set(beat.memory_bytes)
        spent = beat.cpu_seconds - (before.cpu_seconds if before is not None else 0.0)
        self._metrics.worker_cpu_seconds.labels(worker.name).inc(max(0.0, spent))
        readings, now = self._workers[worker], self._now()
        for number, cost in beat.costs.items():
            if (reading := readings.get(number)) is None:
                continue
            reading.told_cpu_seconds = cost.cpu_seconds
            load = reading.load.measure(cost.cpu_seconds, now)
            if load > self._options.feed_cpu and len(readings) > 1 and not worker.is_own:
                self._suspects.convict(reading.job.stream, now)
                log.warning("feed_kept_apart", stream=reading.job.stream, reason=f"it takes {load:.2f} of a core")
                reading.move()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for worker in tuple(self._workers):
                self._look_at(worker)

    def _look_at(self, worker: WorkerProcess) -> None:
        worker.silent_ticks += 1
        beat = worker.beat
        if worker.silent_ticks > (START_TICKS if beat is None else HANG_TICKS):
            worker.kill("start" if beat is None else "hang")
        if beat is None:
            return
        if beat.memory_bytes > self._options.memory_bytes:
            worker.kill("memory")
        for number, cost in beat.costs.items():
            reading = self._workers[worker].get(number)
            if reading is not None and cost.busy_seconds > self._stuck_seconds:
                reading.is_stuck = True
                worker.kill("stuck")

    def _count(self, worker: WorkerProcess) -> None:
        self._metrics.worker_feeds.labels(worker.name).set(len(self._workers[worker]))

    def _now(self) -> float:
        return self._runtime.clock.monotonic()


def describe(code: int) -> str:
    """Return an exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
