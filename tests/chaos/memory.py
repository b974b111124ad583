"""How much memory processes hold over a long time, and whether that is flat."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.topology import Topology

SAMPLE_SECONDS = 10.0
WARM_UP_SECONDS = 60.0
"""Slopes are told of what comes after: rings fill, and allocators take what they will keep."""

SAMPLES_MIN = 12

WINDOWS = 6
"""A run is judged by the second and the last of so many equal parts: of an hour, minutes 10 to 20 and the last ten."""

GROWTH_MAX = 0.05
"""By how much the median of the last part may be greater than that of the second: less than an hour's noise of an
allocator, and a leak of a hundredth of that a minute would be seen."""

PROBES = "probes-"


@dataclass(slots=True)
class Life:
    """Memory of one process.

    Attributes:
        samples: seconds since the run began, and resident sizes in MiB.
    """

    name: str
    pid: int
    samples: list[tuple[float, float]] = field(default_factory=list)

    @property
    def is_harness(self) -> bool:
        """Whether it is no node but one of those that watch: it keeps notes, and is not judged."""
        return self.name.startswith(PROBES)

    @property
    def slope(self) -> float | None:
        """MiB an hour, by least squares, after the warm-up; `None` when it did not live long enough."""
        warm = [sample for sample in self.samples if sample[0] >= self.samples[0][0] + WARM_UP_SECONDS]
        return slope(warm) if len(warm) >= SAMPLES_MIN else None

    def growth(self, seconds: float) -> float | None:
        """Return by what share it grew from the second to the last part of a run; `None` if it did not live that long.

        Args:
            seconds: how long the run is.
        """
        part = seconds / WINDOWS
        early = [size for at, size in self.samples if part <= at < 2 * part]
        late = [size for at, size in self.samples if at >= seconds - part]
        expected = part / SAMPLE_SECONDS / 2
        if len(early) < expected or len(late) < expected:
            return None
        return statistics.median(late) / statistics.median(early) - 1


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Return the slope of a line through samples, for each hour."""
    moment = sum(at for at, _ in samples) / len(samples)
    size = sum(value for _, value in samples) / len(samples)
    spread = sum((at - moment) ** 2 for at, _ in samples)
    return 3600 * sum((at - moment) * (value - size) for at, value in samples) / spread if spread else 0.0


class Memory(threading.Thread):
    """Samples the memory of all processes until stopped.

    Attributes:
        lives: by process id; read it from the thread that started this one at any time.
    """

    def __init__(self, topology: Topology) -> None:
        super().__init__(daemon=True)
        self.lives: dict[int, Life] = {}
        self._topology = topology
        self._began = time.monotonic()
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample."""
        while not self._ended.wait(SAMPLE_SECONDS):
            for name, pid in self._processes():
                if (size := resident_mib(pid)) is not None:
                    at = round(time.monotonic() - self._began, 1)
                    self.lives.setdefault(pid, Life(name, pid)).samples.append((at, round(size, 2)))

    def stop(self) -> None:
        """End."""
        self._ended.set()
        self.join()

    def _processes(self) -> list[tuple[str, int]]:
        found = [(node, service.pid) for node, service in self._topology.services.items() if service.is_running]
        if self._topology.probes is not None:
            found += [(f"{PROBES}{n}", process.pid) for n, process in enumerate(self._topology.probes.processes)]
        return found


def resident_mib(pid: int) -> float | None:
    """Return the resident size of a process, `None` when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(sizes[0]) / 1024 if sizes else None
