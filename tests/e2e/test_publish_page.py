"""The page that publishes from a browser: Chromium's own recorder and its fake camera, carried whole."""

from __future__ import annotations

import pytest

from headrace.http.listener import HttpListener
from headrace.testing import wait_until
from integration.ingress.publishing import decode_whole, publishing
from support.browser import open_page, requires_chromium

FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.mark.browser
@requires_chromium
async def test_a_browser_publishes() -> None:
    """Camera and microphone arrive, in codecs that browsers play; Stop ends it, Publish begins again."""
    async with publishing() as (watched, _):
        listener = next(component for component in watched.components if isinstance(component, HttpListener))
        async with open_page(f"http://127.0.0.1:{listener.bound_port}/publish/cam1", flags=FAKE) as page:
            await page.page.click("#publish")
            await watched.live(3.0)
            assert "Publishing as" in (await page.page.text_content("#state") or "")
            kinds = [track.kind for track in watched.broadcast.tracks.values()]
            assert kinds == ["video", "audio"]
            await page.page.click("#stop")
            await watched.interrupted("its publisher left")
            file = watched.file()
            await page.page.click("#publish")
            await wait_until(lambda: len(watched.opened) == 2, 30, what="a second epoch")
            await watched.live(1.0)
    watched.check()
    frames = decode_whole(file)
    assert frames["video"] > 20
    assert frames["audio"] > 20
    print([track.codec for track in watched.broadcast.tracks.values()])
