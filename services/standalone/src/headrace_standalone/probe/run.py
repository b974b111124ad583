"""One run of a probe, from the first connection to the exit code."""

from __future__ import annotations

import asyncio
import signal
from urllib.parse import urlsplit

from headrace.clock import Clock, SystemClock
from headrace.errors import EXIT_FAILURE, EXIT_OK, ConfigurationError
from headrace.identifiers import StreamName
from headrace_standalone.probe.report import Report
from headrace_standalone.probe.viewer import Viewer

UPDATE_SECONDS = 1.0
"""How often the figures are shown."""

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def edge_url(text: str) -> str:
    """Return the WebSocket base URL of an edge, from that or from its page's address.

    Raises:
        ConfigurationError: when it is neither.
    """
    parts = urlsplit(text)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ConfigurationError(f"--edge: a URL such as ws://127.0.0.1:8088 is expected, not {text!r}")
    return f"{_SCHEMES[parts.scheme]}://{parts.netloc}{parts.path.rstrip('/')}"


def probe(stream: StreamName, edge: str, seconds: float | None, as_json: bool) -> int:
    """Watch `stream` for so many seconds, or until Ctrl-C; return 0 when no chunk was missing, else 1.

    Raises:
        StartupError: when the edge cannot be reached at first, or refuses.
    """
    with Report(stream, as_json) as report:
        return asyncio.run(_probe(stream, edge, seconds, report, SystemClock()))


async def _probe(stream: StreamName, edge: str, seconds: float | None, report: Report, clock: Clock) -> int:
    viewer = Viewer(stream, edge, clock, report.tell)
    watching = asyncio.create_task(viewer.watch(), name="watch")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, watching.cancel)
    if seconds is not None:
        loop.call_later(seconds, watching.cancel)
    while not watching.done():
        await asyncio.wait({watching}, timeout=UPDATE_SECONDS)
        if not watching.done():
            report.update(viewer.measurement, clock.monotonic())
    if not watching.cancelled():
        watching.result()
    measurement = viewer.measurement
    report.finish(measurement, clock.monotonic())
    return EXIT_OK if measurement.chunks and not measurement.missing and not measurement.skipped else EXIT_FAILURE
