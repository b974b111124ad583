"""The watch page plays by another way where WebSocket does not get through, says which, and lets one choose."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.test_player_demo import demo
from headrace_edge.libraries import find_libraries
from support.browser import open_page, requires_chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    requires_chromium,
    pytest.mark.skipif(len(find_libraries()) < 2, reason="hls.js and dash.js are not installed: npm ci in web/"),
]

NO_WEBSOCKET = "window.WebSocket = class extends EventTarget { constructor() { super(); setTimeout(() => "
NO_WEBSOCKET += "{ this.dispatchEvent(new CloseEvent('close', { code: 1006 })); }, 50); } close() {} send() {} };"

PLAYS = "way => document.body.dataset.way === way && document.querySelector('video')?.currentTime > 0.5"
"""Only the players of others have their video in the page itself."""


async def test_hls_where_there_is_no_websocket(tmp_path: Path) -> None:
    """After ten seconds without an answer, and the page says so."""
    async with demo(tmp_path / "log") as url, open_page(f"{url}/watch/demo", script=NO_WEBSOCKET) as page:
        await page.page.wait_for_function(PLAYS, arg="hls", timeout=60_000)
        assert await page.page.locator("#way").input_value() == "hls"
        assert "WebSocket" in (await page.page.locator("#way-note").inner_text())


async def test_dash_where_hls_does_not_get_through_either(tmp_path: Path) -> None:
    """The last way, by itself, when the one before gives up."""
    async with demo(tmp_path / "log") as url, open_page(f"{url}/watch/demo", script=NO_WEBSOCKET) as page:
        await page.page.route("**/*.m3u8*", lambda route: route.fulfill(status=403))
        await page.page.wait_for_function(PLAYS, arg="dash", timeout=60_000)
        assert await page.page.locator("#way").input_value() == "dash"


async def test_each_way_can_be_chosen(tmp_path: Path) -> None:
    """And back again."""
    async with demo(tmp_path / "log") as url, open_page(f"{url}/watch/demo") as page:
        await page.wait_for_player("stats.state === 'live'", 30)
        for way in ("hls", "dash"):
            await page.page.select_option("#way", way)
            await page.page.wait_for_function(PLAYS, arg=way, timeout=60_000)
        await page.page.select_option("#way", "websocket")
        await page.wait_for_player("stats.state === 'live'", 30)


async def test_an_edge_without_the_libraries_says_so(tmp_path: Path) -> None:
    """In words, beside the choice; WebSocket goes on being one."""
    async with demo(tmp_path / "log") as url, open_page(f"{url}/watch/demo") as page:
        await page.wait_for_player("stats.state === 'live'", 30)
        await page.page.route("**/vendor/*", lambda route: route.fulfill(status=404))
        await page.page.select_option("#way", "dash")  # HLS newer browsers may play without help
        said = "() => document.getElementById('way-note').textContent.includes('dash.js is not installed')"
        await page.page.wait_for_function(said, timeout=20_000)
        await page.page.select_option("#way", "websocket")
        await page.wait_for_player("stats.state === 'live'", 30)
