"""Print how a cluster grows: `PYTHONPATH=tests python -m sim [--seed N] [SIZES …]`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from sim.scenario import Result, live

SIZES = (100, 1_000, 10_000)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="sim", description="Grow simulated clusters and print what they cost.")
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of edges")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    results = []
    for size in arguments.sizes:
        began = time.monotonic()
        results.append(live(size, arguments.seed))
        print(f"{size} edges took {time.monotonic() - began:.1f} s", flush=True)
    print(f"\nseed {arguments.seed}\n\n{table(results)}")


def table(results: list[Result]) -> str:
    """Return the results as a table in Markdown."""
    rows: dict[str, Callable[[Result], str]] = {
        "depth of the deepest edge, and mean": lambda r: f"{r.depth_most}, {r.depth_mean:.1f}",
        "most children of one edge": lambda r: f"{r.fan_out_most}",
        "nodes that move per death, mean and most": lambda r: f"{r.moves_mean:.1f}, {r.moves_most}",
        "nodes that moved without need": lambda r: f"{r.strangers_moved}",
        "nodes that gave their place to a senior, in 40 deaths": lambda r: f"{r.displaced}",
        "nodes that went back to their layer, in 40 deaths": lambda r: f"{r.returned}",
        "nodes left without a parent at the end": lambda r: f"{r.homeless}",
        "seconds without a parent, all nodes together": lambda r: f"{r.homeless_seconds:.0f}",
        "messages told per death, and return": lambda r: f"{r.told_per_death:,.0f}",
        "refusals per join, since a record was old": lambda r: f"{r.refusals_per_join:.2f}",
        "renewals a second": lambda r: f"{r.renewals:,.0f}",
        "records written a second": lambda r: f"{r.puts:,.0f}",
        "records read a second": lambda r: f"{r.reads:,.0f}",
        "operations a second for each edge": lambda r: f"{r.per_node:.2f}",
        "messages told a second": lambda r: f"{r.deliveries:,.0f}",
        "of which, MB a second": lambda r: f"{r.delivered_mbytes:.2f}",
    }
    head = "| edges | " + " | ".join(f"{result.edges:,}" for result in results) + " |"
    lines = [head, "|---|" + "---:|" * len(results)]
    lines += [f"| {name} | " + " | ".join(show(result) for result in results) + " |" for name, show in rows.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
