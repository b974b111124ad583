"""The probes, asked of the real services: what Kubernetes would do with and without the store."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

import headrace_control_api.app
import headrace_edge.app
import headrace_ingress.app
import headrace_intermediate.app
from headrace.http.listener import HttpListener
from headrace.service.runtime import Component, make_runtime
from headrace.service.settings import load_settings
from headrace.testing import free_port, wait_until
from support.kustomize import Cluster, Workload

BUILD = {
    "control-api": headrace_control_api.app.build,
    "edge": headrace_edge.app.build,
    "ingress": headrace_ingress.app.build,
    "intermediate": headrace_intermediate.app.build,
}
BALANCED = ("control-api", "edge")
ADDRESSED = ("ingress", "intermediate-1", "intermediate-2")
PROBES = ("startup", "readiness", "liveness")


async def start(components: Sequence[Component], stack: AsyncExitStack) -> str:
    """Start components until `stack` is left; return the address of the first listener."""
    for component in components:
        await component.start()
        stack.push_async_callback(component.stop)
    listener = next(component for component in components if isinstance(component, HttpListener))
    return f"http://127.0.0.1:{listener.bound_port}"


@asynccontextmanager
async def running(workload: Workload, registry: str) -> AsyncIterator[str]:
    """Run the service of a workload on a free port; yield its address."""
    group = workload.service.replace("-", "_")
    overrides: dict[str, dict[str, object]] = {"registry": {"url": registry}, group: {"port": 0}}
    if workload.service == "edge":
        overrides[group]["fmp4_port"] = 0
    if workload.service == "ingress":
        overrides[group]["rtmp_port"] = 0
    settings = load_settings(None, {}, overrides)
    async with AsyncExitStack() as stack:
        yield await start(BUILD[workload.service](settings, make_runtime(settings, workload.service)), stack)


async def answer(address: str, workload: Workload, probe: str) -> int:
    """Ask what the kubelet asks; return the status."""
    asked = workload.probe(probe)["httpGet"]
    assert asked["port"] in workload.ports
    async with aiohttp.ClientSession() as session, session.get(address + asked["path"]) as response:
        return response.status


@pytest.mark.parametrize("name", [*BALANCED, *ADDRESSED])
async def test_probes_find_a_healthy_service_well(cluster: Cluster, name: str) -> None:
    """Every probe's port and path exist, and a service whose registry answers passes them all."""
    workload = cluster.workloads[name]
    async with running(workload, "memory:") as address:

        async def passes() -> bool:
            return {await answer(address, workload, probe) for probe in PROBES} == {200}

        await wait_until(passes, what=f"{name} passing its probes")


@pytest.mark.parametrize("name", BALANCED)
async def test_services_behind_a_load_balancer_stay_there_without_the_store(cluster: Cluster, name: str) -> None:
    """With the store away what was started stays reachable and alive, and what was not is not let in."""
    workload = cluster.workloads[name]
    async with running(workload, f"redis://127.0.0.1:{free_port()}") as address:
        assert {200} == {await answer(address, workload, probe) for probe in ("readiness", "liveness")}
        assert await answer(address, workload, "startup") == 503


@pytest.mark.parametrize("name", ADDRESSED)
async def test_nodes_hold_up_updates_while_the_store_is_away(cluster: Cluster, name: str) -> None:
    """Nodes that are dialled directly are not ready without the store, and never killed for it."""
    workload = cluster.workloads[name]
    async with running(workload, f"redis://127.0.0.1:{free_port()}") as address:
        assert {200} == {await answer(address, workload, probe) for probe in ("startup", "liveness")}
        assert await answer(address, workload, "readiness") == 503


def test_probes_give_a_start_time_and_a_hiccup_room(cluster: Cluster) -> None:
    """Importing on a busy machine is no failure, and one late answer ends nothing."""
    for name, workload in cluster.workloads.items():
        startup, liveness = workload.probe("startup"), workload.probe("liveness")
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 60, name
        assert liveness["periodSeconds"] * liveness.get("failureThreshold", 3) >= 30, name
        assert workload.probe("readiness")["periodSeconds"] <= 5, name
