"""Workers: what a message costs when two processes share the viewers, against one process that has them all.

Both are the whole product with the same load. All processes of an edge count: the node, which takes the stream once and
serves its workers, and the workers. Cores help only as far as a message does not cost more for it, which is what is
measured, in two ways; the load is on the other core in both.

*Together*: all processes of both on one core in the same seconds. The workers, which send at the same moment, stand in
each other's way there.

*Apart*: in turns, and one worker is moved to the load's core. What counts is the other one's CPU for its messages, with
the node's for all of them: what a message costs where each worker has a core.

    PYTHONPATH=tests python tests/bench/workers.py --json build/workers.json [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.building import NoCompiler
from bench.fan_out_parts import (
    LOAD_CORE,
    SERVER_CORE,
    Load,
    Server,
    Viewers,
    cpu_seconds,
    edge_of,
    memory_kib,
    product,
    softirq_pid,
)

LOADS = {
    "25/s x 10 KiB, 1,000 viewers": Load(25, 10_240, 1000),
    "10/s x 25 KiB, 2,500 viewers": Load(10, 25_600, 2500),
    "25/s x 10 KiB, 2,500 viewers": Load(25, 10_240, 2500),
}

WORKERS = 2
ROUNDS, QUICK_ROUNDS = 7, 3
SECONDS = 2.0
WARM_SECONDS = 1.0
APART_WARM_SECONDS = 2.2
"""Workers tell every second how many viewers they have."""

APART_ROUNDS, QUICK_APART_ROUNDS = 5, 3

DELIVERED_LEAST = 0.99
"""A trial in which less arrives measures something else: it counts for nothing."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What an edge did in one window.

    Attributes:
        cpu: seconds of CPU, by process, the node first; `ksoftirqd` last.
        messages: that arrived.
        delivered: part of what was due.
        memory_kib: of all processes.
    """

    cpu: Sequence[float]
    messages: int
    delivered: float
    memory_kib: int

    @property
    def us_per_message(self) -> float:
        """CPU for a message."""
        return sum(self.cpu) / max(1, self.messages) * 1e6


def processes(server: Server) -> list[int]:
    """Return the processes of an edge, the node first."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return [server.pid, *map(int, children)]


def watch(servers: Sequence[Server], crowds: Sequence[Viewers], load: Load) -> list[Trial]:
    """Measure servers in the same seconds; what ksoftirqd does is shared out by what each delivered."""
    softirq = softirq_pid(SERVER_CORE)
    pids = [processes(server) for server in servers]
    for crowd in crowds:
        crowd.say("go")
    began, before = time.monotonic(), [[cpu_seconds(pid) for pid in own] for own in pids]
    left_over = -cpu_seconds(softirq) if softirq else 0.0
    time.sleep(SECONDS)
    left_over += cpu_seconds(softirq) if softirq else 0.0
    lasted = time.monotonic() - began
    spent = [
        [cpu_seconds(pid) - was for pid, was in zip(own, then, strict=True)]
        for own, then in zip(pids, before, strict=True)
    ]
    messages = [crowd.told()["messages"] for crowd in crowds]
    expected = load.expected * lasted
    return [
        Trial(
            [*cpu, left_over * came / max(1, sum(messages))],
            came,
            min(1.0, came / expected),
            sum(map(memory_kib, own)),
        )
        for own, cpu, came in zip(pids, spent, messages, strict=True)
    ]


def compare(load: Load, rounds: int) -> dict[str, Any]:
    """Measure one process and `WORKERS` of them beside each other; return the row."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(product(load)),
            stack.enter_context(product(load, **{"edge.workers": str(WORKERS)})),
        ]
        crowds = [stack.enter_context(Viewers(server, load)) for server in servers]
        time.sleep(WARM_SECONDS)
        pairs = [watch(servers, crowds, load) for _ in range(rounds)]
    whole = [pair for pair in pairs if all(trial.delivered >= DELIVERED_LEAST for trial in pair)]
    valid = whole or pairs
    ratios = [alone.us_per_message / shared.us_per_message for alone, shared in valid]
    shares = [[cpu / sum(shared.cpu) for cpu in shared.cpu[: WORKERS + 1]] for _, shared in valid]
    return {
        "us_per_message": round(statistics.median(shared.us_per_message for _, shared in valid), 2),
        "one_us_per_message": round(statistics.median(alone.us_per_message for alone, _ in valid), 2),
        "ratio_to_one": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "share_of_node": round(statistics.median(share[0] for share in shares), 3),
        "share_of_busiest_worker": round(statistics.median(max(share[1:]) for share in shares), 3),
        "rss_mib": round(max(shared.memory_kib for _, shared in valid) / 1024, 1),
        "one_rss_mib": round(max(alone.memory_kib for alone, _ in valid) / 1024, 1),
        "delivered": round(statistics.mean(shared.delivered for _, shared in pairs), 4),
        "void": len(pairs) - len(whole),
        "load_average": round(os.getloadavg()[0], 1),
    }


def compare_apart(load: Load, rounds: int) -> dict[str, Any]:
    """Measure one process, and the node and one worker on the same core, in turns; return the row's figures."""
    with ExitStack() as stack:
        alone = stack.enter_context(product(load))
        shared = stack.enter_context(product(load, **{"edge.workers": str(WORKERS)}))
        move(processes(shared)[2], LOAD_CORE)
        pairs = []
        for number in range(rounds):
            found: dict[str, float] = {}
            for server in (alone, shared) if number % 2 else (shared, alone):
                with Viewers(server, load) as crowd:
                    time.sleep(APART_WARM_SECONDS)
                    share = 1.0 if server is alone else part_of_first(shared, load)
                    (trial,) = watch([server], [crowd], load)
                if trial.delivered < DELIVERED_LEAST:
                    break
                first = trial.cpu[0] if server is alone else trial.cpu[0] + trial.cpu[1] / share
                found["alone" if server is alone else "shared"] = first / trial.messages * 1e6
            else:
                pairs.append((found["alone"], found["shared"]))
    if not pairs:
        return {"apart_void": rounds}
    return {
        "apart_us_per_message": round(statistics.median(shared for _, shared in pairs), 2),
        "apart_one_us_per_message": round(statistics.median(alone for alone, _ in pairs), 2),
        "apart_ratio_to_one": round(statistics.median(alone / shared for alone, shared in pairs), 3),
        "apart_ratios": [round(alone / shared, 3) for alone, shared in pairs],
        "apart_void": rounds - len(pairs),
    }


def move(pid: int, core: int) -> None:
    """Move a process to a core, all of its threads."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def part_of_first(server: Server, load: Load) -> float:
    """Return which part of the viewers the first worker has."""
    url = f"http://127.0.0.1:{edge_of(server).port_of('edge')}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = re.search(r'headrace_edge_worker_viewers\{worker="1"\} (\S+)', answer.read().decode())
    assert found is not None
    return float(found[1]) / load.viewers


def main() -> None:
    """Measure what was asked for, print the rows and write them where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="one load, rougher")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {'; '.join(LOADS)}")
    given = parser.parse_args()
    if (os.cpu_count() or 1) < 2:
        parser.exit(0, "workers: one core; the load and the servers need one each, so nothing is measured\n")
    rows: list[dict[str, Any]] = []
    for name in given.names or (list(LOADS)[1:2] if given.quick else LOADS):
        load = LOADS[name]
        facts = {
            "name": f"{WORKERS} workers, {name}",
            "viewers": load.viewers,
            "messages_per_s": load.rate * len(load.payloads),
            "message_bytes": load.video,
        }
        try:
            together = compare(load, QUICK_ROUNDS if given.quick else ROUNDS)
            apart = compare_apart(load, QUICK_APART_ROUNDS if given.quick else APART_ROUNDS)
            rows.append({**facts, **together, **apart})
        except NoCompiler as error:
            rows.append({"name": facts["name"], "absent": str(error)})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(json.dumps(rows, indent=1))
    if given.json:
        given.json.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
