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
