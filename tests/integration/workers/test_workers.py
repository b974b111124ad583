"""An edge with two workers, from outside: one node to its parent, its viewers and whoever asks how it is."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from headrace.testing import wait_until
from integration.workers.rig import PATIENCE, Cluster, cluster, followers, get, is_alive, json_of, metrics_of
from support.certificates import Authority
from support.play_client import out_of_order
from support.redis_server import RedisServer
from support.services import Service, running

pytestmark = [pytest.mark.redis, pytest.mark.slow]


@pytest.fixture
def served() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


async def test_two_workers_are_one_node(served: Cluster) -> None:
    """Both serve, whoever is asked knows of all viewers, and the parent feeds one."""
    async with followers(40, served.play()) as crowd:

        async def all_are_counted() -> bool:
            return (await metrics_of(served.url)).value("headrace_edge_viewers", door="play") == 40

        await wait_until(all_are_counted, PATIENCE)
        for address in (served.url, served.url, served.url, f"http://{served.address('nodes')}"):
            metrics = await metrics_of(address)
            assert metrics.value("headrace_edge_viewers", door="play") == 40
            each = metrics.values("headrace_edge_worker_viewers")
            assert sum(each) == 40
            assert min(each) > 0, each
            assert len(metrics.values("headrace_edge_worker_cpu_seconds_total")) == 2
            assert metrics.value("headrace_node_info", role="edge") == 1
        parent = await metrics_of(f"http://127.0.0.1:{served.ingress.port()}")
        assert parent.value("headrace_relay_served_subscriptions") == 1
        assert parent.value("headrace_relay_links", direction="accepted") == 1
        assert {seen.of_type("welcome")[0]["edge"] for seen in crowd} == {"edge-1"}
        (route,) = {tuple(hop["node"] for hop in seen.of_type("state")[-1]["route"]) for seen in crowd}
        assert route == ("ingress-1", "edge-1")
        await is_listed(served, 40)
    assert [wrong for seen in crowd for wrong in out_of_order(seen.chunks)] == []


async def is_listed(served: Cluster, viewers: int) -> None:
    """Check that the cluster knows of so many viewers at one edge, by count, by name and by the node's load."""
    api = f"http://127.0.0.1:{served.api.port()}/api/v1"

    async def told() -> bool:
        counts = await json_of(f"{api}/viewer-counts")
        return bool(counts["nodes"] == [{"node": "edge-1", "viewers": viewers}])

    await wait_until(told, PATIENCE)
    listed = (await json_of(f"{api}/viewers?node=edge-1"))["viewers"]
    assert len({viewer["id"] for viewer in listed}) == viewers

    async def is_loaded() -> bool:
        nodes = (await json_of(f"{api}/nodes"))["nodes"]
        return any(node["id"] == "edge-1" and node["load"] == viewers / 1000 for node in nodes)

    await wait_until(is_loaded, PATIENCE)


async def test_viewers_of_a_killed_worker_go_on_at_another(served: Cluster) -> None:
    """They miss no chunk; the worker is started again, told in one line, counted, and no counter shrinks."""
    async with followers(20, served.play()) as crowd:
        before = await metrics_of(served.url)
        victim, other = served.workers
        lost_before = [len(seen.closings) for seen in crowd]
        os.kill(victim, signal.SIGKILL)
        await wait_until(lambda: len(served.workers) == 2 and victim not in served.workers, PATIENCE)
        assert other in served.workers
        had = [len(seen.chunks) for seen in crowd]
        await wait_until(lambda: all(len(s.chunks) > n + 20 for s, n in zip(crowd, had, strict=True)), PATIENCE)
        losers = [seen for seen, n in zip(crowd, lost_before, strict=True) if len(seen.closings) > n]
        assert losers
        assert len(losers) < 20
        assert [wrong for seen in crowd for wrong in out_of_order(seen.chunks)] == []

        async def is_whole() -> bool:
            metrics = await metrics_of(served.url)
            return metrics.value("headrace_edge_viewers", door="play") == 20 and (
                metrics.value("headrace_edge_worker_restarts_total") == 1
            )

        await wait_until(is_whole, PATIENCE)
        after = await metrics_of(served.url)
        for counter in ("headrace_edge_sent_messages_total", "headrace_edge_join_seconds_count"):
            assert (after.value(counter, door="play") or 0) >= (before.value(counter, door="play") or 0)
    (died,) = served.edge.events("process_died")
    assert (died["process"].startswith("worker-"), died["exit"]) == (True, "signal SIGKILL")
    status, _ = await get(f"{served.url}/health/ready")
    assert status == 200


async def test_stopping_sends_every_viewer_away_and_leaves_nothing(served: Cluster) -> None:
    """SIGTERM to the node: players hear that it goes away, at whichever worker; exit code 0, no process left."""
    async with followers(10, served.play()) as crowd:
        workers = served.workers
        stopped = await asyncio.to_thread(served.edge.stop)
        assert stopped == 0
        assert not any(map(is_alive, workers))
        await wait_until(lambda: all(seen.closings for seen in crowd), PATIENCE)
        assert {seen.closings[0] for seen in crowd} == {1001}
        assert all(seen.of_type("going_away") for seen in crowd)


async def test_workers_end_with_their_node(served: Cluster) -> None:
    """A node that is killed leaves no worker behind, be it one that is stopped."""
    workers = served.workers
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGSTOP)
    served.edge.kill()
    await wait_until(lambda: not any(map(is_alive, workers)), PATIENCE)


async def test_a_worker_that_hangs_is_started_again(served: Cluster) -> None:
    """One that stands still serves nobody, though the kernel gives it connections."""
    victim, _ = served.workers
    os.kill(victim, signal.SIGSTOP)
    await wait_until(lambda: len(served.workers) == 2 and victim not in served.workers, 2 * PATIENCE)
    assert served.edge.events("worker_hangs")


async def test_a_drained_node_sends_its_viewers_away(served: Cluster) -> None:
    """An order in the registry: players of all workers are told where to go, and no new ones are let in."""
    settings = {**served.common, "edge.port": "0", "edge.fmp4_port": "0"}
    with running(Service("edge", "edge-2", settings)) as (other,):
        async with followers(10, served.play()) as crowd:
            api = f"http://127.0.0.1:{served.api.port()}/api/v1"
            async with aiohttp.ClientSession() as http, http.put(f"{api}/nodes/edge-1/drain") as answer:
                assert answer.status < 300, await answer.text()
            await wait_until(lambda: all(seen.of_type("going_away") for seen in crowd), PATIENCE)
            assert crowd[0].of_type("going_away")[0]["edges"] == [f"ws://127.0.0.1:{other.port()}"]

            async def is_closed() -> bool:
                return (await get(served.play().replace("ws", "http", 1)))[0] == 426

            await wait_until(is_closed, PATIENCE)


async def test_workers_speak_tls(redis_server: RedisServer, tmp_path: Path) -> None:
    """With a certificate all doors of all workers have it, and that where other nodes come."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    settings = {
        "registry.url": redis_server.url,
        "relay.secret": "a secret of the tests",
        "tls.certificate": str(certificate),
        "tls.key": str(key),
        "edge.port": "0",
        "edge.fmp4_port": "0",
        "edge.workers": "2",
    }
    with running(Service("edge", "edge-1", settings)) as (edge,):
        context = ssl.create_default_context(cafile=str(authority.file))
        for name in ("edge", "nodes", "edge", "edge"):
            url = f"https://127.0.0.1:{edge.port_of(name)}/health/ready"
            async with aiohttp.ClientSession() as http, http.get(url, ssl=context) as answer:
                assert (answer.status, (await answer.json())["ready"]) == (200, True)
        lines = edge.events("listening")
        assert {line["scheme"] for line in lines if line["name"] in ("edge", "fmp4", "nodes")} == {"https"}
