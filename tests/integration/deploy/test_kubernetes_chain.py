"""The example's pods as processes, each on a loopback address of its own: what they are told makes a chain."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kustomize import Cluster, Pod, Workload
from support.play_client import Seen, out_of_order, watch
from support.redis_server import RedisServer
from support.services import Service, running

ADDRESSES = {
    "ingress": "127.83.0.1",
    "intermediate-1": "127.83.0.2",
    "intermediate-2": "127.83.0.3",
    "edge": "127.83.0.4",
}
LIVE_SECONDS = 60.0
CHUNKS = 40  # about two seconds of both tracks

pytestmark = [
    pytest.mark.redis,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 as loopback addresses"),
]


def process(workload: Workload, pod: Pod, registry: str, folder: Path) -> Service:
    """Return the service of a pod, its variables as they are but for the store, the address and mounted files."""
    told = workload.environment(pod)
    for path, text in workload.files():
        file = folder / Path(path).name
        file.write_text(text)
        told = {name: str(file) if value == path else value for name, value in told.items()}
    told |= {"HEADRACE_REGISTRY__URL": registry, f"HEADRACE_{workload.service.upper()}__HOST": pod.ip}
    ours = {name.removeprefix("HEADRACE_"): value for name, value in told.items() if name.startswith("HEADRACE_")}
    return Service(workload.service, pod.name, {name.lower().replace("__", "."): text for name, text in ours.items()})


@pytest.fixture(scope="module")
def pods(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Service]]:
    """One pod of each layer, with a real Redis."""
    folder = tmp_path_factory.mktemp("mounted")
    with RedisServer() as store:
        services = {
            name: process(cluster.workloads[name], Pod(f"{name}-7c9f6d5b8d-x2x4z", ip), store.url, folder)
            for name, ip in ADDRESSES.items()
        }
        with running(*services.values()):
            yield services


async def test_pods_find_each_other_and_play(pods: dict[str, Service], cluster: Cluster) -> None:
    """A viewer of the edge's pod gets every chunk once, through both layers, from the ingress of the example.

    Whoever starts before the layer below it has been told of another parent, and goes to its own a little later.
    """
    port = cluster.workloads["edge"].ports["http"]
    url = f"ws://{ADDRESSES['edge']}:{port}/play/demo"
    nodes = [pod.node for pod in pods.values()]

    def is_chain(seen: Seen) -> bool:
        states = seen.of_type("state")
        return bool(states) and [hop["node"] for hop in states[-1]["route"]] == nodes and len(seen.chunks) >= CHUNKS

    seen = await watch(url, Seen(), is_chain, LIVE_SECONDS)
    assert out_of_order(seen.chunks) == []
