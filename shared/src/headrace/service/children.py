"""One child process: started, listened to, started again when it dies, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from headrace.clock import Clock
from headrace.errors import EXIT_CONFIGURATION, ConfigurationError, StartupError, reason
from headrace.transport.backoff import Backoff

LINE_MAX_BYTES = 1024 * 1024
"""Longest line a child may write: a log line with a deep traceback has a few thousand bytes."""

SAID_MAX_CHARACTERS = 200
"""How much is shown of a line that can be passed on in no other way."""

LAST_WORDS = 20
"""Lines kept of what a child wrote that was no log line: its own account of why it ended."""

END_SECONDS = 6.0
"""How long a child may take to end after SIGTERM before it is killed: less than its parent has itself."""

DRAIN_SECONDS = 1.0
"""How long the last lines of a child that has ended are waited for: something it started may hold its pipe open."""

READY_POLL_SECONDS = 0.02
"""How often a program that does not say when it is ready is asked."""

RESTART_MIN_SECONDS = 0.5
RESTART_MAX_SECONDS = 10.0
"""Waits before a child that died is started again, growing from the first to the second."""

STEADY_SECONDS = 30.0
"""A child that lived this long begins again with the shortest wait when it dies."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What a child is.

    Attributes:
        name: what it is called in log lines, for example `edge-1`.
        command: program and arguments.
        environ: its whole environment.
        ready: asked until it answers true; when absent, the child is ready once it logs `started`.
    """

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    ready: Callable[[], Awaitable[bool]] | None = None


class Child:
    """A child process and whoever looks after it.

    Attributes:
        listening: the addresses it told to listen on, by the listener's name.
        restarts: how often it was started again.
    """

    def __init__(self, spec: ChildSpec, clock: Clock) -> None:
        self.spec = spec
        self.listening: dict[str, str] = {}
        self.restarts = 0
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._backoff = Backoff(RESTART_MIN_SECONDS, RESTART_MAX_SECONDS)

    @property
    def running(self) -> bool:
        """Whether the process is there and had said that it is ready."""
        return self._process is not None and self._process.returncode is None and self._ready.is_set()

    async def start(self, within_seconds: float) -> None:
        """Start the process and wait until it is ready.

        Raises:
            ConfigurationError: when it ends with exit code 2; the text is what it said.
            StartupError: when it ends otherwise, or is not ready in time.
        """
        process = await self._spawn()
        ready = asyncio.create_task(self._wait_ready())
        ended = asyncio.create_task(process.wait())
        try:
            await asyncio.wait({ready, ended}, timeout=within_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()
        if self._ready.is_set():
            return
        if process.returncode is None:
            raise StartupError(f"{self.spec.name}: is not ready after {within_seconds:g} s")
        await self._drain()
        raise self._failure(process.returncode)

    async def look_after(self) -> None:
        """Start the process again whenever it ends; runs until cancelled."""
        while True:
            began = self._clock.monotonic()
            code = await self._wait_end()
            if self._clock.monotonic() - began > STEADY_SECONDS:
                self._backoff.reset()
            wait = self._backoff.next(random.random())
            log.error("process_died", process=self.spec.name, exit=_describe(code), restart_in_s=round(wait, 1))
            while not await self._restart(wait):
                wait = self._backoff.next(random.random())
            self.restarts += 1
            log.info("process_restarted", process=self.spec.name, restarts=self.restarts)

    async def _restart(self, wait: float) -> bool:
        """Start the process again after `wait` seconds; return whether the system let us."""
        await asyncio.sleep(wait)
        try:
            await self._spawn()
        except OSError as error:  # no process, no memory, no file: another time there may be
            log.error("process_not_restarted", process=self.spec.name, reason=reason(error))
            return False
        return True

    async def _wait_end(self) -> int:
        """Return the exit code of the process that runs now, noticing meanwhile when it is ready."""
        assert self._process is not None
        ready = asyncio.create_task(self._wait_ready())
        try:
            return await self._process.wait()
        finally:
            ready.cancel()

    async def end(self) -> None:
        """End the process: ask, wait `END_SECONDS`, kill."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        except TimeoutError:
            log.error("process_killed", process=self.spec.name, reason=f"did not end within {END_SECONDS:g} s")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await self._drain()

    async def _spawn(self, stdin: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
        """Start the process, with `stdin` as its standard input, which ends when this process does."""
        self._ready.clear()
        self._last_words.clear()
        # A session of its own: Ctrl-C reaches the parent alone, which then ends its children in order.
        self._process = process = await asyncio.create_subprocess_exec(
            *self.spec.command,
            stdin=stdin,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=dict(self.spec.environ),
            start_new_session=True,
            limit=LINE_MAX_BYTES,
        )
        assert process.stderr is not None
        self._listener = asyncio.create_task(self._listen(process.stderr), name=f"listen-{self.spec.name}")
        return process

    async def _drain(self) -> None:
        """Pass on the last lines of a process that has ended."""
        if self._listener is not None:
            await asyncio.wait({self._listener}, timeout=DRAIN_SECONDS)
            self._listener.cancel()

    async def _wait_ready(self) -> None:
        if self.spec.ready is not None:
            # The program is not ours and tells nobody when it is ready.
            while not await self.spec.ready():  # noqa: ASYNC110
                await asyncio.sleep(READY_POLL_SECONDS)
            self._ready.set()
        await self._ready.wait()

    async def _listen(self, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                continue  # longer than LINE_MAX_BYTES, and thrown away by then
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            try:
                self._pass_on(text)
            except Exception:  # keys that a logger takes for its own arguments, depths that no parser goes to
                log.warning("process_said", process=self.spec.name, text=text[:SAID_MAX_CHARACTERS])

    def _pass_on(self, line: str) -> None:
        try:
            event: Any = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or "event" not in event:
            self._last_words.append(line)
            if self._ready.is_set():
                log.warning("process_said", process=self.spec.name, text=line)
            return
        if "process" not in event:  # else it is passed on from a child of its own
            self._note(event)
        words = {name: value for name, value in event.items() if name not in _OWN_WORDS}
        level = event.get("level")
        logger = structlog.get_logger(str(event.get("logger", __name__)))
        tell = getattr(logger, level if level in _LEVELS else "info")
        origins = (self.spec.name, str(event["process"])) if "process" in event else (self.spec.name,)
        tell(event["event"], process="/".join(origins), **words)

    def _note(self, event: Mapping[str, Any]) -> None:
        match event:
            case {"event": "listening", "name": str(name), "address": str(address)}:
                self.listening[name] = f"{event.get('scheme', 'http')}://{address}"
            case {"event": "started"}:
                self._ready.set()

    def _failure(self, code: int) -> ConfigurationError | StartupError:
        said = "\n".join(self._last_words) or f"ended with {_describe(code)}"
        text = "\n".join(f"{self.spec.name}: {line}" for line in said.splitlines())
        return ConfigurationError(text) if code == EXIT_CONFIGURATION else StartupError(text)


_OWN_WORDS = frozenset({"event", "level", "logger", "timestamp", "process"})
_SIGNALS = frozenset(signal.Signals)
_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name if -code in _SIGNALS else -code}"


def inherited_environment() -> dict[str, str]:
    """Return this process's environment, for a child."""
    return dict(os.environ)
