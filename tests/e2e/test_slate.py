"""A slate in a real browser: a camera stands still, dies and comes back, and the picture follows without a reload."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Page

from support.browser import open_page, requires_chromium
from support.http_players import play, requires_players
from support.rtsp_server import RtspServer, available
from support.services import Service, running

pytestmark = [
    pytest.mark.browser,
    pytest.mark.gstreamer,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    requires_chromium,
    pytest.mark.skipif(not available(), reason="GStreamer's RTSP server is not installed"),
]

BLUE = (23, 38, 83)
"""The built-in picture's ground as a browser shows it; the camera's bars are nowhere like it."""

WAIT_SECONDS = 60

SEGMENTS = 4
"""How many a playlist has to have: hls.js gives up where there is none."""

SHOWS_SLATE = """(blue) => {
  const video = document.querySelector('headrace-player')?.video ?? document.querySelector('video');
  const context = new OffscreenCanvas(16, 16).getContext('2d');
  if (!video?.videoWidth) return null;
  context.drawImage(video, 0, 0, 16, 16, 0, 0, 16, 16);
  const { data } = context.getImageData(8, 8, 1, 1);
  window.color = [...data.slice(0, 3)];
  return blue.every((value, index) => Math.abs(value - data[index]) <= 12);
}"""


class Whole(Service):
    """All services in one process."""

    def command(self) -> list[str]:
        return [str(Path(sys.executable).with_name("headrace")), "up"]


@pytest.fixture(scope="module")
def camera() -> Iterator[RtspServer]:
    with RtspServer(size=(640, 360)) as server:
        yield server


@pytest.fixture(scope="module")
def edge(camera: RtspServer) -> Iterator[str]:
    """The address of an edge that has the camera."""
    settings = {
        "ingress.sources": json.dumps({"cam": {"uri": camera.uri, "slate": "built-in"}}),
        "ingress.stall_seconds": "60",
        **{f"{group}.port": "0" for group in ("ingress", "edge", "control_api")},
        "ingress.rtmp": "false",
        "edge.fmp4_port": "0",
    }
    with running(Whole("standalone", "slate", settings)) as (whole,):
        yield f"127.0.0.1:{whole.port_of('edge')}"


async def filled(edge: str) -> None:
    """Wait until a playlist has what players begin with."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(WAIT_SECONDS):
        while True:
            async with http.get(f"http://{edge}/live/cam/1.m3u8") as answer:
                if (await answer.text()).count("#EXTINF") >= SEGMENTS:
                    return
            await asyncio.sleep(0.2)


@asynccontextmanager
async def playing(how: str, edge: str) -> AsyncIterator[Page]:
    """Play the camera in the page's own player, or in hls.js."""
    if how == "page":
        async with open_page(f"http://{edge}/watch/cam") as watched:
            yield watched.page
            assert watched.refused == []
    else:
        async with play(how, f"http://{edge}/live/cam/index.m3u8") as player:
            yield player.page


async def shows(page: Page, slate: bool) -> None:
    """Wait until the picture is the slate's, or the camera's."""
    condition = f"(blue) => ({SHOWS_SLATE})(blue) === {str(slate).lower()}"
    await page.wait_for_function(condition, arg=list(BLUE), timeout=WAIT_SECONDS * 1000)


@requires_players
@pytest.mark.parametrize("how", ["page", "hls.js"])
async def test_the_picture_follows(camera: RtspServer, edge: str, how: str) -> None:
    """The camera's picture, the slate's while it stands still or is away, and the camera's again, on one page."""
    await filled(edge)
    async with playing(how, edge) as page:
        await shows(page, slate=False)
        await page.evaluate("window.mark = 1")
        camera.freeze()
        try:
            await shows(page, slate=True)
            if how == "page":
                state = await page.evaluate("document.querySelector('headrace-player').state")
                assert state == "interrupted"
        finally:
            camera.thaw()
        await shows(page, slate=False)
        camera.kill()
        await shows(page, slate=True)
        await asyncio.to_thread(camera.start)
        await shows(page, slate=False)
        if how == "page":
            await page.wait_for_function("document.querySelector('headrace-player').state === 'live'", timeout=30_000)
        assert await page.evaluate("window.mark") == 1
