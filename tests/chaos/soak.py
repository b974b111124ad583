"""Random faults for a long time, and whether memory grows. What is known so far is in build/soak.json all the time."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chaos import report
from chaos.faults import Fault, Kind, kill, terminate
from chaos.measuring import Row, inflict, watch
from chaos.memory import GROWTH_MAX, WINDOWS, Life, Memory
from chaos.random_faults import add
from chaos.topology import Shape, Topology
from support.services import Service

RESULT = Path("build/soak.json")

SHAPE = Shape(viewers=9, probe_processes=1)
"""Memory does not need thirty viewers, and an hour of them would keep a small machine from everything else."""

KEPT = ("ingress-1", "mid-1-1", "mid-2-1", "edge-1")
"""Processes that nothing ends, so that there is an hour to look at; they suffer all other faults."""

PAUSE_SECONDS = (5.0, 30.0)
"""Between two faults, by chance."""

PROBLEMS_MAX = 3
"""After so many faults from which the topology did not come back it is over."""


def soak(topology: Topology, faults: Sequence[Fault], seconds: float, seed: int) -> int:
    """Do random faults for `seconds` and print what became of chunks and memory; return the exit code."""
    print(f"soak for {seconds:.0f} s, seed {seed}", flush=True)
    drawn, chosen = random.Random(seed), [sparing(fault) for fault in faults if fault.single]
    memory = Memory(topology)
    memory.start()
    result = Result(seed, seconds, Row("soak", Kind.MIXED.value, f"random faults for {seconds:.0f} s, seed {seed}"))
    deadline, problems = time.monotonic() + seconds, 0
    while time.monotonic() < deadline and problems < PROBLEMS_MAX:
        row = inflict(topology, drawn.choice(chosen))
        problems += bool(row.problem)
        result.count += 1
        print(f"  {result.count:3} {time.strftime('%H:%M:%S')} {report.line(row)}", flush=True)
        add(result.total, row)
        result.write(list(memory.lives.values()))
        add(result.total, watch(topology, max(0.0, min(drawn.uniform(*PAUSE_SECONDS), deadline - time.monotonic()))))
    memory.stop()
    lives = list(memory.lives.values())
    result.write(lives, over=True)
    _tell(result, lives)
    return 0 if result.total.holds and result.is_flat(lives) else 1


def sparing(fault: Fault) -> Fault:
    """Return `fault`, done to another process of the same kind where it would end one of `KEPT`."""
    if fault.begin not in (kill, terminate):
        return fault

    def choose(topology: Topology) -> Service:
        victim = fault.choose(topology)
        layer = victim.settings.get("node.layer")
        like = [one for one in topology.of_role(victim.role) if one.settings.get("node.layer") == layer]
        return victim if victim.node not in KEPT else topology.busiest([one for one in like if one.node not in KEPT])

    return replace(fault, choose=choose)


@dataclass(slots=True)
class Result:
    """What came of it so far."""

    seed: int
    seconds: float
    total: Row
    count: int = 0

    def is_flat(self, lives: Sequence[Life]) -> bool:
        """Return whether every node that lived through it all is flat, and there are such."""
        nodes = [life for life in lives if not life.is_harness]
        growths = [growth for life in nodes if (growth := life.growth(self.seconds)) is not None]
        return bool(growths) and max(growths) <= GROWTH_MAX

    def write(self, lives: Sequence[Life], over: bool = False) -> None:
        """Write build/soak.json, at once or not at all."""
        answer = {
            "seed": self.seed,
            "seconds": self.seconds,
            "over": over,
            "faults": self.count,
            "machine": report.machine(),
            "total": self.total.as_json(),
            "rule": f"median of the last 1/{WINDOWS} at most {GROWTH_MAX:.0%} above that of the second",
            "flat": self.is_flat(lives) if over else None,
            "processes": [self._life(life) for life in lives],
        }
        RESULT.parent.mkdir(exist_ok=True)
        draft = RESULT.with_suffix(".new")
        draft.write_text(json.dumps(answer) + "\n")
        os.replace(draft, RESULT)

    def _life(self, life: Life) -> dict[str, Any]:
        facts = {"name": life.name, "pid": life.pid, "growth": life.growth(self.seconds), "mib_per_hour": life.slope}
        return {**facts, "samples": life.samples}


def _tell(result: Result, lives: Sequence[Life]) -> None:
    print(f"\n{result.count} faults: {report.line(result.total)}\n")
    print(f"{'process':12} {'lived s':>8} {'MiB first':>10} {'last':>8} {'most':>8} {'MiB/h':>8} {'growth':>8}")
    for life in sorted(lives, key=lambda life: life.name):
        sizes = [size for _, size in life.samples]
        lived = life.samples[-1][0] - life.samples[0][0]
        hourly = "–" if life.slope is None else f"{life.slope:.1f}"
        growth = life.growth(result.seconds)
        grew = "–" if growth is None else f"{growth:+.1%}"
        print(f"{life.name:12} {lived:8.0f} {sizes[0]:10.1f} {sizes[-1]:8.1f} {max(sizes):8.1f} {hourly:>8} {grew:>8}")
    print(f"memory is {'flat' if result.is_flat(lives) else 'NOT flat'}")
