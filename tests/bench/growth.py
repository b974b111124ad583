"""The picture of how the fan-out's cost and memory grow with its viewers, as SVG, from the rows of a run.

PYTHONPATH=tests python tests/bench/growth.py build/bench.json docs/fan-out-growth.svg
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 880, 300, 60, 40, 340, 200
GAP = 440

OURS, CEILING = "#b03060", "#3060a0"

Point = tuple[float, float]


def picture(rows: Sequence[dict[str, Any]], load: str = "4/s x 25 KiB") -> str:
    """Return the picture of the rows of one load: CPU for a message, and memory, over the number of viewers."""
    found = [row for row in rows if row["name"].startswith(f"fan-out {load}, ")]
    found.sort(key=lambda row: row["viewers"])
    ours = [(row["viewers"], row["us_per_message"]) for row in found]
    least = [(row["viewers"], 1e6 * row["ceiling_cpu_s_per_gib"] * row["message_bytes"] / 2**30) for row in found]
    memory = [(row["viewers"], row["rss_mib"]) for row in found]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="11" fill="#444"><rect width="100%" height="100%" fill="#fff"/>',
        *cost_chart(LEFT, ours, least),
        *memory_chart(LEFT + GAP, memory),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def cost_chart(left: float, ours: Sequence[Point], least: Sequence[Point]) -> list[str]:
    """Return the chart of CPU for a message; both axes are logarithmic."""
    most = 10 ** math.ceil(math.log10(max(y for _, y in [*ours, *least])))
    x, y = log_scale(1, 20_000, left, left + PLOT_WIDTH), log_scale(1, most, TOP + PLOT_HEIGHT, TOP)
    parts = [title(left, "CPU for a message, µs (viewers, logarithmic)")]
    parts += [tick_x(x(value), f"{value:,}") for value in (1, 10, 100, 1_000, 10_000)]
    value = 1
    while value <= most:
        parts.append(tick_y(left, y(value), f"{value:,}"))
        value *= 10
    parts += curve([(x(a), y(b)) for a, b in least], CEILING) + curve([(x(a), y(b)) for a, b in ours], OURS)
    for number, (color, name) in enumerate([(OURS, "Headrace"), (CEILING, "ceiling in C")]):
        at = TOP + 15 * number + 10
        parts.append(f'<text x="{left + PLOT_WIDTH - 5}" y="{at}" text-anchor="end" fill="{color}">{name}</text>')
    return parts


def memory_chart(left: float, memory: Sequence[Point]) -> list[str]:
    """Return the chart of the edge's memory; both axes are linear."""
    most = 50 * math.ceil(max(y for _, y in memory) / 50)
    widest = 5_000 * math.ceil(max(x for x, _ in memory) / 5_000)
    x, y = scale(0, widest, left, left + PLOT_WIDTH), scale(0, most, TOP + PLOT_HEIGHT, TOP)
    parts = [title(left, "resident memory of the edge, MiB (viewers)")]
    parts += [tick_x(x(value), f"{value:,}") for value in range(0, widest + 1, 5_000)]
    parts += [tick_y(left, y(value), f"{value}") for value in range(0, most + 1, 50)]
    return parts + curve([(x(a), y(b)) for a, b in memory], OURS)


def scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    """Return what places values between `low` and `high`."""
    return lambda value: begin + (value - low) / (high - low) * (end - begin)


def log_scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    """Return what places their logarithms."""
    place = scale(math.log10(low), math.log10(high), begin, end)
    return lambda value: place(math.log10(value))


def title(left: float, text: str) -> str:
    return f'<text x="{left}" y="{TOP - 15}" font-size="13">{text}</text>'


def tick_x(x: float, text: str) -> str:
    bottom = TOP + PLOT_HEIGHT
    return f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>'


def tick_y(left: float, y: float, text: str) -> str:
    line = f'<line x1="{left}" x2="{left + PLOT_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
    return f'{line}<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'


def curve(points: Sequence[Point], color: str) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    line = f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>'
    return [line, *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in points)]


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="build/bench.json, or a list of rows")
    parser.add_argument("picture", type=Path, help="where the SVG goes")
    given = parser.parse_args()
    told = json.loads(given.rows.read_text())
    given.picture.write_text(picture(told["rows"] if isinstance(told, dict) else told))


if __name__ == "__main__":
    main()
