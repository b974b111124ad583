"""The watch page of a stream that needs a token: each way of playing takes the token along, and all are one viewer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import mock

import aiohttp
import pytest

from e2e.test_player_demo import demo
from e2e.test_ways import PLAYS
from headrace_edge.libraries import find_libraries
from integration.access.rig import SECRET, token
from support.browser import open_page, requires_chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    requires_chromium,
    pytest.mark.skipif(len(find_libraries()) < 2, reason="hls.js and dash.js are not installed: npm ci in web/"),
]

TRIED_ALL = """() => {
  const way = document.getElementById('way'), note = document.getElementById('way-note');
  return way.selectedIndex === way.length - 1 && note.textContent !== '';
}"""

HOLDS = {"HEADRACE_ACCESS__POLICY": "token", "HEADRACE_ACCESS__SECRETS": json.dumps([SECRET])}


async def test_the_page_takes_the_token_along(tmp_path: Path) -> None:
    """With a token for one viewer WebSocket, LL-HLS and DASH play in turn; without one nothing does."""
    with mock.patch.dict(os.environ, HOLDS):
        async with demo(tmp_path / "log") as url:
            async with open_page(f"{url}/watch/demo?token={token(viewers_max=1)}") as page:
                await page.wait_for_player("stats.state === 'live'", 30)
                for way in ("hls", "dash"):
                    await page.page.select_option("#way", way)
                    await page.page.wait_for_function(PLAYS, arg=way, timeout=60_000)
            async with open_page(f"{url}/watch/demo") as page:
                await page.page.wait_for_function(TRIED_ALL, timeout=60_000)
            async with aiohttp.ClientSession() as http, http.get(f"{url}/live/demo/index.m3u8") as answer:
                assert answer.status == 401
