"""hls.js, dash.js and Shaka Player as a test's players of HLS and DASH, on a page of another origin than the edge's."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Page

from support.browser import READ_CLOCK, WatchedPage, open_browser

PLAYERS = Path(__file__).parents[1] / "e2e" / "players" / "node_modules"

SCRIPTS = {
    "hls.js": "hls.js/dist/hls.js",
    "dash.js": "dashjs/dist/modern/umd/dash.all.debug.js",
    "shaka": "shaka-player/dist/shaka-player.compiled.js",
}

requires_players = pytest.mark.skipif(
    not PLAYERS.is_dir(), reason="no players: run `npm ci` in tests/e2e/players to install them"
)
"""Marks a test that needs the players."""

FIREFOX = os.environ.get("HEADRACE_TEST_FIREFOX", "/usr/bin/firefox-esr")

requires_firefox = pytest.mark.skipif(shutil.which(FIREFOX) is None, reason=f"there is no {FIREFOX}")
"""Marks a test that needs Firefox."""

_PAGE = """<!doctype html><meta charset="utf-8"><title>players</title>
<video muted playsinline width="640"></video><script src="/player.js"></script>"""

BEGIN = """async ({ name, url }) => {
  const video = document.querySelector('video');
  const seen = (window.seen = { errors: [], stalls: 0, playing: 0, at: [] });
  video.addEventListener('waiting', () => { if (seen.playing) seen.stalls += 1; });
  video.addEventListener('playing', () => { seen.playing ||= performance.now(); });
  const note = (error) => seen.errors.push(error);
  if (name === 'hls.js') {
    const hls = (window.player = new Hls({ lowLatencyMode: true, maxLiveSyncPlaybackRate: 1.2 }));
    hls.on(Hls.Events.ERROR, (_, data) => note(`${data.fatal ? 'fatal ' : ''}${data.details} ${data.reason ?? ''}`));
    hls.loadSource(url);
    hls.attachMedia(video);
    video.play().catch(() => {});
  } else if (name === 'dash.js') {
    const player = (window.player = dashjs.MediaPlayer().create());
    player.on('error', ({ error }) => note(`${error.code} ${error.message}`));
    player.initialize(video, url, true);
  } else {
    shaka.polyfill.installAll();
    const player = (window.player = new shaka.Player());
    player.addEventListener('error', ({ detail }) => note(`${detail.code} ${detail.data}`));
    await player.attach(video);
    player.configure({ streaming: { lowLatencyMode: true, liveSync: { enabled: true } } });
    await player.load(url).catch((error) => note(`fatal ${error.code} ${error.data}`));
    video.play().catch(() => {});
  }
}"""

_LATENCY = (
    """async ({ milliseconds, cells }) => {
  const video = document.querySelector('video');
"""
    + READ_CLOCK
    + """  const found = [], began = performance.now(), position = video.currentTime, stalls = window.seen.stalls;
  while (performance.now() - began < milliseconds) {
    await new Promise((done) => setTimeout(done, 100));
    if (!video.videoWidth) continue;
    const drawn = cells ? read() : null;
    if (drawn !== null) found.push(performance.timeOrigin + performance.now() - drawn);
  }
  const seconds = (performance.now() - began) / 1000;
  return { latency_ms: found, rate: (video.currentTime - position) / seconds, stalls: window.seen.stalls - stalls,
           errors: window.seen.errors, currentTime: video.currentTime };
}"""
)


_IS_PLAYING = "() => window.seen?.playing > 0 && document.querySelector('video').currentTime > 0"


class HttpPlayer:
    """A player that was begun on a page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def wait_playing(self, seconds: float = 20.0) -> None:
        """Wait until the position advances."""
        await self.page.wait_for_function(_IS_PLAYING, timeout=seconds * 1000)

    async def watch(self, seconds: float, *, cells: bool = True) -> dict[str, Any]:
        """Watch for a while; return latencies by the pattern's burnt-in clock, rate, stalls and errors."""
        return dict(await self.page.evaluate(_LATENCY, {"milliseconds": seconds * 1000, "cells": cells}))


@asynccontextmanager
async def player_page(name: str) -> AsyncIterator[str]:
    """Serve a page with the player of that name and nothing begun; yields its address."""
    script = (PLAYERS / SCRIPTS[name]).read_text()

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def player(request: web.Request) -> web.Response:
        return web.Response(text=script, content_type="text/javascript")

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_get("/player.js", player)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def play(name: str, url: str) -> AsyncIterator[HttpPlayer]:
    """Play `url` in Chromium with the player of that name."""
    async with player_page(name) as page, open_browser() as browser:
        tab = WatchedPage(await browser.new_page())
        await tab.restrict()
        await tab.page.goto(page, wait_until="load")
        await tab.page.evaluate(BEGIN, {"name": name, "url": url})
        yield HttpPlayer(tab.page)


class FirefoxPlayer:
    """A player that was begun in Firefox, driven by Puppeteer over WebDriver BiDi."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, script: str, argument: object, seconds: float = 60.0) -> Any:
        """Call a function of the page's and return its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"script": script, "argument": argument}).encode() + b"\n")
        async with asyncio.timeout(seconds):
            line = await self._process.stdout.readline()
        answer = json.loads(line or b'{"error": "Firefox ended"}')
        assert "error" not in answer, answer["error"]
        return answer["result"]

    async def wait_playing(self, seconds: float = 30.0) -> None:
        """Wait until the position advances."""
        wait = "(done) => setTimeout(done, 100)"
        await self.ask(f"async () => {{ while (!({_IS_PLAYING})()) await new Promise({wait}); }}", None, seconds)

    async def watch(self, seconds: float, *, cells: bool = True) -> dict[str, Any]:
        """Watch for a while, as `HttpPlayer.watch` does."""
        return dict(await self.ask(_LATENCY, {"milliseconds": seconds * 1000, "cells": cells}, seconds + 60))


@asynccontextmanager
async def play_in_firefox(name: str, url: str) -> AsyncIterator[FirefoxPlayer]:
    """Play `url` in Debian's Firefox with the player of that name."""
    async with player_page(name) as page:
        process = await asyncio.create_subprocess_exec(
            "node", str(PLAYERS.parent / "firefox.mjs"), FIREFOX, page,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=16 * 1024 * 1024,
        )  # fmt: skip
        player = FirefoxPlayer(process)
        try:
            await player.ask(BEGIN, {"name": name, "url": url})
            yield player
        finally:
            assert process.stdin is not None
            process.stdin.close()
            async with asyncio.timeout(20):
                await process.wait()
