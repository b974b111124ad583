"""Random faults for a long time, and whether memory grows."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos import report
from chaos.faults import Fault, Kind
from chaos.measuring import Row, inflict
from chaos.random_faults import add
from chaos.topology import Topology

RESULT = Path("build/soak.json")
SAMPLE_SECONDS = 5.0
WARM_UP_SECONDS = 60.0
"""Memory of a process is looked at after this time: rings fill, and allocators take what they will keep."""

SAMPLES_MIN = 12


@dataclass(slots=True)
class Life:
    """Memory of one process.

    Attributes:
        samples: moments in seconds and resident sizes in MiB.
    """

    name: str
    pid: int
    samples: list[tuple[float, float]] = field(default_factory=list)

    @property
    def warm(self) -> list[tuple[float, float]]:
        """The samples after the warm-up."""
        return [sample for sample in self.samples if sample[0] >= self.samples[0][0] + WARM_UP_SECONDS]

    @property
    def slope(self) -> float | None:
        """MiB an hour, by least squares; `None` when it did not live long enough."""
        return slope(self.warm) if len(self.warm) >= SAMPLES_MIN else None


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Return the slope of a line through samples, for each hour."""
    moment = sum(at for at, _ in samples) / len(samples)
    size = sum(value for _, value in samples) / len(samples)
    spread = sum((at - moment) ** 2 for at, _ in samples)
    return 3600 * sum((at - moment) * (value - size) for at, value in samples) / spread if spread else 0.0


class Memory(threading.Thread):
    """Samples the memory of all processes until stopped."""

    def __init__(self, topology: Topology) -> None:
        super().__init__(daemon=True)
        self.lives: dict[int, Life] = {}
        self._topology = topology
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample."""
        while not self._ended.wait(SAMPLE_SECONDS):
            for name, pid in self._processes():
                if (size := resident_mib(pid)) is not None:
                    self.lives.setdefault(pid, Life(name, pid)).samples.append((time.monotonic(), size))

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self.join()

    def _processes(self) -> list[tuple[str, int]]:
        found = [(node, service.pid) for node, service in self._topology.services.items() if service.is_running]
        if self._topology.probes is not None:
            found += [(f"probes-{n}", process.pid) for n, process in enumerate(self._topology.probes.processes)]
        return found


def resident_mib(pid: int) -> float | None:
    """Return the resident size of a process, `None` when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(sizes[0]) / 1024 if sizes else None


def soak(topology: Topology, faults: Sequence[Fault], seconds: float, drawn: random.Random, seed: int) -> int:
    """Do random faults for `seconds` and print what became of chunks and memory; return the exit code."""
    print(f"soak for {seconds:.0f} s, seed {seed}", flush=True)
    faults = [fault for fault in faults if fault.single]
    memory = Memory(topology)
    memory.start()
    total = Row("soak", Kind.MIXED.value, f"random faults for {seconds:.0f} s, seed {seed}")
    deadline, count = time.monotonic() + seconds, 0
    while time.monotonic() < deadline and not total.problem:
        row = inflict(topology, drawn.choice(faults))
        count += 1
        print(f"  {count:3} {report.line(row)}", flush=True)
        add(total, row)
        time.sleep(min(drawn.uniform(0, 20), max(0.0, deadline - time.monotonic())))
    memory.stop()
    _tell(total, count, seed, list(memory.lives.values()))
    return 0 if total.holds else 1


def _tell(total: Row, count: int, seed: int, lives: list[Life]) -> None:
    print(f"\n{count} faults: {report.line(total)}\n")
    print(f"{'process':12} {'lived s':>8} {'MiB first':>10} {'last':>8} {'most':>8} {'MiB/h':>8}")
    for life in sorted(lives, key=lambda life: life.name):
        samples = life.warm or life.samples
        sizes = [size for _, size in samples]
        lived = life.samples[-1][0] - life.samples[0][0]
        told = "–" if life.slope is None else f"{life.slope:.1f}"
        print(f"{life.name:12} {lived:8.0f} {sizes[0]:10.1f} {sizes[-1]:8.1f} {max(sizes):8.1f} {told:>8}")
    RESULT.parent.mkdir(exist_ok=True)
    processes = [
        {"name": life.name, "pid": life.pid, "mib_per_hour": life.slope, "samples": life.samples} for life in lives
    ]
    RESULT.write_text(json.dumps({"seed": seed, "total": total.as_json(), "processes": processes}) + "\n")
