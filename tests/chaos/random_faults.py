"""Faults in a row, drawn by a seed, one at a time."""

from __future__ import annotations

import random
from collections.abc import Sequence

from chaos import report
from chaos.faults import Fault, Kind
from chaos.measuring import Row, inflict
from chaos.topology import Topology


def in_a_row(topology: Topology, faults: Sequence[Fault], count: int, seed: int) -> Row:
    """Do `count` faults drawn from `faults`, each after the one before is healed, and return all in one row.

    Its pauses are the greatest of all faults, which hides no bad one.
    """
    print(f"{count} random faults, seed {seed}", flush=True)
    drawn = random.Random(seed)
    total = Row("random", Kind.MIXED.value, f"{count} random faults in a row, seed {seed}")
    for number in range(1, count + 1):
        row = inflict(topology, drawn.choice(faults))
        print(f"  {number:2} {report.line(row)}", flush=True)
        add(total, row)
        if row.problem:
            break
    return total


def add(total: Row, row: Row) -> None:
    """Add what one fault did."""
    for name in ("lost", "duplicated", "extra_bytes", "relay_duplicates", "moves", "moves_elsewhere", "viewer_moves"):
        setattr(total, name, getattr(total, name) + getattr(row, name))
    for name in ("left_behind", "interruptions", "chunks"):
        setattr(total, name, getattr(total, name) + getattr(row, name))
    for name in ("pause_ms_p50", "pause_ms_p99", "pause_ms_max", "viewers"):
        setattr(total, name, max(getattr(total, name), getattr(row, name)))
    total.detection_ms = max((total.detection_ms or 0.0, row.detection_ms or 0.0)) or None
    total.problem = total.problem or row.problem
    total.details += [f"{row.name}: {detail}" for detail in row.details]
