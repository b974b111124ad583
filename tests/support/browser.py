"""Headless Chromium for tests: Debian's own, driven by Playwright, cut off from everything but this machine."""

from __future__ import annotations

import ipaddress
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Route, async_playwright
from playwright.async_api import TimeoutError as PlaywrightTimeout

CHROMIUM = os.environ.get("HEADRACE_CHROMIUM", "/usr/bin/chromium")

FLAGS = (
    "--no-sandbox",  # tests run as root in containers, where Chromium has no sandbox
    "--disable-gpu",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--mute-audio",
)

requires_chromium = pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason=f"there is no {CHROMIUM}")
"""Marks a test that needs the browser."""


@asynccontextmanager
async def open_browser(*flags: str) -> AsyncIterator[Browser]:
    """Start Chromium with `flags` beside the usual ones; it ends with the block."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def open_page(url: str, *, flags: tuple[str, ...] = (), script: str = "") -> AsyncIterator[WatchedPage]:
    """Open `url` in a new browser; `script` runs before the page's own, requests to other machines are aborted."""
    async with open_browser(*flags) as browser:
        context = await browser.new_context(viewport={"width": 800, "height": 600})
        page = WatchedPage(await context.new_page())
        await page.restrict()
        if script:
            await page.page.add_init_script(script)
        await page.page.goto(url, wait_until="load")
        yield page


class WatchedPage:
    """A page and what went wrong on it.

    Attributes:
        page: Playwright's page.
        errors: uncaught errors and console errors, in order.
        refused: addresses outside of this machine that the page asked for.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.refused: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._console)

    async def restrict(self) -> None:
        """Abort every request to another machine."""
        await self.page.route("**/*", self._route)

    async def player(self) -> dict[str, Any]:
        """Return the player's statistics, with `currentTime`, `muted` and the size of the picture beside them."""
        return dict(await self.page.evaluate(_PLAYER))

    async def wait_for_player(self, condition: str, timeout: float = 15.0) -> dict[str, Any]:
        """Wait until the JavaScript `condition`, over `player` and `video`, holds; return the statistics.

        Raises:
            AssertionError: with the last statistics, when it does not come true in `timeout` seconds.
        """

        try:
            await self.page.wait_for_function(_CONDITION % condition, timeout=timeout * 1000, polling=50)
        except PlaywrightTimeout:
            raise AssertionError(f"not seen in {timeout:g} s: {condition}; {await self.player()}") from None
        return await self.player()

    async def measure_rate(self, seconds: float) -> Rate:
        """Return how fast the position advanced over `seconds`, by the page's clock, and what happened meanwhile."""
        return Rate(**await self.page.evaluate(_RATE, seconds * 1000))

    async def measure_glass_to_glass(self, seconds: float) -> list[float]:
        """Return milliseconds from the drawing of a picture of the test pattern to its showing, one for each shown.

        The pattern carries its time as cells in its first rows (headrace_ingress.cells); both ends are this machine's
        clock. Pictures whose cells do not add up are left out.
        """
        return list(await self.page.evaluate(_GLASS, seconds * 1000))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    async def _route(self, route: Route) -> None:
        if is_local(route.request.url):
            await route.continue_()
        else:
            self.refused.append(route.request.url)
            await route.abort()


@dataclass(frozen=True, slots=True)
class Rate:
    """How playing went for a while.

    Attributes:
        rate: seconds of media for each second; 1 in the steady state.
        seconds: how long it was measured.
        stalls: how often playing stopped for want of media.
        latency_ms: capture to screen, samples in the order taken.
        rates: the playback rates seen, in order, without repetitions.
    """

    rate: float
    seconds: float
    stalls: int
    latency_ms: list[float]
    rates: list[float]


def is_local(url: str) -> bool:
    """Return whether `url` stays on this machine."""
    parts = urlsplit(url)
    if parts.scheme in {"data", "blob", "about"}:
        return True
    host = parts.hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_PLAYER = """() => {
  const player = document.querySelector('headrace-player');
  const { currentTime, muted, videoWidth, videoHeight, readyState, paused } = player.video;
  const ranges = Array.from({ length: player.video.buffered.length },
    (_, i) => [player.video.buffered.start(i), player.video.buffered.end(i)]);
  return { ...player.stats, currentTime, muted, videoWidth, videoHeight, readyState, paused, ranges };
}"""

_CONDITION = """() => {
  const player = document.querySelector('headrace-player');
  if (player === null) return false;
  const { video, stats } = player;
  return (%s);
}"""

_RATE = """async (milliseconds) => {
  const player = document.querySelector('headrace-player');
  const { stalls } = player.stats;
  const [position, began] = [player.video.currentTime, performance.now()];
  const latency = [], rates = [];
  while (performance.now() - began < milliseconds) {
    await new Promise((done) => setTimeout(done, 100));
    latency.push(player.stats.latencyMs);
    if (rates.at(-1) !== player.video.playbackRate) rates.push(player.video.playbackRate);
  }
  const seconds = (performance.now() - began) / 1000;
  return { rate: (player.video.currentTime - position) / seconds, seconds, stalls: player.stats.stalls - stalls,
           latency_ms: latency, rates };
}"""

READ_CLOCK = """  const canvas = new OffscreenCanvas(1, 1);
  const read = () => {
    const width = video.videoWidth, side = Math.min(16, Math.floor(width / 48 / 2) * 2);
    canvas.width = width;
    canvas.height = side;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(video, 0, 0);
    const { data } = context.getImageData(0, side / 2, width, 1);
    const levels = Array.from({ length: 48 }, (_, cell) => data[4 * Math.floor((cell + 0.5) * side)]);
    const bits = levels.slice(2).map((level) => (level > (levels[0] + levels[1]) / 2 ? 1n : 0n));
    const value = bits.reduce((all, bit) => (all << 1n) | bit, 0n);
    let sum = 0n;
    for (let rest = value >> 4n; rest > 0n; rest >>= 4n) sum += rest & 15n;
    return (sum & 15n) === (value & 15n) ? Number(value >> 4n) : null;
  };
"""
"""JavaScript that makes `read()` of `video`: the UTC drawn into its picture (headrace_ingress.cells), null for none."""

_GLASS = (
    """async (milliseconds) => {
  const { video } = document.querySelector('headrace-player');
"""
    + READ_CLOCK
    + """  const found = [], began = performance.now();
  while (performance.now() - began < milliseconds) {
    const shown = await new Promise((done) => {
      video.requestVideoFrameCallback((_, { expectedDisplayTime }) => done(expectedDisplayTime));
      setTimeout(() => done(null), 1000);
    });
    const drawn = shown === null ? null : read();
    if (drawn !== null) found.push(performance.timeOrigin + shown - drawn);
  }
  return found;
}"""
)
