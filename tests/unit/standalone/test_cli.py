"""The command line: what it refuses and how it answers, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from headrace.testing import free_port
from headrace.version import VERSION
from support.certificates import Authority


def headrace(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "headrace_standalone.cli", *arguments]
    variables = {**os.environ, "COLUMNS": "200", **environ}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables, check=False)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["up", "--source", "rtsp://a/1"], 2, "--source: NAME=URI is expected, for example cam1=rtsp://10.0.0.5/main"),
        (["up", "--source", "a b=rtsp://a/1"], 2, "--source: stream name 'a b': use letters, digits and _ . ~ -"),
        (["up", "--source", "cam1=rtsp://u:hush@a/ 1"], 2, "ingress.sources.cam1.uri: a source's URI holds no blanks"),
        (["up", "--source", "a=test:", "--source", "a=test:"], 2, "--source: stream a is named twice"),
        (["up", "--demo", "--source", "demo=test:"], 2, "--source: stream demo is named twice"),
        (["up", "--intermediates", "2"], 2, "--intermediates: a chain of intermediates needs --processes"),
        (["up", "--config", "nowhere.toml"], 2, "nowhere.toml: cannot be read: No such file or directory"),
        (["probe", "-x"], 2, "No such option: -x"),
        (["probe", "no/../way", "--seconds", "1"], 2, "STREAM: stream name 'no/../way'"),
        (["probe", "cam1", "--edge", "127.0.0.1:8088"], 2, "--edge: a URL such as ws://127.0.0.1:8088 is expected"),
        (["streams", "--api", "localhost"], 2, "--api: a URL such as http://127.0.0.1:8081 is expected"),
    ],
)
def test_wrong_arguments(arguments: list[str], code: int, sentence: str) -> None:
    """One sentence says which argument is wrong and what is expected; nothing starts."""
    done = headrace(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr


def test_wrong_environment() -> None:
    """Settings in the environment are checked before anything starts, all at once."""
    done = headrace("up", "--demo", HEADRACE_EDGE__PORT="x", HEADRACE_EDGE__PROT="1")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "headrace: HEADRACE_EDGE__PROT: there is no such setting; did you mean HEADRACE_EDGE__PORT?",
        "headrace: HEADRACE_EDGE__PORT: a whole number is expected, not 'x'",
    ]


def test_nobody_there() -> None:
    """Asking a cluster that is not there is told in a sentence, exit code 1."""
    port = free_port()
    done = headrace("streams", "--api", f"http://127.0.0.1:{port}")
    assert done.returncode == 1
    assert (
        done.stderr
        == f"headrace: cannot reach the API at http://127.0.0.1:{port}: connection refused; is Headrace running?\n"
    )
    done = headrace("probe", "demo", "--edge", f"ws://127.0.0.1:{port}")
    assert done.returncode == 1
    assert done.stderr == f"headrace: cannot watch demo at ws://127.0.0.1:{port}: connection refused\n"


def test_an_api_whose_certificate_is_not_trusted(tmp_path: Path) -> None:
    """It is said that the certificate is the matter, and how the authority is told; then it is asked."""
    authority = Authority(tmp_path)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = authority.serving("127.0.0.1").wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        api = f"https://127.0.0.1:{server.server_port}"
        done = headrace("streams", "--api", api)
        assert done.returncode == 1
        assert f"cannot talk TLS with the API at {api}: certificate verify failed: " in done.stderr
        assert "SSL_CERT_FILE" in done.stderr
        done = headrace("streams", "--api", api, SSL_CERT_FILE=str(authority.file))
        assert "answered 501" in done.stderr
    finally:
        server.shutdown()
        server.server_close()


def test_tokens_with_line_ends() -> None:
    """The line end after a token is nothing; what cannot stand in a header is named as the setting's fault."""
    port = free_port()
    done = headrace("streams", "--api", f"http://127.0.0.1:{port}", HEADRACE_TOKEN="some-token\n")
    assert (done.returncode, "connection refused" in done.stderr) == (1, True)
    done = headrace("streams", "--api", f"http://127.0.0.1:{port}", HEADRACE_TOKEN="some\ntoken")
    assert (done.returncode, done.stderr.startswith("headrace: HEADRACE_TOKEN: ")) == (2, True)
    assert "some" not in done.stderr


def test_version_is_that_of_the_distribution() -> None:
    """The version is the same everywhere."""
    assert headrace("version").stdout == f"headrace {VERSION}\n"
    assert json.loads(headrace("version", "--json").stdout) == {"version": VERSION}
    assert version("headrace") == version("headrace-standalone") == VERSION


def test_help_names_every_command() -> None:
    """--help lists the commands; without any command the help is shown."""
    text = headrace("--help").stdout
    for command in ("up", "probe", "streams", "nodes", "version"):
        assert f" {command} " in text
    assert "docs/configuration.md" in text
    assert "Usage: headrace" in headrace().stdout + headrace().stderr


def test_help_on_a_terminal_without_unicode() -> None:
    """Where a terminal lacks the lines of tables, help is shown all the same."""
    done = headrace("up", "--help", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--processes" in done.stdout


def test_settings_are_shown_without_secrets() -> None:
    """`headrace up --show-config` prints what is in force, and starts nothing."""
    done = headrace("up", "--show-config", "--source", "cam1=rtsp://user:hush@cam/1", HEADRACE_EDGE__PORT="4711")
    assert done.returncode == 0
    assert "port = 4711" in done.stdout
    assert 'uri = "rtsp://***@cam/1"' in done.stdout
