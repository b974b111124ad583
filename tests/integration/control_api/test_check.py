"""A feed is looked at through the API: by an ingress of the cluster, in a process that ends with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from headrace.http.application import make_application
from headrace.http.checks import NotChecked
from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId
from headrace.registry.memory import MemoryRegistry
from headrace.registry.records import NodeRecord
from headrace.registry.sealing import Uri
from headrace.service.groups import Settings
from headrace.service.runtime import Runtime
from headrace_control_api.app import build as build_api
from headrace_ingress.check import asking
from headrace_ingress.check.asking import CheckDoor, LocalChecks

SECRET = "what all nodes of the tests share"


class Cluster:
    """An ingress that looks at feeds, and a control API that asks it."""

    def __init__(self, stack: contextlib.AsyncExitStack, roots: tuple[Path, ...], secret: str) -> None:
        self.stack = stack
        self.roots = roots
        self.secret = secret
        self.registry = MemoryRegistry()
        self.url = ""

    async def start(self) -> None:
        await self.registry.start()
        self.stack.push_async_callback(self.registry.close)
        runtime = Runtime(NodeId("ingress-1"), "ingress")
        app = make_application(runtime)
        CheckDoor(LocalChecks((), self.roots), SECRET, runtime.clock).add_to(app)
        ingress = await self.stack.enter_async_context(TestServer(app))
        url = f"ws://127.0.0.1:{ingress.port}/relay"
        self.registry.keep_node(NodeRecord(node="ingress-1", role="ingress", relay_url=url))
        settings = Settings.model_validate({"relay": {"secret": self.secret}, "control_api": {"port": 0}})
        components = build_api(settings, Runtime(NodeId("api-1"), "control-api"), None, self.registry)
        for component in components:
            await component.start()
            self.stack.push_async_callback(component.stop)
        (listener,) = (part for part in components if isinstance(part, HttpListener))
        self.url = f"http://127.0.0.1:{listener.bound_port}/api/v1/check"
        self.http = await self.stack.enter_async_context(aiohttp.ClientSession())

    async def check(self, uri: str, **more: Any) -> tuple[int, Any]:
        """Return the status and the answer."""
        async with self.http.post(self.url, json={"uri": uri, "seconds": 1, **more}) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    async with contextlib.AsyncExitStack() as stack:
        cluster = Cluster(stack, (tmp_path,), getattr(request, "param", SECRET))
        await cluster.start()
        yield cluster


async def test_a_feed_is_looked_at(cluster: Cluster, tmp_path: Path) -> None:
    """Tracks, browsers and advice come back as they are printed by `headrace check`."""
    status, seen = await cluster.check("test:")
    assert (status, seen.get("problem")) == (200, None)
    assert [(track["kind"], track["codec"]) for track in seen["tracks"]] == [
        ("video", "avc1.64001f"),
        ("audio", "mp4a.40.2"),
    ]
    assert set(seen["browsers"].values()) == {"yes"}
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"no media")
    status, seen = await cluster.check(clip.as_uri())
    assert (status, seen["tracks"]) == (200, [])
    assert "no media" in seen["problem"]


async def test_what_may_not_be_looked_at(cluster: Cluster) -> None:
    """What no source may be is refused, here or by the ingress, and no answer holds credentials."""
    for uri, problem in (
        ("rtsp://user:secret-word@127.0.0.1:1/a", "private network"),
        ("file:///etc/passwd", "file_roots"),
    ):
        status, seen = await cluster.check(uri)
        assert status == 200
        assert problem in seen["problem"]
        assert "secret-word" not in str(seen)
    assert (await cluster.check("gopher://h/"))[0] == 400
    assert (await cluster.check("test:", seconds=3600))[0] == 400


@pytest.mark.parametrize("cluster", ["another secret"], indirect=True)
async def test_only_the_cluster_may_have_feeds_looked_at(cluster: Cluster) -> None:
    """An ingress looks for who knows the secret."""
    status, answer = await cluster.check("test:")
    assert status == 503
    assert "only processes of this cluster" in answer["detail"]


async def test_few_are_looked_at_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than may be is told to come again; a process that hangs is killed, and leaves its place."""
    checks = LocalChecks((), ())
    monkeypatch.setattr(asking, "OPEN_SECONDS", -0.9)
    waiting = [asyncio.create_task(checks.check(Uri("test:"), 1.0)) for _ in range(asking.CHECKS_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(NotChecked):
        await checks.check(Uri("test:"), 1.0)
    for found in await asyncio.gather(*waiting):
        assert b"too long" in found
    assert b"too long" in await checks.check(Uri("test:"), 1.0)
