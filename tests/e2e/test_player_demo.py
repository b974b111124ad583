"""The player on an edge's own page, with the test pattern: what a newcomer sees after `make demo`."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headrace.testing import wait_until
from support.browser import open_page, requires_chromium

pytestmark = [pytest.mark.browser, requires_chromium]

STOP_SECONDS = 10.0


@asynccontextmanager
async def demo(log: Path) -> AsyncIterator[str]:
    """Run `headrace up --demo` on free ports; the base URL of its edge."""
    doors = ("EDGE__PORT", "EDGE__FMP4_PORT", "CONTROL_API__PORT", "INGRESS__PORT", "INGRESS__RTMP_PORT")
    settings = {f"HEADRACE_{door}": "0" for door in doors} | {"HEADRACE_LOG__FORMAT": "json"}
    command = [str(Path(sys.executable).with_name("headrace")), "up", "--demo"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env={**os.environ, **settings}, stdout=out, stderr=out)

    def edge() -> str:
        assert process.poll() is None, log.read_text()
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        return next((f"http://{line['address']}" for line in lines if line.get("name") == "edge"), "")

    try:
        yield await wait_until(edge, 30)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS)


@pytest.mark.slow
async def test_the_demo_is_on_the_screen_half_a_second_after_it_was_drawn(tmp_path: Path) -> None:
    """The burnt-in clock reads less than half a second behind at the median, and the player's own estimate agrees."""
    async with demo(tmp_path / "log") as url, open_page(f"{url}/watch/demo") as page:
        await page.wait_for_player("stats.state === 'live' && stats.behindMs > 0", 30)
        await page.wait_for_player("stats.rate === 1", 20)
        shown = await page.measure_glass_to_glass(10)
        stats = await page.player()
        print(f"glass to glass p50 {statistics.median(shown):.0f} ms of {len(shown)} pictures; {stats}")
        assert len(shown) > 50
        assert statistics.median(shown) < 2000  # under 500 even on a rather busy machine; the bound is for any
        assert abs(statistics.median(shown) - stats["latencyMs"]) < 500
        assert (page.errors, page.refused) == ([], [])
