"""deploy/docker-compose.yml as a small mesh, and faults done to its containers: viewers miss nothing."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from docker.models.networks import Network

from chaos.viewer import Viewer
from headrace.testing import free_port, wait_until
from support.containers.compose import ComposeProject

pytestmark = [
    pytest.mark.containers,
    pytest.mark.slow,
    pytest.mark.timeout(1500),  # the first run makes base images and fetches all wheels
]

COMPOSE_FILE = Path(__file__).parents[2] / "deploy" / "docker-compose.yml"
TWINS = """
services:
  intermediate-{layer}b:
    extends:
      file: {file}
      service: intermediate-{layer}
    environment:
      HEADRACE_NODE__ID: intermediate-{layer}b
      HEADRACE_NODE__RELAY_URL: ws://intermediate-{layer}b:8082/relay
"""
LAYERS = (1, 2)
EDGE_PORTS = ("EDGE_1_PORT", "EDGE_2_PORT")
PORTS = ("API_PORT", "EDGE_1_FMP4_PORT", "EDGE_2_FMP4_PORT", *EDGE_PORTS)
VIEWERS = 4
WELL_SECONDS = 60.0  # two cores carry nine containers and an encoder
FRESH_SECONDS = 2.0
"""A viewer whose newest chunk of each track is no older than this is well."""
CHUNKS = 30  # about a second and a half of both tracks
OUTAGE_SECONDS = 3.0
"""How long what is broken stays broken: several times what finding out takes, and less than a ring."""


class MeshProject:
    """The project and its containers, by the names of their services."""

    def __init__(self, project: ComposeProject) -> None:
        self.project = project
        self._client = docker.from_env()

    def container(self, service: str) -> Container:
        """Return the container of a service, running or not."""
        labels = [f"com.docker.compose.project={self.project.name}", f"com.docker.compose.service={service}"]
        (found,) = self._client.containers.list(all=True, filters={"label": labels})
        return found

    def disconnect(self, service: str) -> None:
        """Take a container off the project's network: its connections are told nothing."""
        self._network.disconnect(self.container(service))

    def connect(self, service: str) -> None:
        """Put it back, under its name."""
        self._network.connect(self.container(service), aliases=[service])

    @property
    def _network(self) -> Network:
        return self._client.networks.get(f"{self.project.name}_default")

    def edges(self) -> list[str]:
        """Return where browsers reach the edges."""
        return [f"ws://127.0.0.1:{self.project.environment[port]}" for port in EDGE_PORTS]

    def close(self) -> None:
        """Let go of the engine."""
        self._client.close()


@pytest.fixture(scope="module")
def mesh(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeshProject]:
    """Two nodes in each layer between the ingress and two edges; logs are shown when a test failed."""
    folder = tmp_path_factory.mktemp("mesh")
    overlays = []
    for layer in LAYERS:
        overlays.append(folder / f"twin-{layer}.yml")
        overlays[-1].write_text(TWINS.format(layer=layer, file=COMPOSE_FILE))
    ports = {variable: str(free_port()) for variable in PORTS}
    environment = {**images, **ports, "IMAGES": "headrace-test", "HEADRACE_API_TOKEN": secrets.token_hex(16)}
    project = ComposeProject(COMPOSE_FILE, f"headrace-mesh-{secrets.token_hex(4)}", environment, overlays)
    try:
        project.build()
        project.up()
        mesh = MeshProject(project)
        yield mesh
        mesh.close()
    finally:
        with suppress(subprocess.SubprocessError):
            print(project.logs())
        project.down()


class Audience:
    """Viewers of both edges that check every chunk's identity."""

    def __init__(self, viewers: list[Viewer]) -> None:
        self.viewers = viewers

    async def well(self) -> None:
        """Wait until each has a live stream that comes."""

        def is_well(viewer: Viewer) -> bool:
            report = viewer.report()
            fresh = report["state"] == "live" and report["silence"] < FRESH_SECONDS
            return fresh and viewer.check.figures.chunks >= CHUNKS

        await wait_until(lambda: all(map(is_well, self.viewers)), WELL_SECONDS, "all viewers see the stream")

    def begin(self) -> None:
        """Count from here."""
        for viewer in self.viewers:
            viewer.check.begin()

    def most_used(self, place: int) -> str:
        """Return the node that most viewers' routes pass at `place`, the ingress being 0."""
        passed = Counter(str(viewer.report()["route"][place]) for viewer in self.viewers)
        return passed.most_common(1)[0][0]

    def avoid(self, node: str) -> bool:
        """Return whether nobody's route passes a node any more."""
        return not any(node in viewer.report()["route"] for viewer in self.viewers)

    def assert_nothing_missed(self) -> None:
        """Nothing missing, nothing twice, order kept."""
        told = [viewer.check.figures for viewer in self.viewers]
        print([f"{figures.chunks} chunks, longest pause {figures.pause:.2f} s" for figures in told])
        assert [figures.details for figures in told] == [[]] * len(told)
        assert sum(figures.lost + figures.duplicated for figures in told) == 0


@asynccontextmanager
async def audience(mesh: MeshProject) -> AsyncIterator[Audience]:
    """Have viewers watch for a `with` block."""
    edges = mesh.edges()
    viewers = [Viewer(f"viewer-{number}", "demo", edges[number % len(edges)]) for number in range(VIEWERS)]
    tasks = [asyncio.create_task(viewer.run()) for viewer in viewers]
    try:
        watching = Audience(viewers)
        await watching.well()
        yield watching
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


Deed = Callable[[MeshProject, str], object]

FAULTS: dict[str, tuple[Deed, Deed]] = {
    "killed": (lambda m, name: m.container(name).kill("SIGKILL"), lambda m, name: m.container(name).start()),
    "frozen": (lambda m, name: m.container(name).pause(), lambda m, name: m.container(name).unpause()),
    "cut off": (lambda m, name: m.disconnect(name), lambda m, name: m.connect(name)),
    "flushed": (lambda m, name: m.container(name).exec_run(["redis-cli", "FLUSHALL"]), lambda m, name: None),
}

INGRESS, UPPER, LOWER, EDGE = range(4)


@pytest.mark.parametrize(
    ("place", "fault"),
    [(UPPER, "killed"), (LOWER, "frozen"), (UPPER, "cut off"), (EDGE, "killed"), (EDGE, "frozen")],
)
async def test_a_node_that_goes_costs_no_chunk(mesh: MeshProject, place: int, fault: str) -> None:
    """Whoever is fed by it goes on elsewhere after the last chunk; it comes back, and nothing comes twice."""
    await do(mesh, fault, lambda watching: watching.most_used(place))


@pytest.mark.parametrize("fault", ["killed", "frozen", "flushed"])
async def test_the_store_costs_no_chunk(mesh: MeshProject, fault: str) -> None:
    """Media does not pass through Redis; killed, it comes back empty."""
    await do(mesh, fault, lambda watching: "redis")
    async with audience(mesh) as newcomers:
        newcomers.assert_nothing_missed()


async def do(mesh: MeshProject, fault: str, choose: Callable[[Audience], str]) -> None:
    """Do a fault under the eyes of an audience, undo it, and check that nobody missed anything."""
    begin, end = FAULTS[fault]
    async with audience(mesh) as watching:
        watching.begin()
        victim = choose(watching)
        await asyncio.to_thread(begin, mesh, victim)
        try:
            await wait_until(lambda: watching.avoid(victim), WELL_SECONDS, f"everybody goes on without {victim}")
            await asyncio.sleep(OUTAGE_SECONDS)
        finally:
            await asyncio.to_thread(end, mesh, victim)
        await watching.well()
        await wait_until(lambda: is_healthy(mesh.container(victim)), WELL_SECONDS, f"{victim} is healthy again")
        await watching.well()
        watching.assert_nothing_missed()


def is_healthy(container: Container) -> bool:
    """Return whether a container's health check is content."""
    return str(container.attrs["State"].get("Health", {}).get("Status")) == "healthy"
