"""How the fan-out's cost and memory grow with its viewers and streams, as SVG, from the rows of a run.

PYTHONPATH=tests python tests/bench/growth.py build/bench.json docs/fan-out-growth.svg
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, TOP = 880, 620, 60, 40
PLOT_WIDTH, PLOT_HEIGHT = 340, 200
RIGHT, DOWN = 440, 300
"""From one chart to that beside it, and to that below."""

VIDEO, SOUND, CEILING = "#b03060", "#d08020", "#3060a0"

Point = tuple[float, float]
Row = dict[str, Any]
Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve of a chart."""

    name: str
    color: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its ends, the values that are written, and whether it is logarithmic."""

    low: float
    high: float
    ticks: Sequence[float]
    is_log: bool = False

    def scale(self, begin: float, end: float) -> Scale:
        """Return what places values between `begin` and `end`."""
        measure: Callable[[float], float] = math.log10 if self.is_log else float
        low, high = measure(self.low), measure(self.high)
        return lambda value: begin + (measure(value) - low) / (high - low) * (end - begin)


def picture(rows: Iterable[Row], load: str = "4/s x 25 KiB", streams: str = "10/s x 25 KiB") -> str:
    """Return the picture: CPU, its ratio to the ceiling's and memory over viewers; the ratio over streams."""
    named = {row["name"].removeprefix("fan-out "): row for row in rows if "ratio_to_ceiling" in row}
    video = sorted(find(named, f"{load}, ", " viewers"), key=lambda row: row["viewers"])
    sound = sorted(find(named, f"{load} and sound, ", " viewers"), key=lambda row: row["viewers"])
    spread = [
        sorted(find(named, f"{streams}{more}, 1,000 viewers", " streams"), key=lambda row: row["streams"])
        for more in ("", " and sound")
    ]
    viewers = Axis(1, 20_000, (1, 10, 100, 1_000, 10_000), is_log=True)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="11" fill="#444"><rect width="100%" height="100%" fill="#fff"/>',
        *cost_chart(viewers, video, sound),
        *ratio_chart(LEFT + RIGHT, TOP, "viewers", viewers, video, sound),
        *memory_chart(LEFT, TOP + DOWN, video, sound),
        *ratio_chart(
            LEFT + RIGHT, TOP + DOWN, "streams", Axis(1, 200, (1, 10, 100), is_log=True), spread[0], spread[1]
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def find(named: dict[str, Row], begin: str, end: str) -> list[Row]:
    """Return the rows whose names begin and end like this, with nothing but a number between."""
    between = (
        (name.removeprefix(begin).removesuffix(end), row) for name, row in named.items() if name.startswith(begin)
    )
    return [row for middle, row in between if not set(middle) - set("0123456789, of")]


def cost_chart(viewers: Axis, video: Sequence[Row], sound: Sequence[Row]) -> list[str]:
    """Return the chart of CPU for a message."""
    least = [(row["viewers"], 1e6 * row["ceiling_cpu_s_per_gib"] * row["message_bytes"] / 2**30) for row in video]
    curves = [
        Curve("ceiling in C", CEILING, least),
        Curve("video", VIDEO, [(row["viewers"], row["us_per_message"]) for row in video]),
        Curve("video and sound", SOUND, [(row["viewers"], row["us_per_message"]) for row in sound]),
    ]
    most = 10 ** math.ceil(math.log10(max((y for curve in curves for _, y in curve.points), default=10)))
    costs = Axis(1, most, [10**power for power in range(round(math.log10(most)) + 1)], is_log=True)
    return chart(LEFT, TOP, "CPU for a message, µs (viewers)", viewers, costs, curves, falls=True)


def ratio_chart(
    left: float, top: float, over: str, across: Axis, video: Sequence[Row], sound: Sequence[Row]
) -> list[str]:
    """Return the chart of the ceiling's CPU over ours."""
    curves = [
        Curve(name, color, [(row[over], row["ratio_to_ceiling"]) for row in rows])
        for name, color, rows in (("video", VIDEO, video), ("video and sound", SOUND, sound))
    ]
    return chart(left, top, f"ceiling ÷ ours ({over})", across, Axis(0, 1.2, (0, 0.2, 0.4, 0.6, 0.8, 1.0)), curves)


def memory_chart(left: float, top: float, video: Sequence[Row], sound: Sequence[Row]) -> list[str]:
    """Return the chart of the edge's memory."""
    curves = [
        Curve(name, color, [(row["viewers"], row["rss_mib"]) for row in rows])
        for name, color, rows in (("video", VIDEO, video), ("video and sound", SOUND, sound))
    ]
    points = [point for curve in curves for point in curve.points]
    most = 50 * math.ceil(max((y for _, y in points), default=50) / 50)
    widest = 5_000 * math.ceil(max((x for x, _ in points), default=5_000) / 5_000)
    viewers = Axis(0, widest, range(0, widest + 1, 5_000))
    return chart(left, top, "memory of the edge, MiB (viewers)", viewers, Axis(0, most, range(0, most + 1, 50)), curves)


def chart(
    left: float, top: float, title: str, across: Axis, up: Axis, curves: Sequence[Curve], *, falls: bool = False
) -> list[str]:
    """Return one chart; where its curves fall, their names stand at the top."""
    bottom, right = top + PLOT_HEIGHT, left + PLOT_WIDTH
    x, y = across.scale(left, right), up.scale(bottom, top)
    parts = [f'<text x="{left}" y="{top - 15}" font-size="13">{title}</text>']
    for value in across.ticks:
        parts.append(f'<text x="{x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value:,}</text>')
    for value in up.ticks:
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,}</text>')
    for number, curve in enumerate(curve for curve in curves if curve.points):
        at = [(x(a), y(b)) for a, b in curve.points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in at)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{curve.color}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{curve.color}"/>' for a, b in at]
        label_at = top + 15 + 15 * number if falls else bottom - 10 - 15 * number
        label = f'x="{right - 5}" y="{label_at}" text-anchor="end" fill="{curve.color}"'
        parts.append(f"<text {label}>{curve.name}</text>")
    return parts


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
