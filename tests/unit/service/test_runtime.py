"""The life of a service, in a process of its own: what it does with failures and signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigurationError, StartupError
from headrace.identifiers import node_id
from headrace.service.runtime import Runtime, node_name
from headrace.service.settings import Settings

PROGRAM = """
import asyncio, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were started by, nohup for instance
from headrace.errors import ConfigurationError, StartupError
from headrace.service.runtime import run_program

class Part:
    def __init__(self, name, runtime):
        self.name, self.runtime = name, runtime
    async def start(self):
        print("start", self.name, flush=True)
        match self.name:
            case "slow": await asyncio.sleep(60)
            case "busy": raise StartupError("busy: cannot listen")
            case "broken": raise RuntimeError("a bug")
            case "failing": self.task = self.runtime.spawn("failing", self.fail())
    async def fail(self):
        await asyncio.sleep(0.05)
        raise RuntimeError("it broke")
    async def stop(self):
        print("stop", self.name, flush=True)
        match self.name:
            case "stuck": await asyncio.sleep(60)
            case "bad-stop": raise RuntimeError("cannot stop")

def build(settings, runtime):
    names = sys.argv_parts
    if "wrong" in names: raise ConfigurationError("ingress.sources.x: wrong")
    if "reading" in names: runtime.reloads.append(lambda: print("reload", flush=True))
    return [Part(name, runtime) for name in names]

sys.argv_parts, sys.argv[1:] = sys.argv[1].split(","), sys.argv[2:]
run_program("headrace-test", "edge", build)
"""


def start(parts: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Start the program with these components."""
    command = [sys.executable, "-c", PROGRAM, parts, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **environ})


def finish(process: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    """Return exit code, lines of output and what went to standard error."""
    output, errors = process.communicate(timeout=30)
    return process.returncode, output.splitlines(), errors


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    """Read output until `line` comes."""
    assert process.stdout is not None
    for text in process.stdout:
        if text.strip() == line:
            return
    raise AssertionError(f"{line!r} never came")


def wait_started(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Read log lines until the service has started, and return them."""
    assert process.stderr is not None
    events = []
    for text in process.stderr:
        events.append(json.loads(text))
        if events[-1]["event"] == "started":
            return events
    raise AssertionError(f"it never started: {events}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_in_reverse_order(number: signal.Signals) -> None:
    """SIGINT and SIGTERM stop what was started, last first, and the exit code is 0."""
    process = start("a,b")
    wait_started(process)
    process.send_signal(number)
    code, output, _ = finish(process)
    assert (code, output) == (0, ["start a", "start b", "stop b", "stop a"])


def test_hangup_has_files_read_again() -> None:
    """Where a component reads some; elsewhere it ends the program, as a terminal that closes should."""
    process, other = start("reading"), start("a")
    wait_started(process)
    wait_started(other)
    process.send_signal(signal.SIGHUP)
    other.send_signal(signal.SIGHUP)
    wait_for(process, "reload")
    process.send_signal(signal.SIGTERM)
    assert (finish(process)[0], finish(other)[0]) == (0, -signal.SIGHUP)


def test_startup_error_leaves_nothing_behind() -> None:
    """When a part cannot start, the others stop and the sentence is the last line; exit code 1."""
    code, output, errors = finish(start("a,busy,c"))
    assert (code, output) == (1, ["start a", "start busy", "stop a"])
    assert errors.splitlines()[-1] == "headrace-test: busy: cannot listen"


def test_signal_while_starting() -> None:
    """A signal that comes before everything has started ends what had, and what was about to."""
    process = start("a,slow,c")
    wait_for(process, "start slow")
    process.send_signal(signal.SIGINT)
    code, output, errors = finish(process)
    assert (code, output) == (0, ["stop a"])
    assert "started" not in [json.loads(line)["event"] for line in errors.splitlines()]


def test_wrong_configuration_found_while_building() -> None:
    """A setting that only a component can judge ends with exit code 2 before anything starts."""
    assert finish(start("a,wrong")) == (2, [], "headrace-test: ingress.sources.x: wrong\n")


def test_failed_task_ends_the_program_with_one_line() -> None:
    """An exception nobody expected in a component's task is logged once, everything stops, exit code 1."""
    code, output, errors = finish(start("a,failing"))
    assert (code, output) == (1, ["start a", "start failing", "stop failing", "stop a"])
    failed = [line for line in map(json.loads, errors.splitlines()) if line["event"] == "component_failed"]
    assert [line["name"] for line in failed] == ["failing"]
    assert "RuntimeError: it broke" in failed[0]["exception"]


def test_stop_that_fails_does_not_keep_others_from_stopping() -> None:
    """One component's trouble while stopping is logged; the others are stopped all the same."""
    process = start("a,bad-stop")
    wait_started(process)
    process.terminate()
    code, output, errors = finish(process)
    assert (code, output[-2:]) == (0, ["stop bad-stop", "stop a"])
    assert "cannot stop" in errors


def test_second_signal_ends_at_once() -> None:
    """A component that hangs while stopping does not keep the process: the second signal ends it."""
    process = start("stuck")
    wait_started(process)
    process.terminate()
    wait_for(process, "stop stuck")
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, _, _ = finish(process)
    assert code == 1
    assert time.monotonic() - begun < 10


def test_node_that_nobody_can_find_says_so() -> None:
    """A service whose registry is its own memory is alone: it says so when it starts."""
    process = start("a")
    reasons = [line["reason"] for line in wait_started(process) if line["event"] == "alone"]
    assert reasons == ["registry.url is memory: no other process can find this node"]
    process.terminate()
    finish(process)


def test_wrong_configuration_is_told_in_sentences() -> None:
    """Settings that are wrong end with exit code 2 and a line for each problem, before anything starts."""
    assert finish(start("a", HEADRACE_EDGE__PORT="x", HEADRACE_EGDE__PORT="1")) == (
        2,
        [],
        "headrace-test: HEADRACE_EGDE__PORT: there is no such setting; did you mean HEADRACE_EDGE__PORT?\n"
        "headrace-test: HEADRACE_EDGE__PORT: a whole number is expected, not 'x'\n",
    )


def test_command_line_questions() -> None:
    """--version, --help and --show-config are answered without starting anything."""
    assert finish(start("a", "--version"))[:2] == (0, ["headrace-test 0.1.0"])
    code, output, _ = finish(start("a", "--help"))
    assert code == 0
    assert "HEADRACE_<GROUP>__<NAME>" in "\n".join(output)
    code, output, _ = finish(start("a", "--show-config", HEADRACE_RELAY__SECRET="hush-hush"))
    assert code == 0
    assert 'secret = "***"' in output
    assert finish(start("a", "--bogus"))[0] == 2


def test_config_file_from_the_command_line(tmp_path: Path) -> None:
    """--config names the file that is read."""
    path = tmp_path / "x.toml"
    path.write_text("[edge]\nport = 4711\n")
    assert "port = 4711" in finish(start("a", "--config", str(path), "--show-config"))[1]


def test_node_name_from_role_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a configured name a node is called after its role and machine, in a form that is valid everywhere."""
    monkeypatch.setattr("socket.gethostname", lambda: "büro pc." + "x" * 90)
    assert node_id(node_name(Settings(), "edge")).startswith("edge-b-ro-pc.x")


async def test_spawned_task_that_is_cancelled_is_no_failure() -> None:
    """Stopping a component cancels its tasks: that is no failure."""
    runtime = Runtime(node_id("n"), "edge")
    task = runtime.spawn("idle", asyncio.Event().wait())  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert runtime.failure is None


def test_errors_are_the_shared_ones() -> None:
    """Services know the two errors by `headrace.service.errors`; lower layers raise the same."""
    from headrace.service import errors

    assert (errors.ConfigurationError, errors.StartupError) == (ConfigurationError, StartupError)
