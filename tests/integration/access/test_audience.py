"""Who watches where, as edges tell it and as the API gives it: the same in memory and in a real store."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from headrace.access.records import AudienceChange, Counts, ViewerRecord
from headrace.access.redis_viewing import RedisViewing
from headrace.access.viewing import KICKED_MAX, MemoryViewing, TooManyKicked, Viewing
from headrace.testing import wait_until
from headrace.wire import play
from integration.access.rig import GuardedRig, control_api, token
from integration.access.test_doors import refusal_of
from integration.edge.test_bad_guests import request
from support.redis_server import RedisServer


def viewer(number: int, stream: str = "demo") -> ViewerRecord:
    return ViewerRecord(id=f"{number:016x}", stream=stream, door="play", since_us=number)


def change(
    came: list[ViewerRecord], gone: list[str] | None = None, *, listed: int, whole: bool = False
) -> AudienceChange:
    return AudienceChange(came, gone or [], Counts(viewers=listed, streams={"demo": listed}), whole, listed)


async def test_viewers_come_and_go(viewing: Viewing) -> None:
    """Changes add up; two edges have their own; the whole takes the place of what was told before."""
    assert await viewing.tell("edge-1", change([viewer(1), viewer(2)], listed=2, whole=True)) == 2
    assert await viewing.tell("edge-2", change([viewer(3)], listed=1, whole=True)) == 1
    assert await viewing.tell("edge-1", change([viewer(4)], [viewer(1).id], listed=2)) == 2
    assert {record.id for record in await viewing.viewers("edge-1")} == {viewer(2).id, viewer(4).id}
    assert {node: counts.viewers for node, counts in (await viewing.counts()).items()} == {"edge-1": 2, "edge-2": 1}
    assert await viewing.has(viewer(3).id, ["edge-1", "edge-2"])
    assert not await viewing.has(viewer(1).id, ["edge-1", "edge-2"])
    assert not await viewing.has(viewer(3).id, [])
    assert await viewing.tell("edge-1", change([viewer(9)], listed=1, whole=True)) == 1
    assert [record.id for record in await viewing.viewers("edge-1")] == [viewer(9).id]


async def test_more_than_fit_into_one_call(viewing: Viewing) -> None:
    """Thousands come and go in one change."""
    many = [viewer(number) for number in range(1700)]
    assert await viewing.tell("edge-1", change(many, listed=1700, whole=True)) == 1700
    gone = [record.id for record in many[:1600]]
    assert await viewing.tell("edge-1", change([viewer(5000)], gone, listed=101)) == 101


async def test_a_dead_edge_has_no_viewers(viewing: Viewing) -> None:
    """Its viewers go with its lease."""
    await viewing.tell("edge-1", change([viewer(1)], listed=1, whole=True))

    async def is_gone() -> bool:
        return not await viewing.counts() and not await viewing.viewers("edge-1")

    await wait_until(is_gone)


async def test_kicks_are_remembered_for_a_while(viewing: Viewing) -> None:
    """A kick is told with what must end, until its time; there are not endlessly many."""
    await viewing.kick("a", time.time() + 100)
    await viewing.kick("b", time.time() - 1)
    assert "a" in (await viewing.ends()).kicked
    assert (await viewing.ends()).revoked == {}
    if isinstance(viewing, MemoryViewing):
        with pytest.raises(TooManyKicked):
            for number in range(KICKED_MAX + 1):
                await viewing.kick(f"v{number}", time.time() + 100)


class Cluster:
    """Three edges and a control API that know each other by the store alone."""

    def __init__(self, edges: list[GuardedRig], url: str, http: aiohttp.ClientSession) -> None:
        self.edges = edges
        self.url = url
        self.http = http

    async def get(self, path: str) -> Any:
        async with self.http.get(f"{self.url}/api/v1/{path}") as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def delete(self, path: str) -> int:
        async with self.http.delete(f"{self.url}/api/v1/{path}") as answer:
            return answer.status

    async def wait_count(self, viewers: int) -> None:
        async def counted() -> bool:
            return bool((await self.get("viewer-counts"))["viewers"] == viewers)

        await wait_until(counted, what=f"{viewers} viewers counted")


@pytest.fixture
async def cluster(server: RedisServer) -> AsyncIterator[Cluster]:
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(control_api(server.url))
        edges = [await stack.enter_async_context(GuardedRig(f"edge-{n}", registry_url=server.url)) for n in range(3)]
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Cluster(edges, api, http)


@pytest.mark.redis
async def test_the_api_lists_counts_and_kicks(cluster: Cluster) -> None:
    """Viewers of every edge are listed by page and filter, counted, and sent away within a second, told why."""
    mine = token(id="t1", subject="alice")
    async with contextlib.AsyncExitStack() as stack:
        players = [
            await stack.enter_async_context(edge.play(f"demo?token={mine}", session=f"session-{number}"))
            for number, edge in enumerate(cluster.edges)
        ]
        await stack.enter_async_context(cluster.edges[0].plain("open-house"))
        await cluster.wait_count(4)
        whole = await cluster.get("viewers")
        assert [viewer["node"] for viewer in whole["viewers"]] == ["edge-0", "edge-0", "edge-1", "edge-2"]
        assert "session-1" not in str(whole)
        first = await cluster.get("viewers?limit=3")
        rest = await cluster.get(f"viewers?limit=3&after={first['next']}")
        assert first["viewers"] + rest["viewers"] == whole["viewers"]
        assert "next" not in rest
        assert len((await cluster.get("viewers?subject=alice&stream=demo"))["viewers"]) == 3
        assert len((await cluster.get("viewers?door=fmp4"))["viewers"]) == 1
        (there,) = (await cluster.get("viewers?node=edge-1&token=t1"))["viewers"]
        counts = await cluster.get("viewer-counts")
        assert counts["streams"] == [{"stream": "demo", "viewers": 3}, {"stream": "open-house", "viewers": 1}]
        assert await cluster.delete(f"viewers/{'0' * 16}") == 404
        kicked = time.monotonic()
        assert await cluster.delete(f"viewers/{there['id']}") == 204
        refused = await players[1].expect(play.Refused)
        print(f"told {time.monotonic() - kicked:.2f} s after the kick")
        assert (refused.code, time.monotonic() - kicked < 10) == ("kicked", True)
        await cluster.wait_count(3)

        async def is_kept_away() -> bool:
            return await refusal_of(cluster.edges[2], f"demo?token={mine}", session="session-1") == "kicked"

        await wait_until(is_kept_away)  # each edge asks the store for itself
    await cluster.wait_count(0)


@pytest.mark.redis
async def test_edges_tell_a_store_again_what_it_lost(cluster: Cluster, server: RedisServer) -> None:
    """A flushed store knows its viewers again."""
    async with cluster.edges[0].play(f"demo?token={token()}"):
        await cluster.wait_count(1)
        store = RedisViewing(server.url, "guarded", 1.0)
        async with store._connection.client() as client:
            await client.flushall()
        await store.close()

        async def listed_again() -> bool:
            return len((await cluster.get("viewers"))["viewers"]) == 1

        await wait_until(listed_again)


@pytest.mark.redis
@pytest.mark.parametrize("origin", [b"https://caf\xff.example", b"https://" + b"a" * 4000], ids=["no text", "endless"])
async def test_origins_that_are_none(cluster: Cluster, origin: bytes) -> None:
    """What a viewer says of its page and no browser would is not told, and harms neither the edge nor who is told."""
    edge = cluster.edges[0]
    host, _, port = edge.address("fmp4").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request("open-house").replace(b"Host: x", b"Host: x\r\nOrigin: " + origin))
    assert b" 101 " in await reader.readline()
    await cluster.wait_count(1)
    (there,) = (await cluster.get("viewers"))["viewers"]
    assert there["origin"] == "null"
    assert edge.runtime.failure is None
    writer.close()
    await cluster.wait_count(0)
