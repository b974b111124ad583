"""Transfers that come to nothing say so, at the API of a cluster of real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from integration.transfers.rig import Cluster, cluster

pytestmark = [pytest.mark.redis, pytest.mark.timeout(150)]


@pytest.fixture
async def small() -> AsyncIterator[Cluster]:
    async with cluster("f", {"api-1": "control-api", "in-1": "ingress"}) as made:
        yield made


async def test_pulls_that_fail(small: Cluster) -> None:
    """An address that no node may reach is refused and leaves nothing; one where nobody answers is tried again."""
    for uri in ("http://169.254.169.254/latest", "rtsp://169.254.169.254/cam"):
        status, told = await small.ask("POST", "/api/v1/transfers", {"kind": "pull", "uri": uri, "local_name": "a"})
        assert (status, "allow_networks" in told["detail"]) == (400, True)
        assert await small.transfer("a") == {}
    for name, uri in (("b", "rtsp://127.0.0.1:1/x"), ("c", "file:///etc/passwd")):
        asked = {"kind": "pull", "uri": uri, "local_name": name}
        assert (await small.ask("POST", "/api/v1/transfers", asked))[0] == 201
        found = await small.until(name, "FAILED")
        assert (bool(found["info"]), found["final"]) == (True, False)
