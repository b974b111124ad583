"""Making a registry of a URL: which, and what is said of a bad one."""

from __future__ import annotations

import pytest

from headrace.registry.memory import MemoryRegistry
from headrace.registry.redis_registry import RedisRegistry
from headrace.registry.registry import make_registry
from headrace.testing import FakeClock


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://h", "redis://h:6379"),
        ("redis://h:7000/2", "redis://h:7000/2"),
        ("rediss://user:s3cret@h:6380/0", "rediss://h:6380/0"),
        ("redis://:s3cret@[::1]:6380", "redis://[::1]:6380"),
        ("redis://h?password=s3cret", "redis://h:6379"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix://:s3cret@/run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("redis://h?protocol=3&socket_timeout=9999&decode_responses=1", "redis://h:6379"),
    ],
)
async def test_good_urls(url: str, where: str) -> None:
    """A registry tells where its store is, and never with what credentials."""
    registry = make_registry(url, "headrace", 3.0, FakeClock())
    assert isinstance(registry, RedisRegistry)
    assert where in registry.status
    assert "s3cret" not in repr(registry) + registry.status
    await registry.close()


async def test_memory_url() -> None:
    """`memory:` is the registry in this process."""
    registry = make_registry("memory:", "headrace", 3.0, FakeClock())
    assert isinstance(registry, MemoryRegistry)
    await registry.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "memory",
        "s3cret",
        "http://s3cret@h",
        "redis:",
        "redis://",
        "redis://:s3cret@",
        "redis://h:port",
        "redis://h:0",
        "redis://h:99999",
        "redis://h/database",
        "redis://:s3cret/with/slashes@h",
        "redis://:s3cret#hash@h",
        "redis://h?db=s3cret",
        "redis://h?s3cret=1",
        "unix://",
        "unix:///",
    ],
)
def test_bad_urls_are_told_without_credentials(url: str) -> None:
    """A malformed URL is an error in one sentence that quotes nothing of what may be a password."""
    with pytest.raises(ValueError, match="registry URL") as raised:
        make_registry(url, "headrace", 3.0, FakeClock())
    error: BaseException | None = raised.value
    assert "s3cret" not in str(error)
    assert error is not None
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize("prefix", ["", "a b", "{a}", "a*", "x" * 65, "ä"])
def test_bad_prefixes(prefix: str) -> None:
    """A prefix that would break the hash tag or a pattern is refused."""
    with pytest.raises(ValueError, match="registry prefix"):
        make_registry("redis://h", prefix, 3.0, FakeClock())
