"""The store that viewing sessions, revocations and rules are in: in memory, and a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from headrace.access.redis_viewing import RedisViewing
from headrace.access.viewing import MemoryViewing, Viewing
from headrace.clock import SystemClock
from integration.access.rig import VIEWING_LEASE
from support.redis_server import RedisServer, redis_programs, redis_server  # noqa: F401

ROOT = Path(__file__).parents[3]


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
        # With just the rights of docs/registry.md.
        server: RedisServer = request.getfixturevalue("server")
        prefix = f"viewing-{id(request)}"
        text = (ROOT / "docs" / "registry.md").read_text().partition("ACL SETUSER headrace on >secret ")[2]
        rights = text.partition("```")[0].replace("{headrace}", f"{{{prefix}}}").split()
        assert server.command("ACL", "SETUSER", prefix, "on", ">secret", *rights) == b"+OK\r\n"
        found = RedisViewing(server.url.replace("redis://", f"redis://{prefix}:secret@"), prefix, VIEWING_LEASE)
    yield found
    await found.close()
