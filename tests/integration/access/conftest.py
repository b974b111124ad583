"""The store that viewing sessions, revocations and rules are in: in memory, and a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from headrace.access.redis_viewing import RedisViewing
from headrace.access.viewing import MemoryViewing, Viewing
from headrace.clock import SystemClock
from integration.access.rig import VIEWING_LEASE
from support.redis_server import RedisServer, redis_programs, redis_server  # noqa: F401


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One store for all tests of a file; each keeps to a prefix of its own."""
    with RedisServer(next(iter(redis_programs().values()))) as server:
        yield server


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def viewing(request: pytest.FixtureRequest) -> AsyncIterator[Viewing]:
    """Viewing sessions on each kind of store."""
    found: Viewing
    if request.param == "memory":
        found = MemoryViewing(SystemClock(), VIEWING_LEASE)
    else:
        server: RedisServer = request.getfixturevalue("server")
        found = RedisViewing(server.url, f"viewing-{id(request)}", VIEWING_LEASE)
    yield found
    await found.close()
