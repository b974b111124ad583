"""Nothing that is asked of the API is answered with a fault, or with what its description does not say."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from headrace.access.viewing import MemoryViewing
from headrace.clock import SystemClock
from headrace.http.application import make_application
from headrace.identifiers import NodeId, StreamName
from headrace.registry.memory import MemoryRegistry
from headrace.registry.records import NodeRecord, StreamRecord, TrackSummary
from headrace.registry.sealing import Uri, Vault
from headrace.service.runtime import Runtime
from headrace_control_api.access import Access
from headrace_control_api.counting import api_metrics
from headrace_control_api.events import EventLog
from headrace_control_api.pictures import PictureFormat
from headrace_control_api.routes import add_routes
from headrace_control_api.tokens import TokenOffice

EXAMPLES = 25
"""Requests generated for each operation and phase: enough for every rule of every field, in half a minute."""

RUN_SECONDS = 240.0

CONFIGURATION = """
# 501 is the described answer to what waits for WebRTC, and no fault.
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "501"]
"""

HOOKS = '''
import schemathesis

@schemathesis.hook
def before_call(context, case, kwargs):
    """Let the endless answer of /events end; what is asked of it stays as generated."""
    if case.path.endswith("/events") and not (case.query or {}).get("wait"):
        case.query = {**(case.query or {}), "wait": "0"}
    if isinstance(case.body, dict) and case.body.get("key") and case.headers:
        case.headers.pop("Idempotency-Key", None)  # the two must be one, which no schema can say
    elif case.path.endswith("/events") and case.query["wait"] not in (0, "0"):
        try:
            if 0 <= float(case.query["wait"]) <= 3600:
                case.query["wait"] = "0"
        except (TypeError, ValueError):
            pass
'''


class Painter:
    """Has a picture of everything."""

    async def take(self, stream: StreamName, form: PictureFormat, width: int | None) -> bytes:
        return f"{stream} as {form}".encode()

    async def close(self) -> None:
        """Nothing is held."""


class Looker:
    """Has looked at every feed."""

    async def check(self, uri: Uri, seconds: float) -> bytes:
        return b'{"source":"somewhere","problem":"nothing is there"}'

    async def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> object:
    # Nobody carries transfers out here: there is no first word of theirs to settle for.
    monkeypatch.setattr("headrace_control_api.transfers.Engine.__init__.__defaults__", (0.0,))
    registry = MemoryRegistry(clock=SystemClock(), vault=Vault(["a secret of the tests"]))
    await registry.start()
    video = TrackSummary(track=1, kind="video", codec="avc1.64001f", width=1280, height=720)
    registry.keep_node(NodeRecord(node="n1", role="ingress", streams=("cam1", "site7/cam2")))
    registry.keep_stream(StreamRecord(stream="cam1", node="n1", epoch=7, state="live", tracks=(video,)))
    registry.keep_stream(StreamRecord(stream="site7/cam2", node="n1", epoch=8, state="interrupted"))
    runtime = Runtime(NodeId("api"), "control-api")
    app = make_application(runtime)
    events = EventLog(registry, runtime.clock)
    office = TokenOffice(MemoryViewing(runtime.clock), runtime.clock, "s" * 32)
    metrics = api_metrics(runtime.metrics)
    add_routes(app, registry, Access(), metrics, events, office, pictures=Painter(), checks=Looker())
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()
    await registry.close()


@pytest.mark.slow
@pytest.mark.timeout(RUN_SECONDS + 30)
async def test_every_answer_is_described(server: TestServer, tmp_path: Path) -> None:
    """Generated requests, right and wrong, get no 5xx and nothing that OpenAPI does not say."""
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        str(server.make_url("/api/v1/openapi.json")),
        "--checks=all",
        f"--max-examples={EXAMPLES}",
        "--seed=1",
        "--no-color",
        "--suppress-health-check=all",
        cwd=tmp_path,
        env={
            "SCHEMATHESIS_HOOKS": "hooks",
            "PYTHONPATH": str(tmp_path),
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), RUN_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = output.decode()
    assert process.returncode == 0, text[-8000:]
    assert re.search(r"[1-9][0-9]+ generated, [1-9][0-9]+ passed", text), text[-2000:]
