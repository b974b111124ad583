"""`headrace drain`, `move` and `nodes --why` against a real store with records of nodes that do not run."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable

import pytest

from headrace.clock import SystemClock
from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.registry.redis_registry import RedisRegistry
from headrace.registry.registry import Registry
from headrace.service.runtime import Runtime
from headrace.service.settings import Settings
from headrace.testing import wait_until
from headrace_control_api.app import build as build_api
from support.redis_server import RedisServer
from support.redis_server import redis_server as redis_server  # noqa: PLC0414  (the fixture)

Command = Callable[..., subprocess.CompletedProcess[str]]

NODES = [("in", "ingress", 0), ("left", "intermediate", 1), ("right", "intermediate", 1), ("edge", "edge", 1000)]


@pytest.fixture
async def cluster(redis_server: RedisServer) -> AsyncIterator[Registry]:
    """Records of an ingress with a stream, two intermediates and an edge."""
    registry = RedisRegistry(redis_server.url, "headrace", 3.0, SystemClock())
    await registry.start()
    for name, role, layer in NODES:
        url = f"ws://127.0.0.1:9/{name}"
        carried = ("cam1",) if name in ("in", "left", "edge") else ()
        registry.keep_node(NodeRecord(node=name, role=role, layer=layer, relay_url=url, streams=carried))
    registry.keep_stream(StreamRecord(stream="cam1", node="in", epoch=5, state="live"))
    look = RedisRegistry(redis_server.url, "headrace", 3.0, SystemClock())
    await look.start()
    await wait_until(lambda: len(look.nodes) == len(NODES) and "cam1" in look.streams)
    await look.close()
    yield registry
    await registry.close()


async def test_orders_are_given_explained_and_withdrawn(
    cluster: Registry, redis_server: RedisServer, headrace: Command
) -> None:
    """Each stands in the registry afterwards, shows in the ranking, and goes with --undo."""

    async def run(*arguments: str, code: int = 0) -> str:
        done = await asyncio.to_thread(headrace, *arguments, HEADRACE_REGISTRY__URL=redis_server.url)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    async def parents() -> dict[str, dict[str, object]]:
        document = json.loads(await run("nodes", "--why", "cam1", "--of", "edge", "--json"))
        (explained,) = document["nodes"]
        assert explained["node"] == "edge"
        return {one["node"]: one for one in explained["parents"]}

    assert (await parents())["left"]["place"] == 0
    assert "stays up idle" in await run("drain", "left")
    assert json.loads(await run("move", "cam1", "--to", "right", "--child", "edge", "--json"))["standing"] is True
    assert {str(key) for key in cluster.desired} == {"drain:left", "move:cam1@edge"}
    assert "the stream was moved here" in str((await parents())["right"]["why"])
    table = await run("nodes", "--why", "cam1")
    assert "it is this node" in table
    assert "the stream's owner" in table
    await run("drain", "left", "--undo")
    await run("move", "cam1", "--child", "edge", "--undo")
    assert not cluster.desired
    assert "nobody asked for that" in await run("drain", "left", "--undo", code=1)
    assert "there is no node nobody" in await run("drain", "nobody", code=1)
    assert "there is no stream cam9" in await run("move", "cam9", "--to", "left", code=1)
    said = await run("move", "cam1", "--to", "edge", "--child", "left", code=1)
    assert "left cannot fetch cam1 from edge: it is in layer 1000" in said
    said = await run("move", "cam1", "--to", "right", "--child", "edge")
    assert said.startswith("edge fetches cam1 from right while")
    assert "there is no stream cam9" in await run("nodes", "--why", "cam9", code=1)


async def test_orders_by_way_of_the_api(cluster: Registry, headrace: Command) -> None:
    """With the address of a control API the orders go there, and no registry is asked for."""
    settings = Settings.model_validate({"control_api": {"port": 0}})
    components = build_api(settings, Runtime(NodeId("api"), "control-api"), registry=cluster)
    for component in components:
        await component.start()
    (listener,) = (component for component in components if isinstance(component, HttpListener))
    api = f"http://127.0.0.1:{listener.bound_port}"

    async def run(*arguments: str) -> tuple[int, str]:
        done = await asyncio.to_thread(headrace, *arguments, HEADRACE_API=api)
        return done.returncode, done.stdout + done.stderr

    await wait_until(lambda: len(cluster.nodes) == len(NODES))
    assert (await run("drain", "left"))[0] == 0
    code, said = await run("move", "cam1", "--to", "right", "--child", "edge", "--json")
    assert (code, json.loads(said)) == (0, {"order": "move:cam1@edge", "standing": True})
    assert {str(key) for key in cluster.desired} == {"drain:left", "move:cam1@edge"}
    assert "takes children and viewers again" in (await run("drain", "left", "--undo"))[1]
    assert (await run("move", "--undo", "--child", "edge", "cam1"))[0] == 0
    assert not cluster.desired
    code, said = await run("drain", "nobody")
    assert (code, "There is no node nobody" in said) == (1, True)
    for component in reversed(components):
        await component.stop()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["drain", "left"], "this command needs the store that the nodes share"),
        (["nodes", "--why", "cam1"], "this command needs the store that the nodes share"),
        (["drain", "no node"], "NODE: node name 'no node'"),
        (["move", "cam1"], "--to: name the node"),
        (["move", "cam1", "--to", "left", "--undo"], "--to: name the node"),
        (["nodes", "--of", "left"], "--of: goes with --why STREAM"),
    ],
)
def test_orders_that_cannot_be(arguments: list[str], sentence: str, headrace: Command) -> None:
    """Wrong arguments, and a registry in memory, which nobody else sees: exit code 2 and a sentence."""
    done = headrace(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_a_store_that_is_away(headrace: Command) -> None:
    """Exit code 1 and a sentence, without the password."""
    done = headrace("drain", "left", HEADRACE_REGISTRY__URL="redis://u:hush@127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the registry cannot be asked" in done.stderr
    assert "hush" not in done.stderr
    assert "Traceback" not in done.stderr
