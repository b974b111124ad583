"""`headrace up --workers`, from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from headrace.wire.play import SUBPROTOCOL, Play, Refused, decode_from_edge, encode
from integration.access.rig import SECRET, token

pytestmark = pytest.mark.slow

Up = Callable[..., Any]
Headrace = Callable[..., subprocess.CompletedProcess[str]]

PATIENCE = 30.0


def workers(pid: int) -> list[int]:
    """Return the process ids of the workers of the edge that a process is, or one of its children."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    own = [child for child in children if "headrace_edge.workers.worker" in Path(f"/proc/{child}/cmdline").read_text()]
    return own or [worker for child in children for worker in workers(child)]


def alive(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(condition: Callable[[], Any], what: str) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def metric(url: str, name: str) -> list[float]:
    """Return the values of a metric, by whatever labels; none when the worker that was asked died."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        return [
            float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", answer.read().decode(), re.MULTILINE)
        ]
    return []


def join(stack: contextlib.ExitStack, edge: str, session: str, text: str) -> str:
    """Return the code with which a player is refused, or nothing; it is there until the stack is closed."""
    url = f"{edge.replace('http', 'ws', 1)}/play/demo?token={text}"
    connection = connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None, max_size=2**25)
    viewer = stack.enter_context(connection)
    viewer.send(encode(Play(session=session)).decode())
    said = decode_from_edge(viewer.recv(timeout=PATIENCE))
    return said.code if isinstance(said, Refused) else ""


def test_one_command_serves_by_workers(up: Up, headrace: Headrace) -> None:
    """A stream is whole at whichever worker, the metrics are those of all, and Ctrl-C leaves nothing."""
    running = up("--demo", "--workers", "2")
    edge, api = running.edge, running.api
    running.wait_for(lambda: running.events("feed_live"), "the feed")
    pids = workers(running.process.pid)
    assert len(pids) == 2
    probes = [headrace("probe", "demo", "--edge", edge, "--seconds", "2", "--json") for _ in range(3)]
    for probe in probes:
        summary = json.loads(probe.stdout.splitlines()[-1])
        assert (probe.returncode, summary["missing"], summary["duplicates"]) == (0, 0, 0), probe.stderr
    eventually(lambda: metric(edge, "headrace_edge_join_seconds_count") == [3.0], "all viewers are counted")
    assert metric(api, "headrace_edge_join_seconds_count") == [3.0]
    os.kill(pids[0], signal.SIGKILL)
    eventually(lambda: metric(edge, "headrace_edge_worker_restarts_total") == [1.0], "it is started again")
    assert metric(api, "headrace_edge_join_seconds_count") == [3.0]
    eventually(lambda: len(workers(running.process.pid)) == 2, "both run")
    pids = workers(running.process.pid)
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < 10
    assert not any(map(alive, pids))
    assert "Traceback" not in running.errors


def test_viewers_are_counted_over_workers_without_a_store(up: Up) -> None:
    """The limit of a token holds at whichever worker, and the API lists all viewers as of one node."""
    access = {"HEADRACE_ACCESS__POLICY": "token", "HEADRACE_ACCESS__SECRETS": json.dumps([SECRET])}
    running = up("--demo", "--workers", "2", **access)
    text, edge = token(viewers_max=3), running.edge

    def listed() -> list[Any]:
        with urllib.request.urlopen(f"{running.api}/api/v1/viewers", timeout=10) as answer:
            return list(json.loads(answer.read())["viewers"])

    with contextlib.ExitStack() as stack:
        assert [join(stack, edge, f"viewer-{number}", text) for number in range(3)] == ["", "", ""]
        assert {join(stack, edge, f"more-{number}", text) for number in range(12)} == {"viewers"}
        eventually(lambda: len(listed()) == 3, "the viewers are listed")
        assert {viewer["node"] for viewer in listed()} == {running.events("started", role="standalone")[0]["node"]}
    assert running.stop() == 0


def test_workers_end_when_headrace_is_killed(up: Up) -> None:
    """However it ends."""
    running = up("--demo", "--workers", "2")
    assert running.edge
    pids = workers(running.process.pid)
    running.process.kill()
    eventually(lambda: not any(map(alive, pids)), "the workers end")


@pytest.mark.redis
def test_an_edge_among_processes_has_workers(up: Up, headrace: Headrace) -> None:
    """With --processes it is the edge that has them; its route ends with it."""
    running = up("--demo", "--processes", "--workers", "2")
    running.wait_for(lambda: running.events("feed_live"), "the feed")
    pids = workers(running.process.pid)
    assert len(pids) == 2
    done = headrace("probe", "demo", "--edge", running.edge, "--seconds", "2", "--json")
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, summary["missing"]) == (0, 0), done.stderr
    assert summary["route"] == ["ingress-1", "intermediate-1", "edge-1"]
    assert running.stop() == 0
    assert not any(map(alive, pids))


def test_a_port_that_is_taken_is_told(up: Up) -> None:
    """Before any worker was started, with the setting that chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = up("--demo", "--workers", "2", HEADRACE_EDGE__PORT=str(port))
        assert running.process.wait(PATIENCE) == 1
        running.stop()
    reason = "address already in use; edge.port chooses another port"
    assert running.errors.splitlines()[-1] == f"headrace: edge: cannot listen on 127.0.0.1:{port}: {reason}"


def test_an_intermediate_has_no_workers() -> None:
    """It says what to do instead."""
    program = "from headrace_intermediate.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--workers", "2"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("headrace-intermediate: --workers: edges and ingresses have workers; run another ")
