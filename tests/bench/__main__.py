"""Run the benchmarks and write build/bench.json; `--quick` is shorter and rougher.

Figures are reported and never asserted: what a shared machine does in a minute proves nothing. Those to compare are
ratios of runs that alternate, which is what the benchmarks print.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULT = HERE.parent.parent / "build/bench.json"

PARTS = RESULT.parent / "bench/rows"
"""Where each benchmark writes its rows; one that resumes finds there what a run that was broken off left."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One program in this folder that takes `--json FILE`.

    Attributes:
        name: its file's name without the ending.
        quick: arguments for the short version; `None` if there is none, so it is left out of the two minutes.
        seconds: longest run, in seconds.
        resumes: whether it can go on with a file that a run left which was broken off.
    """

    name: str
    quick: tuple[str, ...] | None
    seconds: float = 900.0
    resumes: bool = False


BENCHMARKS = (
    Benchmark("packager", ("--quick",)),
    Benchmark("fan_out", ("--quick",), seconds=1800.0, resumes=True),
    Benchmark("workers", None),
    Benchmark("peers", None),
    Benchmark("bad_input", None),
    Benchmark("relay_hop", ("--rounds", "2", "--seconds", "2")),
    Benchmark("control_api", ("--rounds", "50")),
    Benchmark("glass_to_glass", ("--quick",)),
    Benchmark("live_http", ("--quick",)),
    Benchmark("many_feeds", None),
)


def main() -> None:
    """Run what was asked for, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter and rougher")
    parser.add_argument("--resume", action="store_true", help="go on with the run that was broken off")
    parser.add_argument("names", nargs="*", metavar="BENCHMARK", help=f"any of {', '.join(b.name for b in BENCHMARKS)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {benchmark.name for benchmark in BENCHMARKS}:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    rows = kept() if arguments.resume else []
    for benchmark in BENCHMARKS:
        done = any(row["benchmark"] == benchmark.name for row in rows)
        if done or benchmark.name not in (
            arguments.names or [one.name for one in BENCHMARKS if is_due(one, arguments.quick)]
        ):
            continue
        print(f"{benchmark.name} …", flush=True)
        for row in run(benchmark, arguments.quick, arguments.resume):
            rows.append({"benchmark": benchmark.name, **row})
            print("  " + ", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps({"machine": machine(), "quick": arguments.quick, "rows": rows}, indent=2) + "\n")
    print(f"written to {RESULT}")


def kept() -> list[dict[str, Any]]:
    """Return the rows of the run before; none of a quick one."""
    told = json.loads(RESULT.read_text()) if RESULT.exists() else {"rows": []}
    rows: list[dict[str, Any]] = [] if told.get("quick") else told["rows"]
    return rows


def is_due(benchmark: Benchmark, quick: bool) -> bool:
    """Return whether a benchmark runs when none is named."""
    return not quick or benchmark.quick is not None


def run(benchmark: Benchmark, quick: bool, resume: bool) -> list[dict[str, Any]]:
    """Run one benchmark as a process of its own and return its rows."""
    PARTS.mkdir(parents=True, exist_ok=True)
    file = PARTS / f"{benchmark.name}{'-quick' if quick else ''}.json"
    if not (resume and benchmark.resumes):
        file.unlink(missing_ok=True)
    command = [
        sys.executable,
        str(HERE / f"{benchmark.name}.py"),
        "--json",
        str(file),
        *((benchmark.quick or ()) if quick else ()),
        *(("--resume",) if benchmark.resumes else ()),
    ]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    subprocess.run(command, check=True, timeout=benchmark.seconds, env=environment, stdout=subprocess.DEVNULL)
    found = json.loads(file.read_text())
    return found if isinstance(found, list) else [found]


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
    }


if __name__ == "__main__":
    main()
