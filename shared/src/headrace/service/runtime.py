"""The life of a service: settings in, components started in order and stopped in reverse, an exit code out."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import structlog
from prometheus_client import CollectorRegistry, disable_created_metrics

from headrace.clock import Clock, SystemClock
from headrace.errors import EXIT_CONFIGURATION, EXIT_FAILURE, EXIT_OK, ConfigurationError, StartupError, tell
from headrace.identifiers import NODE_ID_MAX_BYTES, NodeId
from headrace.service.certificate import Certificate
from headrace.service.command_line import read_command_line
from headrace.service.groups import LAYERS, Settings
from headrace.telemetry.health import Health
from headrace.telemetry.logging import configure_logging
from headrace.telemetry.process import measure_loop_lag, process_metrics
from headrace.transport.turns import make_loop
from headrace.version import SOFTWARE

STOP_SECONDS = 10.0
"""How long all components together may take to stop; after that the process ends without them."""

log = structlog.get_logger(__name__)


class Component(Protocol):
    """A part of a service that lives from `start` to `stop`."""

    async def start(self) -> None:
        """Begin; when it raises, or is cancelled because a signal came meanwhile, nothing of it is left behind.

        Raises:
            StartupError: when the machine or the network does not allow it.
        """
        ...

    async def stop(self) -> None:
        """End, waiting for its own tasks; called once, and only after `start` returned."""
        ...


@dataclass
class Runtime:
    """What a process hands to its components.

    Attributes:
        node: the name of this node.
        role: ingress, intermediate, edge, control-api or standalone.
        clock: where the time is read.
        metrics: where components register their metrics.
        health: where components add their checks.
        failure: what ended a task that `spawn` runs, `None` while all is well.
        tls: what listeners show their certificate with; `None` without one.
        reloads: called on SIGHUP, to read files again; without any, SIGHUP ends the program as it always does.
    """

    node: NodeId
    role: str
    clock: Clock = field(default_factory=SystemClock)
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)
    health: Health = field(default_factory=Health)
    failure: BaseException | None = None
    tls: ssl.SSLContext | None = None
    reloads: list[Callable[[], None]] = field(default_factory=list)
    _failed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` as a task whose uncaught exception ends the program with exit code 1.

        The caller owns the task: it cancels and awaits it in its `stop`.
        """
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._notice)
        return task

    def _notice(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("component_failed", name=task.get_name(), exc_info=error)
        self.failure = self.failure or error
        self._failed.set()

    async def wait_failed(self) -> None:
        """Return as soon as a task of `spawn` has failed."""
        await self._failed.wait()


Build = Callable[[Settings, Runtime], Sequence[Component]]


def make_runtime(settings: Settings, role: str) -> Runtime:
    """Return the runtime of this process, its own metrics registered."""
    return Runtime(node_name(settings, role), role)


def node_name(settings: Settings, role: str) -> NodeId:
    """Return the node's configured name, or one made of its role and the machine's name."""
    if settings.node.id:
        return NodeId(settings.node.id)
    host = re.sub(r"[^A-Za-z0-9_.-]+", "-", socket.gethostname()).strip("-.") or "host"
    return NodeId(f"{role}-{host}"[:NODE_ID_MAX_BYTES])


def run_program(program: str, role: str, build: Build) -> NoReturn:
    """Run a service from its command line to its exit code: 0, 1 (run time) or 2 (configuration)."""
    try:
        settings = read_command_line(program, role, os.environ, sys.argv[1:])
    except ConfigurationError as error:
        tell(program, error)
        sys.exit(EXIT_CONFIGURATION)
    sys.exit(run(program, role, settings, build))


def run(program: str, role: str, settings: Settings, build: Build, on_ready: Callable[[], None] = lambda: None) -> int:
    """Run components until a signal or a failure ends them; return the exit code.

    `on_ready` is called once everything has started. A second signal, or components that do not stop within
    `STOP_SECONDS`, end the process at once.
    """
    configure_logging(settings.log.level, settings.log.format)
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            return runner.run(_live(role, settings, build, on_ready))
    except ConfigurationError as error:
        tell(program, error)
        return EXIT_CONFIGURATION
    except StartupError as error:
        tell(program, error)
        return EXIT_FAILURE


async def _live(role: str, settings: Settings, build: Build, on_ready: Callable[[], None]) -> int:
    runtime = make_runtime(settings, role)
    gauges = process_metrics(runtime.metrics, runtime.node, role, SOFTWARE)
    certificate = _use_certificate(settings, runtime)
    components = build(settings, runtime)
    if role in LAYERS and settings.registry.url == "memory:":
        log.warning("alone", reason="registry.url is memory: no other process can find this node")
    stopping = asyncio.Event()
    _obey_signals(stopping, runtime.reloads)
    lag = runtime.spawn("loop-lag", measure_loop_lag(gauges.loop_lag_seconds))
    watch = None if certificate is None else runtime.spawn("certificate", certificate.watch())
    started: list[Component] = []
    try:
        if await _start(components, started, stopping):
            log.info("started", node=runtime.node, role=role, software=SOFTWARE)
            on_ready()
            await _wait_for_end(stopping, runtime)
        log.info("stopping", node=runtime.node)
    finally:
        deadline = asyncio.get_running_loop().call_later(STOP_SECONDS, _give_up)
        for component in reversed(started):
            await _stop(component)
        deadline.cancel()
        lag.cancel()
        if watch is not None:
            watch.cancel()
    log.info("stopped", node=runtime.node)
    return EXIT_FAILURE if runtime.failure else EXIT_OK


def _use_certificate(settings: Settings, runtime: Runtime) -> Certificate | None:
    """Let the process's listeners show the configured certificate.

    Raises:
        ConfigurationError: when it cannot be used.
    """
    group = settings.tls
    if group.certificate is None or group.key is None:
        return None
    certificate = Certificate(group.certificate, group.key, runtime.metrics)
    runtime.tls = certificate.context
    runtime.reloads.append(certificate.look)
    runtime.health.add("certificate", lambda: certificate.problem)
    return certificate


async def _start(components: Sequence[Component], started: list[Component], stopping: asyncio.Event) -> bool:
    """Start components in order, adding them to `started`; return False when a signal came before all had started."""
    for component in components:
        if not await _start_one(component, stopping):
            return False
        started.append(component)
    return not stopping.is_set()


async def _start_one(component: Component, stopping: asyncio.Event) -> bool:
    """Start a component; return False when a signal came first and it was cancelled."""
    starting = asyncio.create_task(component.start())
    signalled = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, signalled}, return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
    if starting.cancelled():
        return False
    starting.result()
    return True


async def _stop(component: Component) -> None:
    try:
        await component.stop()
    except Exception:
        log.exception("stop_failed", component=type(component).__name__)


async def _wait_for_end(stopping: asyncio.Event, runtime: Runtime) -> None:
    ends = [asyncio.create_task(stopping.wait()), asyncio.create_task(runtime.wait_failed())]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()


def _obey_signals(stopping: asyncio.Event, reloads: Sequence[Callable[[], None]]) -> None:
    def stop() -> None:
        if stopping.is_set():
            _give_up()
        stopping.set()

    def reload() -> None:
        for each in reloads:
            each()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    if reloads:
        loop.add_signal_handler(signal.SIGHUP, reload)


def _give_up() -> NoReturn:
    """End the process now: threads inside libraries cannot be interrupted in any other way."""
    log.warning("stopped_at_once", reason="a second signal, or components that did not stop in time")
    sys.stderr.flush()
    os._exit(EXIT_FAILURE)
