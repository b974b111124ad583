"""deploy/docker-compose.yml, built and run: a chain of two intermediates, two edges that play, and nothing left."""

import asyncio
import json
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets

from headrace.testing import free_port, wait_until
from support.browser import open_page, requires_chromium
from support.containers.commands import run
from support.containers.compose import DOWN_SECONDS, ComposeProject
from support.play_client import Seen, out_of_order, watch

pytestmark = [
    pytest.mark.containers,
    pytest.mark.slow,
    pytest.mark.timeout(1500),  # the first run makes base images and fetches all wheels
]

COMPOSE_FILE = Path(__file__).parents[2] / "deploy" / "docker-compose.yml"
TOKEN = secrets.token_hex(16)
NODES = ("control-api", "ingress", "intermediate-1", "intermediate-2", "edge-1", "edge-2")
EDGE_PORTS = {"EDGE_1_PORT": "edge-1", "EDGE_2_PORT": "edge-2"}
PORTS = {
    "API_PORT": 8081,
    "EDGE_1_PORT": 8088,
    "EDGE_1_FMP4_PORT": 8410,
    "EDGE_2_PORT": 8089,
    "EDGE_2_FMP4_PORT": 8411,
}
LIVE_SECONDS = 60.0  # two cores start six services, an encoder and a browser
PLAY_SECONDS = 10.0
CHUNKS = 60  # about three seconds of both tracks
PLAIN_MESSAGES = 80  # about four seconds of both tracks


@pytest.fixture(scope="module")
def project(images: dict[str, str]) -> Iterator[ComposeProject]:
    """The project, built and up, on free ports so that it disturbs no demo; its logs are shown when a test failed."""
    ports = {variable: str(free_port()) for variable in PORTS}
    environment = {**images, **ports, "IMAGES": "headrace-test", "HEADRACE_API_TOKEN": TOKEN}
    project = ComposeProject(COMPOSE_FILE, f"headrace-test-{secrets.token_hex(4)}", environment)
    try:
        project.build()
        project.up()
        yield project
    finally:
        with suppress(subprocess.SubprocessError):
            print(project.logs())
        project.down()


def address(project: ComposeProject, variable: str, scheme: str = "http") -> str:
    """The address that the project publishes under one of its port variables."""
    return f"{scheme}://127.0.0.1:{project.environment[variable]}"


async def get(url: str, token: str = "") -> tuple[int, Any]:
    """Ask for a document; return the status and what it says."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as response:
        return response.status, await response.json(content_type=None)


async def state_of_demo(url: str, token: str = "") -> str:
    """The state in which a list of streams shows `demo`; empty while it does not."""
    _, listed = await get(url, token)
    states = {stream.get("name") or stream.get("stream"): str(stream["state"]) for stream in listed["streams"]}
    return states.get("demo", "")


@pytest.mark.parametrize("variable", EDGE_PORTS)
async def test_edges_list_the_demo_as_live(project: ComposeProject, variable: str) -> None:
    """Each edge knows through Redis that the ingress has `demo`, live."""

    async def live() -> bool:
        return await state_of_demo(address(project, variable) + "/streams") == "live"

    await wait_until(live, LIVE_SECONDS, f"demo live at {variable}")


async def test_api_lists_streams_for_its_token_alone(project: ComposeProject) -> None:
    """The API answers the configured token, and nobody without it or with another."""
    url = address(project, "API_PORT") + "/api/v1/streams"
    assert await state_of_demo(url, TOKEN) == "live"
    assert (await get(url))[0] == 401
    assert (await get(url, "demo-api-token"))[0] == 401


@pytest.mark.parametrize(("variable", "edge"), EDGE_PORTS.items())
async def test_stream_runs_through_both_intermediates(project: ComposeProject, variable: str, edge: str) -> None:
    """A viewer of either edge is told the whole chain as the route, and gets every chunk once and in order."""
    url = address(project, variable, "ws") + "/play/demo"
    seen = await watch(url, Seen(), lambda seen: len(seen.chunks) >= CHUNKS, LIVE_SECONDS)
    route = [hop["node"] for hop in seen.of_type("state")[-1]["route"]]
    assert ["ingress", "intermediate-1", "intermediate-2", edge] == route
    assert out_of_order(seen.chunks) == []


@pytest.mark.parametrize("variable", ["EDGE_1_FMP4_PORT", "EDGE_2_FMP4_PORT"])
async def test_plain_stream_is_read_by_ffprobe(project: ComposeProject, variable: str, tmp_path: Path) -> None:
    """What an edge publishes as plain fMP4 is one file to an independent reader: both tracks, times that go up."""
    media = tmp_path / "demo.mp4"
    async with websockets.connect(address(project, variable, "ws") + "/demo", max_size=2**25) as socket:
        with media.open("wb") as file:
            for _ in range(PLAIN_MESSAGES):
                message = await asyncio.wait_for(socket.recv(decode=False), LIVE_SECONDS)
                file.write(message)
    shown = run(["ffprobe", "-v", "error", "-show_streams", "-show_packets", "-of", "json", media])
    probed = json.loads(shown)
    assert {"h264", "aac"} == {stream["codec_name"] for stream in probed["streams"]}
    for track in range(2):
        times = [int(packet["dts"]) for packet in probed["packets"] if packet["stream_index"] == track]
        assert times == sorted(set(times))


@requires_chromium
@pytest.mark.browser
@pytest.mark.parametrize("variable", EDGE_PORTS)
async def test_browser_plays_from_the_published_port(project: ComposeProject, variable: str) -> None:
    """Headless Chromium opens the page of either edge on its published port, and the picture goes on."""
    async with open_page(address(project, variable) + "/watch/demo") as page:
        await page.wait_for_player("video.currentTime > 0 && stats.state === 'live'", LIVE_SECONDS)
        played = await page.measure_rate(PLAY_SECONDS)
        assert played.rate == pytest.approx(1.0, abs=0.1)
        assert page.refused == []


@pytest.mark.parametrize("name", ["hls.js", "dash.js"])
async def test_edges_bring_players_for_other_ways(project: ComposeProject, name: str) -> None:
    """The page of a browser that WebSocket does not reach finds hls.js and dash.js on the edge."""
    url = f"{address(project, next(iter(EDGE_PORTS)))}/vendor/{name}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert (answer.status, answer.content_type) == (200, "text/javascript")
        assert len(await answer.read()) > 100_000


@pytest.mark.parametrize("service", ["redis", *NODES])
def test_containers_are_nobody(project: ComposeProject, service: str) -> None:
    """Nothing runs as root."""
    uid = project.run("exec", "--no-TTY", service, "sh", "-c", "stat -c %u /proc/1")
    assert uid.strip() != "0"


@pytest.mark.parametrize("service", [node for node in NODES if not node.startswith(("ingress", "edge"))])
def test_images_without_media_carry_no_libav(project: ComposeProject, service: str) -> None:
    """An image holds only what its service needs: libav is where feeds are read and pushes are made."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('av') is not None)"
    project.run("exec", "--no-TTY", service, "python", "-c", code)


def test_default_ports_are_the_documented_ones(images: dict[str, str]) -> None:
    """Unless told otherwise the addresses are those of the documentation, on loopback alone."""
    unset = dict.fromkeys(PORTS, "")
    config = json.loads(ComposeProject(COMPOSE_FILE, "headrace-test", unset).run("config", "--format", "json"))
    published = [port for service in config["services"].values() for port in service.get("ports", ())]
    assert {"127.0.0.1"} == {port["host_ip"] for port in published}
    assert sorted(PORTS.values()) == sorted(int(port["published"]) for port in published)


def test_services_end_by_themselves(project: ComposeProject) -> None:
    """Told to stop, every container ends well within its grace period instead of being killed."""
    project.run("stop", timeout=DOWN_SECONDS)
    assert project.exit_codes() == dict.fromkeys(["redis", *NODES], 0)


def test_down_leaves_nothing(project: ComposeProject) -> None:
    """After `down` Docker has no container, network or volume of the project."""
    volumes = project.volumes()
    project.down()
    assert project.remains(volumes) == {}
