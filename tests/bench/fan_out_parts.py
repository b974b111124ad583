"""What the fan-out is measured with: the ceiling, the product, viewers, and the CPU that the kernel counts."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench.building import program
from bench.producer import stream_names
from support.certificates import Authority
from support.redis_server import RedisServer
from support.services import Service, running

KEY = base64.b64encode(bytes(range(16))).decode()
"""Every handshake of a benchmark has the same key, so that programs in C need no SHA-1."""

ACCEPT = base64.b64encode(hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
"""The answer to it (RFC 6455, section 4.2.2)."""

SERVER_CORE, LOAD_CORE = 1, 0

PRODUCT_PHASE = 0.5
"""The product's chunks come half a tick after the ceiling's, so that two servers on one core do not stand in each
other's way more than they must."""

PLAY_RECORD_BYTES = 48 + 32
"""What a chunk record has before moof and mdat: its header and the prft."""

READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent to whom.

    Attributes:
        rate: ticks a second.
        video, audio: bytes of a chunk of each; no audio with 0.
        viewers: that read at once whatever comes.
        streams: viewers spread evenly over so many.
        door: `fmp4` or `play`.
        slow, never: further viewers, those that read half of what comes and those that never read.
        tls: by wss, on both sides.
    """

    rate: float
    video: int
    viewers: int
    audio: int = 0
    streams: int = 1
    door: str = "fmp4"
    slow: int = 0
    never: int = 0
    tls: bool = False

    @property
    def payloads(self) -> list[int]:
        """Bytes of each message of a tick."""
        more = PLAY_RECORD_BYTES if self.door == "play" else 0
        return [size + more for size in (self.video, self.audio) if size]

    @property
    def expected(self) -> float:
        """Messages a second that all readers together should get."""
        return self.rate * len(self.payloads) * self.viewers


@dataclass(frozen=True, slots=True)
class Server:
    """One of those compared.

    Attributes:
        name: `ceiling` or whose fan-out it is.
        pid: of the process whose CPU counts.
        port: where viewers come in.
        paths: what they ask for.
        door: how they do it.
        edge: the service, when it is ours.
    """

    name: str
    pid: int
    port: int
    paths: Sequence[str]
    door: str
    edge: Service | None = None


def pinned(core: int) -> tuple[str, ...]:
    """Return what a command begins with to stay on one core."""
    return ("taskset", "-c", str(core))


@contextmanager
def certificate(load: Load) -> Iterator[list[str]]:
    """Make the certificate and the key of a load by wss, if it is one; they are gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield [str(path) for path in Authority(Path(folder)).issue("127.0.0.1")] if load.tls else []


@contextmanager
def ceiling(load: Load) -> Iterator[Server]:
    """Run the ceiling for one load."""
    with certificate(load) as files:
        words = [*files, load.rate, ACCEPT, 0, *load.payloads]
        with _ceiling([str(program("ceiling", tls=load.tls)), *map(str, words)]) as server:
            yield server


@contextmanager
def _ceiling(command: list[str]) -> Iterator[Server]:
    with subprocess.Popen(
        [*pinned(SERVER_CORE), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Server("ceiling", process.pid, int(process.stdout.readline()), ["/x"], "fmp4")
        process.stdin.close()


class Producer(Service):
    """The producer, as a service process."""

    def __init__(self, settings: dict[str, str], load: Load) -> None:
        super().__init__("ingress", "producer", settings, prefix=pinned(LOAD_CORE))
        phase = round(PRODUCT_PHASE / load.rate * 1e6)
        self._words = [load.rate, phase, load.streams, load.video, load.audio]

    def command(self) -> list[str]:
        return [sys.executable, str(Path(__file__).parent / "producer.py"), *map(str, self._words)]


@contextmanager
def product(load: Load, **settings: str) -> Iterator[Server]:
    """Run the product for one load: registry, a node that publishes, and the edge, whose CPU counts."""
    with ExitStack() as stack:
        store = stack.enter_context(RedisServer(prefix=pinned(LOAD_CORE)))
        common = {"registry.url": store.url, "relay.secret": "a secret of the benchmarks"}
        files = dict(zip(("tls.certificate", "tls.key"), stack.enter_context(certificate(load)), strict=False))
        edge = {**files, "edge.port": "0", "edge.fmp4_port": "0", "edge.viewers_max": "60000", "node.capacity": "60000"}
        nodes = [
            Producer(common, load),
            Service("edge", "edge-1", {**common, **edge, **settings}, prefix=pinned(SERVER_CORE)),
        ]
        stack.enter_context(running(*nodes))
        prefix = "/play/" if load.door == "play" else "/"
        port = nodes[1].port_of("edge" if load.door == "play" else "fmp4")
        paths = [prefix + name for name in stream_names(load.streams)]
        yield Server("headrace", nodes[1].pid, port, paths, load.door, nodes[1])


class Viewers:
    """The load on one server, as a process; for a `with` block, which begins once everybody is in."""

    def __init__(self, server: Server, load: Load) -> None:
        slow_bytes = round(sum(load.payloads) * load.rate / 2)
        words = [server.port, ",".join(server.paths), load.viewers, server.door, KEY, ACCEPT]
        self._command = [str(program("viewers", tls=load.tls)), *map(str, (*words, load.slow, load.never, slow_bytes))]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*pinned(LOAD_CORE), *self._command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if not self._line().startswith("open"):
            raise RuntimeError("the viewers did not get in")
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def say(self, word: str) -> None:
        """Send an order: `go` or `tell`."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def told(self) -> dict[str, Any]:
        """Return what was counted since `go`."""
        self.say("tell")
        told: dict[str, Any] = json.loads(self._line())
        return told

    def _line(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def edge_of(server: Server) -> Service:
    """Return the edge behind a server of ours."""
    assert server.edge is not None
    return server.edge


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all living threads of a process (Documentation/scheduler/sched-stats.rst)."""
    stats = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in stats) / 1e9


def softirq_pid(core: int) -> int | None:
    """Return the kernel thread that does what a core's sends left over, `None` where it cannot be seen."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == f"ksoftirqd/{core}":
                return int(path.parent.name)
        except OSError:
            continue
    return None


def memory_kib(pid: int) -> int:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0
