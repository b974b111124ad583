"""`headrace up` in one process, from outside."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from headrace.wire.play import SUBPROTOCOL, Play, encode

Headrace = Callable[..., CompletedProcess[str]]
Up = Callable[..., Any]


def probed(headrace: Headrace, stream: str, edge: str, seconds: float) -> tuple[int, dict[str, Any], str]:
    """Probe a stream; return exit code, summary and what went to standard error."""
    done = headrace("probe", stream, "--edge", edge, "--seconds", str(seconds), "--json")
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_demo_plays_without_a_missing_chunk(up: Up, headrace: Headrace) -> None:
    """The test pattern reaches a viewer whole: every chunk once, in order, soon, and is listed by the API."""
    running = up("--demo")
    assert f"{running.edge}/watch/demo" in running.output
    running.wait_for(lambda: running.events("feed_live"), "the feed")
    code, summary, errors = probed(headrace, "demo", running.edge, 4)
    assert (code, errors) == (0, "")
    assert (summary["missing"], summary["duplicates"], summary["skipped"]) == (0, 0, 0)
    assert {track["kind"] for track in summary["tracks"].values()} == {"video", "audio"}
    assert all(track["chunks"] > 10 for track in summary["tracks"].values())
    assert 0 < summary["latency_ms"]["p50"] < 2000
    (stream,) = json.loads(headrace("streams", "--json", "--api", running.api).stdout)["streams"]
    assert (stream["name"], stream["state"], len(stream["tracks"])) == ("demo", "live", 2)
    (node,) = json.loads(headrace("nodes", "--json", "--api", running.api).stdout)["nodes"]
    assert (node["role"], node["streams"]) == ("standalone", ["demo"])
    assert "demo" in headrace("streams", "--api", running.api).stdout


def test_ctrl_c_ends_cleanly_while_somebody_watches(up: Up) -> None:
    """Ctrl-C ends everything in under two seconds with exit code 0, viewers connected or not."""
    running = up("--demo")
    url = f"{running.edge.replace('http', 'ws')}/play/demo"
    with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None) as viewer:
        viewer.send(encode(Play(session="test")).decode())
        while not isinstance(viewer.recv(timeout=20), bytes):
            pass
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 2
    assert running.events("stopped")
    assert "Traceback" not in running.errors


def test_nothing_stays_when_a_port_is_busy(up: Up) -> None:
    """A door that is taken is named with its setting, exit code 1, and no feed was begun."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = up("--demo", HEADRACE_EDGE__FMP4_PORT=str(port))
        assert running.process.wait(30) == 1
        running.stop()
    reason = "address already in use; edge.fmp4_port chooses another port"
    assert running.errors.splitlines()[-1] == f"headrace: fmp4: cannot listen on 127.0.0.1:{port}: {reason}"
    assert running.output == ""
    assert not running.events("feed_live")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("gopher://user:hush@camera/1", "ingress.sources.cam1.uri: "),
        ("rtsp://", "ingress.sources.cam1.uri: "),
        ("http://user:hush@/latest", "ingress.sources.cam1.uri: "),
    ],
)
def test_wrong_uri_ends_before_anything_starts(up: Up, uri: str, words: str) -> None:
    """A URI that no source takes is a wrong configuration: one sentence, exit code 2, nothing listens."""
    running = up("--source", f"cam1={uri}")
    assert running.process.wait(30) == 2
    running.stop()
    (sentence,) = running.errors.splitlines()
    assert sentence.startswith(f"headrace: {words}")
    assert "hush" not in running.errors + running.output


def test_unreachable_camera_is_told_and_tried_again(up: Up, headrace: Headrace) -> None:
    """A camera that is away keeps nothing else from running: its stream is interrupted, said once, without secrets."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        uri = f"rtsp://user:hush@127.0.0.1:{nobody.getsockname()[1]}/1"
        running = up("--demo", "--source", f"cam1={uri}")
        running.wait_for(
            lambda: [line for line in running.events("feed_broken") if line["stream"] == "cam1"], "the word"
        )
        running.wait_for(lambda: running.events("feed_live", stream="demo"), "the other feed")
        code, summary, errors = probed(headrace, "cam1", running.edge, 1.5)
        assert (code, summary["state"], summary["chunks"]) == (1, "interrupted", 0), errors
        assert running.stop() == 0
    assert "hush" not in running.errors + running.output


def test_registry_of_others_needs_processes(up: Up) -> None:
    """One process keeps its registry in memory; a configured Redis is not quietly left out."""
    running = up(HEADRACE_REGISTRY__URL="redis://127.0.0.1:6379/0")
    assert running.process.wait(30) == 2
    running.stop()
    assert running.errors.startswith("headrace: registry.url: ")


def test_api_with_tokens(up: Up, headrace: Headrace) -> None:
    """With tokens configured, the command line takes its own from HEADRACE_TOKEN."""
    running = up(HEADRACE_CONTROL_API__TOKENS="some-token")
    refused = headrace("streams", "--api", running.api)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "HEADRACE_TOKEN" in refused.stderr
    assert headrace("streams", "--json", "--api", running.api, HEADRACE_TOKEN="some-token").returncode == 0
    with pytest.raises(urllib.error.HTTPError) as refusal, urllib.request.urlopen(f"{running.api}/api/v1/nodes"):
        pass
    assert refusal.value.code == 401
    refusal.value.close()


def test_probe_of_a_stream_that_is_not_there(up: Up, headrace: Headrace) -> None:
    """A viewer of a stream that nobody publishes waits; a probe says so with exit code 1."""
    running = up()
    code, summary, _ = probed(headrace, "nobody", running.edge, 1)
    assert (code, summary["chunks"]) == (1, 0)
    assert "No feeds yet" in running.output
