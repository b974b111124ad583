"""`headrace up --processes`, from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.testing import free_port
from headrace_standalone.folder import remove_abandoned

pytestmark = [pytest.mark.redis, pytest.mark.slow]

Up = Callable[..., Any]
Headrace = Callable[..., subprocess.CompletedProcess[str]]


def children(pid: int) -> dict[int, str]:
    """Return the command lines of a process's children by process id."""
    found = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return {int(line.split()[0]): line for line in found.stdout.splitlines()}


def child(pid: int, words: str) -> int:
    """Return the process id of the child whose command line has these words."""
    (found,) = [number for number, line in children(pid).items() if words in line]
    return found


def store_folder(pid: int) -> Path:
    """Return the folder of the store that a service was told."""
    environ = dict(
        entry.split("=", 1) for entry in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in entry
    )
    return Path(environ["HEADRACE_REGISTRY__URL"].removeprefix("unix://")).parent


def alive(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def summary_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the last line of a probe."""
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_chain_of_processes_plays_and_ends(up: Up, headrace: Headrace) -> None:
    """Every service is a process; the stream comes by the whole chain, no chunk missing; Ctrl-C ends all of them."""
    running = up("--demo", "--processes", "--intermediates", "2")
    edge, api = running.edge, running.api
    processes = children(running.process.pid)
    assert len(processes) == 6
    running.wait_for(lambda: running.events("feed_live"), "the feed")
    done = headrace("probe", "demo", "--edge", edge, "--seconds", "5", "--json")
    summary = summary_of(done)
    assert (done.returncode, summary["missing"], summary["duplicates"]) == (0, 0, 0), done.stderr
    assert summary["route"] == ["ingress-1", "intermediate-1", "intermediate-2", "edge-1"]
    (stream,) = json.loads(headrace("streams", "--json", "--api", api).stdout)["streams"]
    assert (stream["owner"], stream["nodes"][-1]) == ("ingress-1", "edge-1")
    nodes = json.loads(headrace("nodes", "--json", "--api", api).stdout)["nodes"]
    assert [node["layer"] for node in nodes if node["relay_url"]] == [0, 1, 2, 1000]
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < 6
    assert not any(alive(pid) for pid in processes)


def test_process_that_dies_is_started_again(up: Up, headrace: Headrace) -> None:
    """A service that is killed comes back, as does the store, and the stream plays on."""
    running = up("--demo", "--processes")
    running.wait_for(lambda: running.output and running.events("feed_live"), "the addresses and the feed")
    for name, words in (("intermediate-1", "headrace_intermediate"), ("store", "valkey-server")):
        os.kill(child(running.process.pid, words), signal.SIGKILL)
        running.wait_for(lambda name=name: running.events("process_restarted", process=name), f"{name}'s return")
        (died,) = running.events("process_died", process=name)
        assert died["exit"] == "signal SIGKILL"
    running.wait_for(lambda: len(running.events("started", process="intermediate-1")) == 2, "the intermediate")
    done = headrace("probe", "demo", "--edge", running.edge, "--seconds", "5", "--json")
    assert summary_of(done)["chunks"] > 0, done.stderr
    assert running.stop() == 0


def test_ctrl_c_while_it_starts(up: Up) -> None:
    """Ctrl-C before everything is up ends what had started, with exit code 0."""
    running = up("--processes")
    running.wait_for(lambda: running.events("started"), "the first service")
    processes = children(running.process.pid)
    assert running.stop() == 0
    assert not any(alive(pid) for pid in processes)


def test_nothing_outlives_a_supervisor_that_was_killed(up: Up) -> None:
    """When `headrace up` itself is killed, its services and its store end; the next one removes what it left."""
    running = up("--processes")
    running.wait_for(lambda: running.output, "the addresses")
    processes = children(running.process.pid)
    left = store_folder(child(running.process.pid, "headrace_ingress"))
    running.process.kill()
    running.process.wait()
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in processes):
        assert time.monotonic() < deadline, [line for pid, line in processes.items() if alive(pid)]
        time.sleep(0.1)
    assert left.is_dir()
    remove_abandoned()
    assert not left.exists()


def test_service_that_cannot_start_ends_all(up: Up) -> None:
    """A port that is taken in one of the processes is told in its words, and the others end again."""
    busy = free_port()
    running = up("--processes", HEADRACE_EDGE__PORT=str(busy), HEADRACE_CONTROL_API__PORT=str(busy))
    assert running.process.wait(60) == 1
    running.stop()
    last = running.errors.splitlines()[-1]
    assert f"cannot listen on 127.0.0.1:{busy}: address already in use" in last
    assert last.startswith(("headrace: edge-1: ", "headrace: control-api-1: "))
    assert running.output == ""


def test_wrong_uri_is_a_wrong_configuration_here_too(up: Up) -> None:
    """What only the ingress can judge ends everything with exit code 2."""
    running = up("--processes", "--source", "cam1=gopher://user:hush@camera/1")
    assert running.process.wait(60) == 2
    running.stop()
    assert "ingress.sources.cam1.uri: " in running.errors.splitlines()[-1]
    assert "hush" not in running.errors
