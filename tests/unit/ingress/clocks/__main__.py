"""The table of docs/feeds.md, for as many hours of media as wanted:

PYTHONPATH=tests python -m unit.ingress.clocks [hours] [seed]
"""

from __future__ import annotations

import sys
import time

from unit.ingress.clocks.checking import run
from unit.ingress.clocks.scenarios import SCENARIOS


def main() -> None:
    """Run every scenario and print a row for each."""
    hours = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    print(f"{hours:g} h each, seed {seed}\n")
    print("| source | sound from picture, ms | timeline from UTC, s | epochs | silence put in | objects held |")
    print("|---|---:|---:|---:|---:|---:|")
    wanted = sys.argv[3:] or [""]
    for scenario in (one for one in SCENARIOS if any(part in one.name for part in wanted)):
        begun = time.monotonic()
        seen = run(scenario, hours, seed)
        offset = f"{seen.offset * 1000:.1f}" if scenario.sound else "–"
        row = (
            f"| {scenario.name} | {offset} | {seen.drift:.2f} | {seen.epochs} | {seen.silences} | {max(seen.halves)} |"
        )
        print(row, flush=True)
        for problem in seen.problems:
            print("   !", problem)
        frames = seen.pictures + seen.sounds
        print(f"{frames} frames in {time.monotonic() - begun:.0f} s, objects {seen.halves}", file=sys.stderr)


if __name__ == "__main__":
    main()
