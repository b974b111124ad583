"""Transfers by command, between two Headraces that run in one process each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from headrace.errors import EXIT_CONFIGURATION, EXIT_FAILURE

Headrace = Callable[..., CompletedProcess[str]]
Up = Callable[..., Any]

LOOPBACK = '["127.0.0.0/8"]'
SECRET = "a-secret-of-the-tests-that-is-long"


def test_pull_push_list_and_terminate(up: Up, headrace: Headrace, tmp_path: Path) -> None:
    """A stream is pulled from another Headrace, recorded to a file, listed for people and programs, and ended."""
    there = up("--demo")
    networks = {"HEADRACE_INGRESS__ALLOW_NETWORKS": LOOPBACK, "HEADRACE_EDGE__ALLOW_NETWORKS": LOOPBACK}
    here = up(**networks, HEADRACE_EDGE__RECORD_ROOT=str(tmp_path))
    there.wait_for(lambda: there.events("feed_live"), "the feed")
    api = ("--api", here.api)
    edge = there.edge.replace("http", "ws", 1)
    pulled = headrace("pull", "demo", edge, "--as", "theirs", "--wait", "40", *api)
    assert (pulled.returncode, pulled.stderr) == (0, "")
    assert all(word in pulled.stdout for word in ("theirs", "demo", "PROCESSED_REMOTE"))
    again = headrace("pull", "demo", edge, "--as", "theirs", *api)
    assert (again.returncode, "409" in again.stderr, "already" in again.stderr) == (EXIT_FAILURE, True, True)
    recorded = headrace("push", "theirs", "file:theirs.mp4", "--wait", "40", "--json", *api)
    assert (recorded.returncode, json.loads(recorded.stdout)["status"]) == (0, "PROCESSED_REMOTE")
    assert (tmp_path / "theirs.mp4").stat().st_size > 0
    listed = json.loads(headrace("transfers", "--json", *api).stdout)["transfers"]
    assert [(one["kind"], one["local_name"]) for one in listed] == [("pull", "theirs"), ("push", "theirs")]
    assert "file:theirs.mp4" in headrace("transfers", *api).stdout
    ended = headrace("terminate", "theirs", *api)
    assert (ended.returncode, ended.stdout.count("ended")) == (0, 2)
    assert headrace("transfers", *api).stdout == "no transfers\n"
    assert headrace("terminate", "theirs", *api).returncode == EXIT_FAILURE


def ingress_of(running: Any) -> str:
    """Return where a Headrace takes what is pushed to it."""
    (line,) = running.wait_for(lambda: running.events("listening", name="ingress"), "the ingress")
    return str(line["address"])


def test_pushed_to_another_and_ended_on_both(up: Up, headrace: Headrace) -> None:
    """What is pushed to a Headrace in one process plays there as the same chunks; ended here, it is gone there."""
    here = up("--demo", HEADRACE_EDGE__ALLOW_NETWORKS=LOOPBACK)
    there = up(HEADRACE_RELAY__SECRET=SECRET)
    here.wait_for(lambda: here.events("feed_live"), "the feed")
    api, address = ("--api", here.api), ingress_of(there)
    wrong = headrace("push", "demo", f"ws://cluster:{'x' * 32}@{address}", "--as", "from/here", *api)
    assert (wrong.returncode, "refuses" in wrong.stderr, "xxx" in wrong.stderr) == (EXIT_FAILURE, True, False)
    target = f"ws://cluster:{SECRET}@{address}"
    pushed = headrace("push", "demo", target, "--as", "from/here", "--wait", "40", "--json", *api)
    assert (pushed.returncode, json.loads(pushed.stdout)["status"]) == (0, "PROCESSED_REMOTE"), pushed.stderr
    seen = headrace("probe", "from/here", "--edge", there.edge.replace("http", "ws", 1), "--seconds", "3", "--json")
    summary = json.loads(seen.stdout.splitlines()[-1])
    assert (seen.returncode, summary["missing"]) == (0, 0)
    assert {track["kind"] for track in summary["tracks"].values()} == {"video", "audio"}
    taken = headrace("push", "demo", target, "--as", "from/here", *api)
    assert (taken.returncode, "409" in taken.stderr) == (EXIT_FAILURE, True)
    assert headrace("terminate", "demo", *api).returncode == 0
    there.wait_for(lambda: there.events("push_withdrawn", stream="from/here"), "the end there")
    there.wait_for(lambda: not json.loads(headrace("streams", "--json", "--api", there.api).stdout)["streams"], "none")


def test_pulled_over_the_relay_with_a_key(up: Up, headrace: Headrace) -> None:
    """One who knows the secret pulls from where others push to; ended there, the push that feeds it is stopped."""
    there = up("--demo", HEADRACE_RELAY__SECRET=SECRET)
    here = up(HEADRACE_INGRESS__ALLOW_NETWORKS=LOOPBACK)
    there.wait_for(lambda: there.events("feed_live"), "the feed")
    address = ingress_of(there)
    pulled = headrace(
        "pull", "demo", f"ws://cluster:{SECRET}@{address}/relay", "--as", "got", "--wait", "40", "--api", here.api
    )
    assert (pulled.returncode, "PROCESSED_REMOTE" in pulled.stdout) == (0, True), pulled.stderr
    assert SECRET not in pulled.stdout + here.errors + there.errors


def test_what_goes_wrong(up: Up, headrace: Headrace) -> None:
    """Wrong names end with 2, what the API refuses with 1 and its reason, and what does not flow yet with 1."""
    here = up("--demo")
    api = ("--api", here.api)
    assert headrace("push", "a b", "rtmp://there.example/x", *api).returncode == EXIT_CONFIGURATION
    unknown = headrace("push", "nobody", "rtmp://there.example/app/secret", *api)
    assert (unknown.returncode, "no stream nobody" in unknown.stderr) == (EXIT_FAILURE, True)
    here.wait_for(lambda: here.events("feed_live"), "the feed")
    refused = headrace("push", "demo", "rtmp://10.0.0.1/app/secret", *api)
    assert (refused.returncode, "private network" in refused.stderr) == (EXIT_FAILURE, True)
    assert "secret" not in unknown.stderr + refused.stderr
    webrtc = headrace("push", "demo", "https://there.example/whip", *api)
    assert (webrtc.returncode, "501" in webrtc.stderr) == (EXIT_FAILURE, True)
