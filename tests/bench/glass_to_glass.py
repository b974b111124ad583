"""Glass to glass: from drawing a picture to its pixels in a browser, through a chain of real processes.

The test pattern carries UTC in cells (headrace_ingress.cells); a page reads them off the playing video for each picture
shown and takes the difference to the same machine's clock. What each hop adds comes from the nodes' own metrics.

    PYTHONPATH=tests python tests/bench/glass_to_glass.py --json build/glass.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace_ingress.cells import CELLS, decode_cells
from support.browser import open_page
from support.redis_server import RedisServer
from support.services import Service, chain, running

SETTLE_SECONDS = 5.0
"""Left out at the beginning: joining and settling to the latency target."""

SOURCE = "test:?size=960x540&rate=25"

_READ = """async ([seconds, cells]) => {
  const video = document.querySelector('headrace-player').video;
  const canvas = new OffscreenCanvas(cells, 1);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  const read = [];
  const side = Math.min(16, Math.floor(video.videoWidth / cells / 2) * 2);
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    await new Promise((done) => video.requestVideoFrameCallback(done));
    const now = Date.now();
    context.drawImage(video, 0, side / 2, cells * side, 1, 0, 0, cells, 1);
    const { data } = context.getImageData(0, 0, cells, 1);
    read.push([now, Array.from({ length: cells }, (_, i) => data[4 * i + 1])]);
  }
  return read;
}"""


async def measure(seconds: float, intermediates: int = 2) -> dict[str, Any]:
    """Run the chain and a browser for `seconds`; return one row of figures, milliseconds unless the name says else."""
    with RedisServer() as store, running(*chain(store.url, {"demo": SOURCE}, intermediates)) as nodes:
        async with open_page(f"http://127.0.0.1:{nodes[-1].port()}/watch/demo") as page:
            await page.wait_for_player("video.currentTime > 0 && stats.state === 'live'", 60)
            await page.measure_rate(SETTLE_SECONDS)
            reading = page.page.evaluate(_READ, [seconds, CELLS])
            pictures, playing = await asyncio.gather(reading, page.measure_rate(seconds))
            told = await page.player()
        hops = {node.node: hop_figures(node) for node in nodes}
    glass = [now - drawn for now, levels in pictures if (drawn := decode_cells(levels)) is not None]
    return {
        "name": f"glass to glass over {intermediates} intermediates",
        "pictures": len(pictures),
        "read": len(glass),
        "p50_ms": quantile(glass, 0.5),
        "p99_ms": quantile(glass, 0.99),
        "player_latency_p50_ms": quantile(playing.latency_ms, 0.5),
        "current_time_rate": round(playing.rate, 4),
        "stalls": playing.stalls,
        "dropped_frames": told["droppedFrames"],
        "gaps": told["gaps"],
        "duplicates": told["duplicates"],
        "hops": hops,
    }


def hop_figures(node: Service) -> dict[str, float]:
    """Return the mean transit into a node and the mean stay in it, in milliseconds, from its metrics."""
    text = node.get("/metrics")
    figures = {}
    for name in ("transit", "residence"):
        total = re.search(rf"^headrace_relay_{name}_seconds_sum(?:{{}})? (\S+)$", text, re.MULTILINE)
        count = re.search(rf"^headrace_relay_{name}_seconds_count(?:{{}})? (\S+)$", text, re.MULTILINE)
        if total and count and float(count[1]):
            figures[f"{name}_ms"] = round(1000 * float(total[1]) / float(count[1]), 3)
    return figures


def quantile(values: Sequence[float], part: float) -> float | None:
    """Return the value below which `part` of `values` lie, `None` when there are none."""
    if not values:
        return None
    return round(sorted(values)[min(len(values) - 1, int(part * len(values)))], 1)


def main() -> None:
    """Measure, print a line for people, and write the row where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="ten seconds in place of a minute")
    parser.add_argument("--intermediates", type=int, default=2, help="length of the chain (%(default)s)")
    arguments = parser.parse_args()
    row = asyncio.run(measure(10 if arguments.quick else 60, arguments.intermediates))
    print(json.dumps(row, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
