"""Take the README's picture: start the demo, watch it in Chromium, save what is seen.

PYTHONPATH=tests .venv/bin/python scripts/screenshot.py docs/images/watch.png
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from headrace.testing import wait_until
from support.browser import WatchedPage, open_browser

EDGE = "http://127.0.0.1:8088"
START_SECONDS = 30


async def take(file: Path) -> None:
    """Save a picture of the watch page with the player's figures, half a minute after it began to play."""
    await wait_until(answers, START_SECONDS)
    async with open_browser("--force-dark-mode") as browser:
        context = await browser.new_context(viewport={"width": 1100, "height": 780}, color_scheme="dark")
        page = WatchedPage(await context.new_page())
        await page.page.goto(f"{EDGE}/watch/demo")
        await page.wait_for_player("video.currentTime > 0 && stats.state === 'live'", 60)
        await page.page.evaluate("document.querySelector('headrace-player').toggleAttribute('stats', true)")
        await page.measure_rate(30)
        await page.page.screenshot(path=str(file))


def main(file: Path) -> None:
    """Run the demo around `take`."""
    demo = subprocess.Popen([str(Path(sys.executable).with_name("headrace")), "up", "--demo"])
    try:
        asyncio.run(take(file))
    finally:
        demo.terminate()
        demo.wait(10)


def answers() -> bool:
    """Return whether the edge is ready."""
    try:
        with urllib.request.urlopen(f"{EDGE}/health/ready", timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
