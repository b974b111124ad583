"""Fan-out: what it costs to send streams to many viewers, against the least that it can cost.

The ceiling is a server in C that does nothing but one send() a viewer and chunk (c/ceiling.c). Ours is the product: an
edge that fetches the same chunks over a relay link from a node that it found through Redis. Both servers are pinned to
one core and the load to another. Where one core carries both, they run in the same seconds, in turns within each tick;
where it does not, one after the other. The figure is the server's CPU per delivered byte, by the kernel's count, with
the core's ksoftirqd; the answer is the median of the paired ratios ceiling / ours, so 1.0 is the ceiling.

The file is written after each row; with `--resume` rows that are in it already are not measured again.

    PYTHONPATH=tests python tests/bench/fan_out.py --json build/fan_out.json [--quick] [--resume] [NAME...]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.building import NoCompiler
from bench.fan_out_parts import (
    SERVER_CORE,
    Load,
    Server,
    Viewers,
    ceiling,
    cpu_seconds,
    memory_kib,
    product,
    softirq_pid,
)

GIB = 2**30

TOGETHER_MAX = 0.4
"""Part of a core that one server may need, roughly, for two to share it."""

MESSAGE_SECONDS, GIB_SECONDS = 4e-6, 0.25
"""What the ceiling needs for a message and for a GiB, roughly; only to tell how much one core carries."""

WARM_SECONDS = 1.0
IDLE_SECONDS = 2.0

DELIVERED_LEAST = 0.99
"""A trial in which less arrives, but for a tick at its edges, measures something else: it counts for nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long things take.

    Attributes:
        rounds: windows in which both servers are measured.
        turns: rounds of trials one after the other, where one core does not carry both: each lets thousands in anew.
        seconds: of a window.
    """

    rounds: int = 7
    turns: int = 3
    seconds: float = 2.0


QUICK = Plan(rounds=3, turns=1, seconds=1.5)

GRANULARITIES = {"25/s x 10 KiB": (25, 10_240), "10/s x 25 KiB": (10, 25_600), "4/s x 62 KiB": (4, 63_488)}


GROWTH = (1, 100, 1_000, 5_000, 15_000)
"""Viewers of the curve; a process may have 20,000 descriptors on the machines where this was measured."""


def loads() -> dict[str, Load]:
    """Return every load by its name."""
    rows = {f"{name}, 1,000 viewers": Load(rate, size, 1000) for name, (rate, size) in GRANULARITIES.items()}
    rows["10/s x 25 KiB by play.v1, 1,000 viewers"] = Load(10, 25_600, 1000, door="play")
    rows["10/s x 25 KiB and sound, 1,000 viewers"] = Load(10, 25_600, 1000, audio=1_600)
    rows["10/s x 25 KiB, 1,000 viewers and 100 that never read"] = Load(10, 25_600, 1000, never=100)
    rows["10/s x 25 KiB, 1,000 viewers and 100 slow ones"] = Load(10, 25_600, 1000, slow=100)
    for streams in (10, 100):
        rows[f"10/s x 25 KiB, 1,000 viewers of {streams} streams"] = Load(10, 25_600, 1000, streams=streams)
        sound = Load(10, 25_600, 1000, audio=1_600, streams=streams)
        rows[f"10/s x 25 KiB and sound, 1,000 viewers of {streams} streams"] = sound
    rows["25/s x 10 KiB, 500 viewers"] = Load(25, 10_240, 500)
    rows["25/s x 10 KiB by wss, 500 viewers"] = Load(25, 10_240, 500, tls=True)
    for viewers in GROWTH:
        rows[f"4/s x 25 KiB, {viewers:,} viewers"] = Load(4, 25_600, viewers)
        rows[f"4/s x 25 KiB and sound, {viewers:,} viewers"] = Load(4, 25_600, viewers, audio=4_000)
    rows["25/s x 10 KiB, 5,000 viewers"] = Load(25, 10_240, 5_000)
    rows["4/s x 62 KiB, 12,000 viewers"] = Load(4, 63_488, 12_000)
    return rows


QUICK_NAMES = tuple(f"{name}, 1,000 viewers" for name in GRANULARITIES)


@dataclass(frozen=True, slots=True)
class Trial:
    """What one server did in one window."""

    seconds: float
    cpu_seconds: float
    messages: int
    bytes: int
    expected: float
    tick: float
    p50_ms: float
    p99_ms: float
    load_cpu: float
    softirq_seconds: float

    @property
    def is_whole(self) -> bool:
        """Whether everything arrived, as far as a window can tell that begins and ends anywhere in a tick."""
        return self.messages >= DELIVERED_LEAST * self.expected - self.tick

    @property
    def per_gib(self) -> float:
        """CPU seconds for a GiB delivered."""
        return self.cpu_seconds / self.bytes * GIB


def watch(
    servers: Sequence[Server], viewers: Sequence[Viewers], load: Load, seconds: float, foreign: float = 0.0
) -> list[Trial]:
    """Measure servers in the same seconds.

    What ksoftirqd does, beyond the part `foreign` of the core that it took before anybody watched, is charged to the
    last of them, ours: nobody can tell for whom it worked, and the ceiling leaves it next to nothing.
    """
    softirq = softirq_pid(SERVER_CORE)
    pids = [server.pid for server in servers] + ([softirq] if softirq else [])
    loaded = [crowd.told()["cpu_s"] for crowd in viewers]
    for crowd in viewers:
        crowd.say("go")
    began, before = time.monotonic(), [cpu_seconds(pid) for pid in pids]
    time.sleep(seconds)
    lasted, spent = time.monotonic() - began, [cpu_seconds(pid) - was for pid, was in zip(pids, before, strict=True)]
    told = [crowd.told() for crowd in viewers]
    left_over = [0.0] * len(servers)
    if softirq:
        left_over[-1] = max(0.0, spent.pop() - foreign * lasted)
    return [
        Trial(
            seconds=lasted,
            cpu_seconds=cpu + more,
            messages=each["messages"],
            bytes=each["bytes"] or 1,
            expected=load.expected * lasted,
            tick=load.expected / load.rate,
            p50_ms=each["p50_ms"],
            p99_ms=each["p99_ms"],
            load_cpu=(each["cpu_s"] - was) / lasted,
            softirq_seconds=more,
        )
        for cpu, more, each, was in zip(spent, left_over, told, loaded, strict=True)
    ]


def compare(load: Load, plan: Plan) -> dict[str, Any]:
    """Run one load against the ceiling and the product; return its row."""
    together = load.expected * (MESSAGE_SECONDS + statistics.mean(load.payloads) / GIB * GIB_SECONDS) <= TOGETHER_MAX
    with ExitStack() as stack:
        least = stack.enter_context(ceiling(load))
        ours = stack.enter_context(product(load))
        idle, foreign = idle_cpu(ours)
        empty_kib = memory_kib(ours.pid)
        if together:
            pairs, full_kib = run_together(least, ours, load, plan, foreign)
        else:
            pairs, full_kib = run_in_turns(least, ours, load, plan, foreign)
    told = summary(pairs, idle)
    told["idle_ms_per_s"] = round(1000 * idle, 1)
    told["kib_per_viewer"] = round((full_kib - empty_kib) / (load.viewers + load.slow + load.never), 1)
    told["rss_mib"] = round(full_kib / 1024, 1)
    return {"how": "together" if together else "in turns", **told}


def idle_cpu(server: Server) -> tuple[float, float]:
    """Return the parts of a core that a server and ksoftirqd take while nobody watches.

    The server's is for links, registry and timers; that of ksoftirqd is for other work on the machine.
    """
    time.sleep(WARM_SECONDS)
    softirq = softirq_pid(SERVER_CORE)
    pids = [server.pid, *([softirq] if softirq else [])]
    before = [cpu_seconds(pid) for pid in pids]
    time.sleep(IDLE_SECONDS)
    spent = [(cpu_seconds(pid) - was) / IDLE_SECONDS for pid, was in zip(pids, before, strict=True)]
    return spent[0], sum(spent[1:])


def run_together(
    least: Server, ours: Server, load: Load, plan: Plan, foreign: float
) -> tuple[list[tuple[Trial, Trial]], int]:
    """Measure both in the same seconds."""
    with Viewers(least, load) as those, Viewers(ours, load) as these:
        time.sleep(WARM_SECONDS)
        pairs = [watch((least, ours), (those, these), load, plan.seconds, foreign) for _ in range(plan.rounds)]
        return [(pair[0], pair[1]) for pair in pairs], memory_kib(ours.pid)


def run_in_turns(
    least: Server, ours: Server, load: Load, plan: Plan, foreign: float
) -> tuple[list[tuple[Trial, Trial]], int]:
    """Measure one after the other, in changing order."""
    pairs, full_kib = [], 0
    for number in range(plan.turns):
        found: dict[str, Trial] = {}
        for server in (least, ours) if number % 2 else (ours, least):
            with Viewers(server, load) as crowd:
                time.sleep(WARM_SECONDS)
                (found[server.name],) = watch([server], [crowd], load, plan.seconds, foreign)
                full_kib = max(full_kib, memory_kib(ours.pid)) if server is ours else full_kib
        pairs.append((found[least.name], found[ours.name]))
    return pairs, full_kib


def summary(pairs: Sequence[tuple[Trial, Trial]], idle: float) -> dict[str, Any]:
    """Return the figures of pairs of the ceiling and ours, which takes the part `idle` of a core without viewers."""
    whole = [pair for pair in pairs if all(trial.is_whole for trial in pair)]
    valid = whole or list(pairs)
    ratios = [least.per_gib / ours.per_gib for least, ours in valid]
    busy = [least.per_gib / (ours.per_gib * (1 - idle * ours.seconds / ours.cpu_seconds)) for least, ours in valid]
    ours = [trial for _, trial in valid]
    return {
        "cpu_s_per_gib": round(statistics.median(trial.per_gib for trial in ours), 4),
        "ceiling_cpu_s_per_gib": round(statistics.median(trial.per_gib for trial, _ in valid), 4),
        "ratio_to_ceiling": round(statistics.median(ratios), 3),
        "ratio_of_minima": round(min(trial.per_gib for trial, _ in valid) / min(t.per_gib for t in ours), 3),
        "ratio_without_idle": round(statistics.median(busy), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "softirq_ms_per_s": round(statistics.median(1e3 * t.softirq_seconds / t.seconds for t in ours), 1),
        "us_per_message": round(statistics.median(t.cpu_seconds / max(1, t.messages) for t in ours) * 1e6, 2),
        "p50_ms": round(statistics.median(trial.p50_ms for trial in ours), 2),
        "p99_ms": round(statistics.median(trial.p99_ms for trial in ours), 2),
        "delivered": delivered([trial for _, trial in pairs]),
        "ceiling_delivered": delivered([trial for trial, _ in pairs]),
        "load_cpu": round(max(trial.load_cpu for pair in pairs for trial in pair), 2),
        "void": len(pairs) - len(whole),
        "load_average": round(os.getloadavg()[0], 1),
    }


def delivered(trials: Sequence[Trial]) -> float:
    """Return which part of what was due arrived, in all windows together."""
    return round(min(1.0, sum(trial.messages for trial in trials) / sum(trial.expected for trial in trials)), 4)


def measure(names: Sequence[str], plan: Plan, had: Sequence[dict[str, Any]], file: Path | None) -> list[dict[str, Any]]:
    """Return a row for each load, those included that were `had` already; `file` always has what there is so far."""
    rows = list(had)
    for name in names:
        load = loads()[name]
        facts = {
            "name": f"fan-out {name}",
            "viewers": load.viewers,
            "streams": load.streams,
            "messages_per_s": load.rate * len(load.payloads),
            "message_bytes": round(statistics.mean(load.payloads)),
        }
        if any(row["name"] == facts["name"] for row in had):
            continue
        began = time.monotonic()
        try:
            rows.append({**facts, **compare(load, plan), "seconds": round(time.monotonic() - began)})
        except NoCompiler as error:
            rows.append({"name": facts["name"], "absent": str(error)})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        if file is not None:
            file.write_text(json.dumps(rows) + "\n")
    return rows


def main() -> None:
    """Measure what was asked for, print the rows and write them where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="three loads, shorter and rougher")
    parser.add_argument("--resume", action="store_true", help="leave out what is in the file already")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {'; '.join(loads())}")
    given = parser.parse_args()
    if unknown := set(given.names) - loads().keys():
        parser.error(f"there is no load {', '.join(sorted(unknown))}")
    if (os.cpu_count() or 1) < 2:
        parser.exit(0, "fan-out: one core; the load and the servers need one each, so nothing is measured\n")
    had = json.loads(given.json.read_text()) if given.resume and given.json and given.json.exists() else []
    rows = measure(
        given.names or (QUICK_NAMES if given.quick else tuple(loads())),
        QUICK if given.quick else Plan(),
        [row for row in had if "absent" not in row],
        given.json,
    )
    print(json.dumps(rows, indent=1))
    if given.json:
        given.json.write_text(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
