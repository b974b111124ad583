"""What nodes measure of their streams, told by the API: whom each has a stream from, how fast and how late it comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect

from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from headrace_control_api.asking_nodes import Carried
from headrace_control_api.hops import measured, parent_of, parents
from support.redis_server import RedisServer, redis_server  # noqa: F401
from support.services import Service, chain, running


@pytest.fixture
def services(redis_server: RedisServer) -> Iterator[tuple[Service, ...]]:  # noqa: F811
    """An ingress with a test pattern, an intermediate, an edge, and a control API."""
    nodes = chain(redis_server.url, {"demo": "test:"}, 1)
    settings = {"registry.url": redis_server.url, "control_api.port": "0", "relay.secret": "a secret of the tests"}
    with running(*nodes, Service("control-api", "api-1", settings)) as started:
        yield started


@pytest.mark.redis
async def test_a_chain_is_measured_hop_by_hop(services: tuple[Service, ...]) -> None:
    """Parents are those that really feed, bitrate is that of the media, and each hop's age is told."""
    edge, api = services[-2], services[-1]
    url = f"http://127.0.0.1:{api.port()}/api/v1"
    async with (
        aiohttp.ClientSession() as http,
        connect(f"ws://127.0.0.1:{edge.port(1)}/demo", max_size=None, max_queue=None),
    ):

        async def ask(path: str) -> Any:
            async with http.get(f"{url}/{path}") as answer:
                assert answer.status == 200, await answer.text()
                return await answer.json()

        async def is_carried() -> bool:
            found = (await ask("streams?prefix=demo"))["streams"]
            return bool(found) and len(found[0]["nodes"]) == 3

        await wait_until(is_carried, 30)

        async def is_counted() -> bool:
            return bool((await ask("streams/demo"))["viewers"] == 1)

        await wait_until(is_counted)
        assert "measured" not in await ask("streams/demo")

        async def is_measured() -> Any:
            found = (await ask("streams/demo?measure=true"))["measured"]
            answered = len(found["hops"]) == 3  # one that took too long on a busy machine is asked again
            return found if answered and all("added_seconds" in hop for hop in found["hops"][1:]) else None

        found = await wait_until(is_measured, 30)
        hops = found["hops"]
        print([(hop["node"], hop["age_seconds"], hop.get("added_seconds")) for hop in hops], found["bitrate"])
        assert [(hop["node"], hop.get("parent")) for hop in hops] == [
            ("ingress-1", None),
            ("intermediate-1", "ingress-1"),
            ("edge-1", "intermediate-1"),
        ]
        assert hops[-1]["route"] == ["ingress-1", "intermediate-1", "edge-1"]
        assert all(-0.5 < hop["age_seconds"] < 5 for hop in hops)
        assert 50_000 < found["bitrate"] == sum(track["bitrate"] for track in found["tracks"]) < 50_000_000
        (stream,) = (await ask("topology?parents=true"))["streams"]
        assert stream["parents"] == [
            {"node": "edge-1", "parent": "intermediate-1"},
            {"node": "intermediate-1", "parent": "ingress-1"},
        ]
        assert "parents" not in (await ask("topology"))["streams"][0]


def test_what_nodes_do_not_tell_is_absent() -> None:
    """A node between that does not answer leaves a hop without an added time; without any there is nothing."""
    found = measured(
        [
            Carried("edge-1", StreamState.LIVE, ["ingress-1", "middle", "edge-1"], {1: 900, 2: 100}, 0.5),
            Carried("ingress-1", StreamState.LIVE, ["ingress-1"], {1: 1000, 2: 100}, 0.1),
        ]
    )
    assert [(hop.node, hop.parent, hop.added_seconds) for hop in found.hops] == [
        ("ingress-1", None, None),
        ("edge-1", "middle", None),
    ]
    assert (found.bitrate, [track.bitrate for track in found.tracks]) == (1100, [1000, 100])
    assert (measured([]).bitrate, measured([]).hops) == (0, [])


def test_parents_are_read_from_routes() -> None:
    """A source has none, and a route that is not known yet names nobody."""
    assert parent_of("a", ["a"]) is None
    assert parent_of("b", ["a", "b"]) == "a"
    assert parent_of("b", []) is None
    assert parents({"b": {"cam1": ["a", "b"], "cam2": ["b"]}, "a": {"cam1": ["a"]}}).keys() == {"cam1"}
