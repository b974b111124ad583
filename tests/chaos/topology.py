"""Ingresses that share a source, two layers of intermediates, edges, a store and viewers: processes to be disturbed."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from chaos.network import Network, Place
from chaos.probes import Probes, Seen
from chaos.scraping import Sample, scrape
from support.redis_server import RedisServer
from support.services import Service

STREAM = "cam"
SOURCE = "test:?size=320x180&rate=25&audio=yes"
"""About 300 kbit/s of pictures and sound."""

PORTS = {"ingress": 8080, "intermediate": 8082, "edge": 8088}
WELL_SECONDS = 60.0
"""Longest wait until everything is well again; a busy machine starts a process in seconds."""

START_SECONDS = 120.0
"""Longest wait until everything has started, all at once."""

FRESH_SECONDS = 1.0
"""A viewer whose tracks have all had a chunk within this time is served."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How many of each.

    Attributes:
        layers: intermediates in each layer, the one next to the ingress first.
        settings: of all processes, beside those that make the topology.
    """

    ingresses: int = 2
    layers: tuple[int, ...] = (2, 2)
    edges: int = 3
    viewers: int = 30
    probe_processes: int = 3
    settings: Mapping[str, str] = field(default_factory=dict)


class NotWell(Exception):
    """The topology did not come back by itself; the sentence says what is wrong."""


class Topology:
    """The processes.

    Attributes:
        services: all of them by node id, ingress first.
        store: the Redis or Valkey that they find each other in.
        probes: the viewers; only after `start`.
    """

    def __init__(self, network: Network, shape: Shape) -> None:
        self.network = network
        self.shape = shape
        store = network.place("store")
        self.store = RedisServer(arguments=("--protected-mode", "no"), host=store.host, prefix=store.prefix)
        self.services: dict[str, Service] = {}
        self.probes: Probes | None = None

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and wait until every viewer is served."""
        self.store.start()
        for node, role, layer in _nodes(self.shape):
            self.services[node] = self._service(node, role, layer, self.network.place(node))
        for service in self.services.values():
            service.start()
        self._wait(self._what_is_missing_of_nodes, time.monotonic() + START_SECONDS)
        urls = [f"ws://{edge.host}:{edge.port()}" for edge in self.of_role("edge")]
        self.probes = Probes(STREAM, urls, self.shape.viewers, self.shape.probe_processes)
        self.wait_until_well()

    def stop(self) -> None:
        """End everything, at once."""
        if self.probes is not None:
            self.probes.close()
        for service in self.services.values():
            if service.is_running:
                service.kill()
        self.store.close()

    def _service(self, node: str, role: str, layer: int | None, place: Place) -> Service:
        settings = {
            "registry.url": self.store.url,
            "relay.secret": "a secret of the tests",
            **self.shape.settings,
            f"{role}.host": place.host,
            f"{role}.port": str(place.port(PORTS[role])),
        }
        if role == "ingress":
            settings["ingress.sources"] = json.dumps({STREAM: SOURCE})
        if role == "edge":
            settings["edge.fmp4_port"] = str(place.port(8410))
        if layer is not None:
            settings["node.layer"] = str(layer)
        return Service(role, node, settings, place.host, place.prefix)

    # -- who is who --------------------------------------------------------------------------------

    def of_role(self, role: str) -> list[Service]:
        """Return the services of one role."""
        return [service for service in self.services.values() if service.role == role]

    def layer(self, number: int) -> list[Service]:
        """Return the intermediates of a layer, from 1."""
        return [service for service in self.of_role("intermediate") if service.settings["node.layer"] == str(number)]

    def parents(self) -> dict[str, str]:
        """Return where each relaying node takes the stream from, by what it logged last."""
        found = {}
        for node, service in self.services.items():
            if service.is_running and (last := service.events("parent_chosen", "parent_lost", "fetch_ended")):
                found[node] = str(last[-1].get("parent", "")) if last[-1]["event"] == "parent_chosen" else ""
        return {node: parent for node, parent in found.items() if parent}

    def busiest(self, services: list[Service]) -> Service:
        """Return the one by which most viewers are served."""
        serving = self.serving()
        return max(services, key=lambda service: serving[service.node])

    def serving(self) -> Counter[str]:
        """Return by how many viewers' routes each node is passed."""
        return Counter(node for seen in self.seen() for node in seen.route)

    def seen(self) -> list[Seen]:
        """Return all viewers as they stand."""
        assert self.probes is not None
        return self.probes.read()

    def samples(self) -> dict[str, Sample]:
        """Return the counters of all that answer."""
        return {node: sample for node, service in self.services.items() if (sample := scrape(service))}

    # -- waiting -----------------------------------------------------------------------------------

    def wait_until_well(self, seconds: float = WELL_SECONDS) -> None:
        """Wait until every process is ready and knows all others, and every viewer gets chunks.

        Raises:
            NotWell: when that takes longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        self._wait(self._what_is_missing_of_nodes, deadline)
        self._wait(self._what_is_missing_of_viewers, deadline)

    def wait_until_shaped(self, seconds: float) -> bool:
        """Wait until every viewer's route passes every layer; return whether that came about within `seconds`."""
        deadline, hops = time.monotonic() + seconds, len(self.shape.layers) + 2
        while any(len(seen.route) < hops for seen in self.seen()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def wait_until_served(self, seconds: float) -> int:
        """Wait until every viewer has had chunks captured after now; return how many have not after `seconds`."""
        began_us, deadline = time.time() * 1e6, time.monotonic() + seconds
        while True:
            late = sum(seen.newest_capture_us < began_us for seen in self.seen())
            if not late or time.monotonic() > deadline:
                return late
            time.sleep(0.1)

    def _wait(self, missing: Callable[[], str], deadline: float | None = None) -> None:
        deadline = deadline or time.monotonic() + WELL_SECONDS
        while words := missing():
            if time.monotonic() > deadline:
                raise NotWell(words)
            time.sleep(0.2)

    def _what_is_missing_of_nodes(self) -> str:
        for node, service in self.services.items():
            try:
                ready = service.get("/health/ready")
            except (AssertionError, urllib.error.URLError, OSError) as error:
                return f"{node} is not ready: {_words(error)}"
            if not ready["ready"]:
                return f"{node} is not ready: {ready}"
            sample = scrape(service)
            if sample is None or sample["headrace_registry_nodes"] < len(self.services):
                return f"{node} does not know all others"
        return ""

    def _what_is_missing_of_viewers(self) -> str:
        late = [seen for seen in self.seen() if seen.silence > FRESH_SECONDS or seen.state != "live"]
        return f"{len(late)} viewers get nothing, for example {late[0]}" if late else ""


@contextmanager
def running(network: Network, shape: Shape) -> Iterator[Topology]:
    """Run a topology for a `with` block."""
    topology = Topology(network, shape)
    try:
        topology.start()
        yield topology
    finally:
        topology.stop()


def pause(service: Service) -> None:
    """Let a process stand still: its connections stay open."""
    service.signal(signal.SIGSTOP)


def resume(service: Service) -> None:
    """Let it go on."""
    service.signal(signal.SIGCONT)


def _nodes(shape: Shape) -> Iterator[tuple[str, str, int | None]]:
    for number in range(1, shape.ingresses + 1):
        yield f"ingress-{number}", "ingress", None
    for layer, count in enumerate(shape.layers, 1):
        for number in range(1, count + 1):
            yield f"mid-{layer}-{number}", "intermediate", layer
    for number in range(1, shape.edges + 1):
        yield f"edge-{number}", "edge", None


def _words(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return error.read().decode(errors="replace")[:300]
    return str(error)[:300]
