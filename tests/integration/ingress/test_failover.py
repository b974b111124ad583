"""A source is a lease: whatever becomes of its ingress or the store, one node runs it and viewers stay."""

from __future__ import annotations

import asyncio
import signal

import pytest

from headrace.registry.desired import DesiredMove, DesiredSource
from headrace.registry.sealing import Uri
from headrace.testing import wait_until
from headrace_ingress.wanted import source_key
from integration.ingress.cluster import CAM, LEASE_SECONDS, WAIT_SECONDS, Stopwatch, cluster, ingress
from support.redis_server import RedisServer
from support.rtsp_server import RtspServer, available

pytestmark = pytest.mark.skipif(not available(), reason="GStreamer's RTSP server is not installed")


UNTOLD = 4
"""Segments that an owner begins without the store: more than one, which a successor leaves out in any case."""

SOME_CHUNKS = 20
"""More than are published between two moments, fewer than a camera sends while its ingress stands still."""


async def test_another_takes_over_and_keeps_it(redis_server: RedisServer) -> None:
    """Killed: the other publishes in seconds, the viewer stays and goes on in a new epoch. Back: nothing moves."""
    with RtspServer() as camera:
        nodes = [ingress(name, redis_server.url, camera.uri) for name in ("ingress-a", "ingress-b")]
        async with cluster(redis_server.url, nodes) as mesh:
            await mesh.watched(1)
            first, second = mesh.owner, mesh.standby
            await mesh.live_at(first)
            elapsed = Stopwatch()
            mesh.ingresses[first].kill()
            await mesh.live_at(second)
            announced = elapsed()
            await mesh.watched(2, chunks=1)
            print(f"lease {LEASE_SECONDS} s: live after {announced:.2f} s, at the viewer after {elapsed():.2f} s")
            await mesh.watched(2)
            assert mesh.seen.states[-2:] == ["interrupted", "live"]
            mesh.ingresses[first].start()
            await wait_until(lambda: first in mesh.registry.nodes, WAIT_SECONDS)
            stream = mesh.stream
            await asyncio.sleep(2 * LEASE_SECONDS)
            assert stream is not None
            assert mesh.owner == second
            assert mesh.stream is not None
            assert (mesh.stream.node, mesh.stream.epoch) == (stream.node, stream.epoch)
            assert len(mesh.seen.epochs) == 2
            assert not mesh.ingresses[first].events("feed_live")
        assert mesh.wrong_numbers() == []


async def test_a_process_that_stood_still_is_fenced(redis_server: RedisServer) -> None:
    """Stopped past its lease and woken up again, the old owner publishes nothing more and stands by."""
    with RtspServer() as camera:
        nodes = [ingress(name, redis_server.url, camera.uri) for name in ("ingress-a", "ingress-b")]
        async with cluster(redis_server.url, nodes) as mesh:
            await mesh.watched(1)
            first, second = mesh.owner, mesh.standby
            before = chunks_published(await asyncio.to_thread(mesh.ingresses[first].get, "/metrics"))
            elapsed = Stopwatch()
            mesh.ingresses[first].signal(signal.SIGSTOP)
            await mesh.live_at(second)
            await mesh.watched(2)
            print(f"lease {LEASE_SECONDS} s: the viewer goes on after {elapsed():.2f} s")
            mesh.ingresses[first].signal(signal.SIGCONT)
            await wait_until(lambda: mesh.ingresses[first].events("feed_closed"), WAIT_SECONDS)
            await asyncio.sleep(2 * LEASE_SECONDS)
            after = chunks_published(await asyncio.to_thread(mesh.ingresses[first].get, "/metrics"))
            print(f"{after - before:.0f} chunks published since a moment before it was stopped")
            assert after - before < SOME_CHUNKS
            assert mesh.owner == second
            assert len(mesh.seen.epochs) == 2
            assert mesh.stream is not None
            assert mesh.stream.node == second
        assert mesh.wrong_numbers() == []


@pytest.mark.parametrize("share", [False, True])
async def test_a_flushed_store_moves_nothing(redis_server: RedisServer, share: bool) -> None:
    """The owner takes its claim and its record again; no viewer notices, and the numbers go on."""
    with RtspServer() as camera:
        nodes = [ingress(name, redis_server.url, camera.uri, share) for name in ("ingress-a", "ingress-b")]
        async with cluster(redis_server.url, nodes) as mesh:
            await mesh.watched(1)
            owner = mesh.owner
            for _ in range(3):
                redis_server.command("FLUSHALL")
                await asyncio.sleep(LEASE_SECONDS)
            redis_server.restart()
            await wait_until(lambda: not mesh.registry.connected, WAIT_SECONDS)
            await wait_until(lambda: mesh.registry.connected, WAIT_SECONDS)
            await asyncio.sleep(3 * LEASE_SECONDS)
            await mesh.live_at(owner)
            assert len(mesh.seen.epochs) == 1
            assert "interrupted" not in mesh.seen.states[mesh.seen.states.index("live") :]
            assert (source_key(CAM) in mesh.registry.desired) is share
        assert mesh.wrong_numbers() == []


async def test_an_owner_that_dies_while_the_store_is_away_has_its_numbers_kept(redis_server: RedisServer) -> None:
    """It went on without the store, and told nobody of the segments it began; its successor gives out none twice."""
    with RtspServer() as camera:
        nodes = [ingress(name, redis_server.url, camera.uri) for name in ("ingress-a", "ingress-b")]
        async with cluster(redis_server.url, nodes) as mesh:
            await mesh.watched(1)
            first, second = mesh.owner, mesh.standby
            await mesh.live_at(first)
            redis_server.pause()
            told = mesh.newest_segment
            await wait_until(lambda: mesh.newest_segment >= told + UNTOLD, WAIT_SECONDS)
            mesh.ingresses[first].kill()
            given_out = mesh.newest_segment
            redis_server.resume()
            await mesh.live_at(second)
            await mesh.watched(2)
            assert mesh.newest_segment > given_out
        assert mesh.wrong_numbers() == []


async def test_two_that_do_not_share_stand_by_for_each_other(redis_server: RedisServer) -> None:
    """Nodes whose own configurations name the same stream: one runs it, the other takes over when that one ends."""
    with RtspServer() as camera:
        nodes = [ingress(name, redis_server.url, camera.uri, share=False) for name in ("ingress-a", "ingress-b")]
        async with cluster(redis_server.url, nodes) as mesh:
            await mesh.watched(1)
            first, second = mesh.owner, mesh.standby
            assert not mesh.registry.desired
            elapsed = Stopwatch()
            assert await asyncio.to_thread(mesh.ingresses[first].stop) == 0
            await mesh.live_at(second)
            await mesh.watched(2)
            print(f"stopped in good order: the viewer goes on after {elapsed():.2f} s")
        assert mesh.wrong_numbers() == []


async def test_a_source_that_somebody_asked_for(redis_server: RedisServer) -> None:
    """It is run by one ingress whose configuration is empty, moves where it is told to, and ends when it is dropped."""
    with RtspServer() as camera:
        nodes = [ingress(name, redis_server.url, "") for name in ("ingress-a", "ingress-b")]
        async with cluster(redis_server.url, nodes) as mesh:
            await mesh.registry.put_desired(DesiredSource(stream=CAM, uris=(Uri(camera.uri),), by="test"))
            await mesh.watched(1)
            first, second = mesh.owner, mesh.standby
            await mesh.registry.put_desired(DesiredMove(stream=CAM, parent=second))
            elapsed = Stopwatch()
            await mesh.live_at(second)
            await mesh.watched(2)
            print(f"moved on request: the viewer goes on after {elapsed():.2f} s")
            await wait_until(lambda: mesh.ingresses[first].events("feed_closed"), WAIT_SECONDS)
            assert await mesh.registry.drop_desired(source_key(CAM))
            await wait_until(lambda: mesh.stream is None and not mesh.owner, WAIT_SECONDS)
        assert mesh.wrong_numbers() == []


def chunks_published(metrics: str) -> float:
    """Return how many chunks a process published, from its exported metrics."""
    lines = (line for line in metrics.splitlines() if line.startswith("headrace_ingress_chunks_total"))
    return sum(float(line.split()[-1]) for line in lines)
