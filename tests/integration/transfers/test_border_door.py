"""Who may dial a process that is a cluster by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_network
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from headrace.clock import SystemClock
from headrace.http.listener import HttpListener
from headrace.identifiers import ChunkId, Epoch, NodeId, StreamName
from headrace.registry.memory import MemoryRegistry
from headrace.relay.hub import Hub
from headrace.service.runtime import Runtime
from headrace.service.settings import Settings
from headrace.session.border import PUBLISHER, SUBSCRIBER, Border, BorderError, parse_far
from headrace.session.link import Link, LinkError
from headrace.session.options import RelayOptions
from headrace.testing import wait_until
from headrace_ingress.app import build

SECRET = "a-secret-of-the-tests-that-is-long"
KEYS = """
own = "us"
[keys.us]
secret = "{secret} ours"
[keys.partner]
secret = "{secret}"
offer = ["from/*"]
subscribe = []
"""


class Caller:
    """The owner of a link that we dialled; it serves nothing."""

    def __init__(self) -> None:
        self.end: LinkError | None = None

    def link_opened(self, link: Link) -> Caller:
        return self

    def link_ended(self, link: Link, end: LinkError) -> None:
        self.end = end

    def offers_changed(self, link: Link) -> None: ...

    is_idle = True

    def subscribe(
        self, handle: int, stream: StreamName, after: Mapping[int, ChunkId] | None, history_seconds: float
    ) -> None: ...

    def recall(self, handle: int, stream: StreamName, history_seconds: float) -> None: ...

    def unsubscribe(self, handle: int) -> None: ...

    def became_writable(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys.toml"
    file.write_text(KEYS.format(secret=SECRET))
    return file


@pytest.fixture
async def address(keys: Path) -> AsyncIterator[str]:
    """The address of an ingress that is a part of one process."""
    settings = Settings.model_validate(
        {"ingress": {"port": 0, "rtmp": False}, "relay": {"credentials_file": str(keys)}}
    )
    hub, registry = Hub(), MemoryRegistry()
    runtime = Runtime(NodeId("alone"), "standalone", metrics=CollectorRegistry())
    components = build(settings, runtime, hub, registry)
    await registry.start()
    for component in components:
        await component.start()
    (listener,) = (component for component in components if isinstance(component, HttpListener))
    yield f"127.0.0.1:{listener.bound_port}"
    for component in reversed(components):
        await component.stop()
    await registry.close()


async def dialled(address: str, role: str, secret: str = SECRET) -> tuple[Link, Caller]:
    """Dial in a role, with the partner's key."""
    networks = (ip_network("127.0.0.0/8"),)
    border = Border("far", RelayOptions(), networks, tuple, SystemClock())
    caller = Caller()
    return await border.link(parse_far(f"ws://partner:{secret}@{address}/relay"), role, caller), caller


async def test_nodes_have_no_business_there(address: str) -> None:
    """A publisher and a subscriber are let in; who would be an edge is sent away, though its key is right."""
    for role in (PUBLISHER, SUBSCRIBER):
        link, _ = await dialled(address, role)
        assert link.is_open
        link.close(1000, "stopped")
        await link.wait_closed()
    link, caller = await dialled(address, "edge")
    await asyncio.wait_for(link.wait_closed(), 20)
    assert caller.end is not None
    assert caller.end.code == "forbidden"


async def test_keys_are_asked_for_and_changed(address: str, keys: Path) -> None:
    """A wrong secret is refused; what a key does not cover too; a key that goes ends its links, without a restart."""
    with pytest.raises(BorderError):
        await dialled(address, PUBLISHER, secret="x" * 32)
    link, caller = await dialled(address, PUBLISHER)
    link.offer({StreamName("elsewhere"): Epoch(1)})
    await asyncio.wait_for(link.wait_closed(), 20)
    assert caller.end is not None
    assert caller.end.code == "forbidden"
    link, last = await dialled(address, PUBLISHER)
    keys.write_text(KEYS.partition("[keys.partner]")[0].format(secret=SECRET))
    await wait_until(lambda: last.end is not None, 20)
    assert last.end is not None
    assert last.end.code == "key_changed"
    with pytest.raises(BorderError):
        await dialled(address, PUBLISHER)


async def test_nothing_is_taken_of_an_offer_that_ended_its_link(address: str) -> None:
    """One stream of several is not covered: the others in the same message come from nobody any more."""
    link, caller = await dialled(address, PUBLISHER)
    with capture_logs() as lines:
        link.offer({StreamName("elsewhere"): Epoch(1), StreamName("from/one"): Epoch(1)})
        await asyncio.wait_for(link.wait_closed(), 20)
        await asyncio.sleep(0)  # a task that was begun by the offer has its first turn
    assert caller.end is not None
    assert caller.end.code == "forbidden"
    events = [line["event"] for line in lines]
    assert "stream_forbidden" in events
    assert "push_taken" not in events
