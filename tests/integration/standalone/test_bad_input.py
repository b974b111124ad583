"""What the service programs do with a configuration or a machine that is not as it should be."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

PROGRAMS = {
    "headrace-ingress": "headrace_ingress.app",
    "headrace-intermediate": "headrace_intermediate.app",
    "headrace-edge": "headrace_edge.app",
    "headrace-control-api": "headrace_control_api.app",
}
PORTS = {
    "headrace-ingress": "ingress.port",
    "headrace-intermediate": "intermediate.port",
    "headrace-edge": "edge.port",
    "headrace-control-api": "control_api.port",
}

every_program = pytest.mark.parametrize("program", PROGRAMS)


def variable(setting: str) -> str:
    """Return the environment variable of a setting."""
    return "HEADRACE_" + setting.upper().replace(".", "__")


def start(program: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Start a service program."""
    command = [sys.executable, "-c", f"from {PROGRAMS[program]} import main; main()", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **environ})


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return exit code and what went to standard error; nothing may be on standard output."""
    output, errors = process.communicate(timeout=60)
    assert output == ""
    return process.returncode, errors


@every_program
def test_malformed_file(program: str, tmp_path: Path) -> None:
    """A file that is no TOML is told with its name and the place in it; exit code 2."""
    path = tmp_path / "headrace.toml"
    path.write_text("[edge\nport = 1\n")
    code, errors = finish(start(program, "--config", str(path)))
    assert code == 2
    reason = "Expected ']' at the end of a table declaration (at line 1, column 6)"
    assert errors == f"{program}: {path}: is not valid TOML: {reason}\n"


@every_program
def test_registry_url_that_cannot_be_read(program: str) -> None:
    """An address of the registry that makes no sense is a wrong configuration, told without its password."""
    code, errors = finish(start(program, HEADRACE_REGISTRY__URL="redis://user:hush@host:port/0"))
    assert code == 2
    (sentence,) = errors.splitlines()
    assert sentence.startswith(f"{program}: HEADRACE_REGISTRY__URL: ")
    assert "hush" not in errors


@every_program
def test_busy_port(program: str) -> None:
    """A port that somebody has is told with its setting; exit code 1 and nothing goes on running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, errors = finish(start(program, **{variable(PORTS[program]): str(port), "HEADRACE_EDGE__FMP4_PORT": "0"}))
    assert code == 1
    role = program.removeprefix("headrace-")
    reason = f"address already in use; {PORTS[program]} chooses another port"
    assert errors.splitlines()[-1] == f"{program}: {role}: cannot listen on 127.0.0.1:{port}: {reason}"


@every_program
def test_dead_redis(program: str) -> None:
    """A store that does not answer keeps no service from starting: it is not ready, says where, and goes on trying."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        store = f"127.0.0.1:{nobody.getsockname()[1]}"
        ports = {variable(setting): "0" for setting in (*PORTS.values(), "edge.fmp4_port", "ingress.rtmp_port")}
        process = start(
            program, HEADRACE_REGISTRY__URL=f"redis://user:hush@{store}/0", HEADRACE_LOG__FORMAT="json", **ports
        )
        lines: list[str] = []
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if json.loads(line)["event"] == "started":
                break
        address = next(event["address"] for event in map(json.loads, lines) if event["event"] == "listening")
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"http://{address}/health/ready", timeout=10)
        with refusal.value:
            checks = json.load(refusal.value)["checks"]
        process.send_signal(signal.SIGTERM)
        code, errors = finish(process)
    assert code == 0
    assert store in checks["registry"]
    about_store = [line for line in lines if store in line]
    assert len(about_store) == 1
    assert "hush" not in "".join(lines) + errors + str(checks)
