"""Any number of replicas of the control API: one winner where they race, and no request is lost to a dead one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from headrace.testing import wait_until
from integration.transfers.rig import WAIT_SECONDS, Cluster, cluster

pytestmark = [pytest.mark.redis, pytest.mark.timeout(150)]


@pytest.fixture
async def replicas() -> AsyncIterator[Cluster]:
    async with cluster("r", {"api-1": "control-api", "api-2": "control-api"}) as made:
        yield made


def pull(name: str, uri: str, **more: str) -> dict[str, str]:
    return {"kind": "pull", "uri": uri, "local_name": name, **more}


async def test_one_winner(replicas: Cluster) -> None:
    """Two replicas asked for one name at once: one makes it, the other answers 409, however often it is tried."""
    asked = []
    for number in range(5):
        for api in ("api-1", "api-2"):
            body = pull(f"name{number}", f"rtsp://{api}.example/{number}")
            asked.append(replicas.ask("POST", "/api/v1/transfers", body, api))
    statuses = [status for status, _ in await asyncio.gather(*asked)]
    assert [sorted(pair) for pair in zip(statuses[::2], statuses[1::2], strict=True)] == [[201, 409]] * 5


async def test_the_same_request_twice(replicas: Cluster) -> None:
    """With one key both replicas answer with the one transfer that there is."""
    body = pull("once", "rtsp://cam.example/a", key="k-1")
    first, second = await asyncio.gather(
        replicas.ask("POST", "/api/v1/transfers", body, "api-1"),
        replicas.ask("POST", "/api/v1/transfers", body, "api-2"),
    )
    assert (first[0], second[0], first[1]["id"]) == (201, 201, second[1]["id"])
    assert len(await replicas.transfers()) == 1


async def test_another_replica_knows_and_ends_it(replicas: Cluster) -> None:
    """What one replica was asked, the others list and end, though it died in between."""
    assert (await replicas.ask("POST", "/api/v1/transfers", pull("a", "rtsp://cam.example/a"), "api-2"))[0] == 201
    replicas.node("api-2").kill()
    await wait_until(replicas.transfers, WAIT_SECONDS)
    assert (await replicas.ask("POST", "/rest-api/pull/terminate", {"localStreamName": "a"}))[0] == 200
    assert await replicas.transfers() == []
