"""Whole clusters of real processes, each with a Redis of its own, and what their API answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from headrace.testing import wait_until
from support.redis_server import RedisServer
from support.services import Service

SECRET = "a secret of the tests"
KEY_SECRET = "a key of another cluster"
LEASE_SECONDS = 1.5
WAIT_SECONDS = 40.0
PATTERN = "test:?size=320x180"


@dataclass
class Cluster:
    """One cluster.

    Attributes:
        name: what its nodes' names begin with.
        store: its Redis.
        services: by node.
        http: a session to ask with.
    """

    name: str
    store: RedisServer
    http: aiohttp.ClientSession
    services: dict[str, Service] = field(default_factory=dict)

    def node(self, name: str) -> Service:
        return self.services[f"{self.name}-{name}"]

    def url(self, node: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.node(node).port()}"

    async def ask(self, method: str, path: str, body: Any = None, api: str = "api-1") -> tuple[int, Any]:
        """Ask the control API; return the status and the JSON that came, if any."""
        url = await asyncio.to_thread(self.url, api)
        async with self.http.request(method, url + path, json=body) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def transfers(self) -> list[dict[str, Any]]:
        return list((await self.ask("GET", "/api/v1/transfers"))[1]["transfers"])

    async def transfer(self, name: str) -> dict[str, Any]:
        """Return the transfer of a stream here; empty when there is none."""
        return next((one for one in await self.transfers() if one["local_name"] == name), {})

    async def stream(self, name: str) -> dict[str, Any]:
        status, found = await self.ask("GET", f"/api/v1/streams/{name}")
        return dict(found) if status == 200 else {}

    async def until(self, name: str, status: str) -> dict[str, Any]:
        """Wait until the transfer of a stream here has a status."""
        found: dict[str, Any] = {}

        async def has() -> bool:
            found.clear()
            found.update(await self.transfer(name))
            return found.get("status") == status

        await wait_until(has, WAIT_SECONDS, f"{name} {status}")
        return found

    async def until_stream(self, name: str, state: str | None) -> None:
        """Wait until a stream is in a state; `None`: until it is not there."""
        found: dict[str, Any] = {}

        async def has() -> bool:
            found.clear()
            found.update(await self.stream(name))
            return found.get("state") == state

        await wait_until(has, WAIT_SECONDS, f"{name} {state}")


def service(cluster: str, role: str, node: str, store: RedisServer, extra: Mapping[str, str]) -> Service:
    settings = {
        "registry.url": store.url,
        "registry.lease_seconds": str(LEASE_SECONDS),
        "relay.secret": f"{SECRET} {cluster}",
        "relay.linger_seconds": "1",
        "ingress.allow_networks": '["127.0.0.0/8"]',
        "edge.allow_networks": '["127.0.0.0/8"]',
        "ingress.port": "0",
        "ingress.rtmp": "false",
        "edge.port": "0",
        "edge.fmp4_port": "0",
        "control_api.port": "0",
        **extra,
    }
    return Service(role, f"{cluster}-{node}", settings)


def credentials(folder: Path, cluster: str) -> Path:
    """Write the keys of a cluster that takes what a partner pushes as `from/...`."""
    file = folder / f"{cluster}.toml"
    file.write_text(
        f"""
own = "cluster"
[keys.cluster]
secret = "{SECRET} {cluster}"
[keys.partner]
secret = "{KEY_SECRET}"
roles = ["publisher", "subscriber"]
offer = ["from/*"]
subscribe = ["from/*", "demo"]
"""
    )
    return file


@asynccontextmanager
async def cluster(
    name: str, nodes: Mapping[str, str], extra: Mapping[str, str] | None = None
) -> AsyncIterator[Cluster]:
    """Run a cluster of nodes, each with its role, and wait until its API knows them."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        store = stack.enter_context(RedisServer())
        made = Cluster(name, store, http)
        for node, role in nodes.items():
            one = service(name, role, node, store, extra or {})
            made.services[one.node] = one.start()
            stack.push_async_callback(asyncio.to_thread, one.stop)
            await asyncio.to_thread(one.port)  # one after the other: on a busy machine all at once take too long each

        async def is_known() -> bool:
            known = (await made.ask("GET", "/api/v1/nodes"))[1]["nodes"]
            return {node["id"] for node in known} >= set(made.services)

        await wait_until(is_known, WAIT_SECONDS, f"{name} up")
        yield made
