"""Streams between two clusters that share nothing: pushed, pulled, ended, and carried on when a node dies."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.testing import wait_until
from integration.transfers.rig import KEY_SECRET, PATTERN, WAIT_SECONDS, Cluster, cluster, credentials
from support.play_client import Seen, watch

pytestmark = [pytest.mark.redis, pytest.mark.timeout(300)]


@dataclass
class Pair:
    """The cluster that has the stream `demo`, and another one."""

    ours: Cluster
    theirs: Cluster

    @property
    def push_uri(self) -> str:
        return f"ws://partner:{KEY_SECRET.replace(' ', '%20')}@127.0.0.1:{self.theirs.node('ingress-1').port()}"


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    sources = {"ingress.sources": json.dumps({"demo": PATTERN})}
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(
            cluster(
                "a",
                {"ingress-1": "ingress", "edge-1": "edge", "edge-2": "edge", "api-1": "control-api"},
                sources,
            )
        )
        theirs = await stack.enter_async_context(
            cluster(
                "b",
                {"ingress-1": "ingress", "ingress-2": "ingress", "edge-1": "edge", "api-1": "control-api"},
                {"relay.credentials_file": str(credentials(tmp_path, "b"))},
            )
        )
        await ours.until_stream("demo", "live")
        yield Pair(ours, theirs)


def missing(seen: Seen, epoch: int) -> list[str]:
    """Return what a viewer missed or had twice of an epoch, by identity."""
    wrong = []
    for track in {chunk.id.track for chunk in seen.chunks}:
        own = [chunk for chunk in seen.chunks if chunk.id.track == track and chunk.id.epoch == epoch]
        wrong += [f"{two.id} after {one.id}" for one, two in itertools.pairwise(own) if not one.is_followed_by(two.id)]
    return wrong


async def test_push_plays_there_moves_and_ends(pair: Pair) -> None:
    """Pushed by WCS's call it plays from an edge there; its carrier dies and no viewer misses a chunk; then it ends."""
    body = {"uri": pair.push_uri, "localStreamName": "demo", "remoteStreamName": "from/demo"}
    assert (await pair.ours.ask("POST", "/rest-api/pull/push", body))[0] == 200
    carried = await pair.ours.until("demo", "PROCESSED_REMOTE")
    assert KEY_SECRET not in json.dumps(carried)
    await pair.theirs.until_stream("from%2Fdemo", "live")
    seen, over = Seen(), asyncio.Event()
    url = f"{pair.theirs.url('edge-1', 'ws')}/play/from/demo"
    viewer = asyncio.create_task(watch(url, seen, lambda _: over.is_set(), 120))
    await wait_until(lambda: len(seen.chunks) > 20, WAIT_SECONDS)
    pair.ours.services[carried["node"]].kill()
    had = len(seen.chunks)

    async def moved() -> bool:
        now = await pair.ours.transfer("demo")
        return now.get("status") == "PROCESSED_REMOTE" and now.get("node") not in (None, carried["node"])

    await wait_until(moved, WAIT_SECONDS)
    await wait_until(lambda: len(seen.chunks) > had + 60, WAIT_SECONDS, what=f"{len(seen.chunks)} {seen.states}")
    assert missing(seen, seen.epochs[0]) == []
    assert len(seen.epochs) == 1
    names = {"localStreamName": "demo", "remoteStreamName": "from/demo"}
    assert (await pair.ours.ask("POST", "/rest-api/pull/terminate", names))[0] == 200
    await wait_until(lambda: seen.states[-1] == "ended", WAIT_SECONDS, what=str(seen.states))
    await pair.theirs.until_stream("from%2Fdemo", None)
    assert await pair.ours.transfers() == []
    assert (await pair.ours.ask("POST", "/rest-api/pull/terminate", names))[0] == 404
    over.set()
    viewer.cancel()
    await asyncio.gather(viewer, return_exceptions=True)


async def test_what_the_other_side_says(pair: Pair) -> None:
    """A name in use there is 409, a key that is unknown or does not cover it 400, in WCS's words 500; ended there, it
    is stopped here."""
    body = {"uri": pair.push_uri, "localStreamName": "demo", "remoteStreamName": "from/demo"}
    await pair.theirs.ask("POST", "/api/v1/streams/from%2Ftaken", {"uris": ["test:"]})
    await pair.theirs.until_stream("from%2Ftaken", "live")
    answer = await pair.ours.ask("POST", "/rest-api/pull/push", {**body, "remoteStreamName": "from/taken"})
    assert (answer[0], "in use" in answer[1]["message"]) == (409, True)
    answer = await pair.ours.ask("POST", "/rest-api/pull/push", {**body, "remoteStreamName": "elsewhere"})
    assert (answer[0], "does not let this key" in answer[1]["message"]) == (500, True)
    for wrong in ("partner:another-secret-altogether", "nobody:another-secret-altogether"):
        uri = f"ws://{wrong}@{pair.push_uri.rpartition('@')[2]}"
        answer = await pair.ours.ask("POST", "/rest-api/pull/push", {**body, "uri": uri})
        assert (answer[0], "refuses" in answer[1]["message"], "altogether" in str(answer)) == (500, True, False)
        asked = {"kind": "push", "uri": uri, "local_name": "demo", "remote_name": "from/demo"}
        answer = await pair.ours.ask("POST", "/api/v1/transfers", asked)
        assert (answer[0], answer[1]["errors"][0]["field"]) == (400, "body.uri")
        assert await pair.ours.transfer("demo") == {}
    assert (await pair.ours.ask("POST", "/rest-api/pull/push", body))[0] == 200
    await pair.ours.until("demo", "PROCESSED_REMOTE")
    assert (await pair.ours.ask("POST", "/rest-api/pull/push", body))[0] == 409
    await pair.theirs.until_stream("from%2Fdemo", "live")
    assert (await pair.theirs.ask("POST", "/rest-api/stream/terminate", {"name": "from/demo"}))[0] == 200
    assert "ended" in (await pair.ours.until("demo", "STOPPED"))["info"]
    await pair.theirs.until_stream("from%2Fdemo", None)


async def test_pull_plays_here_and_its_ingress_dies(pair: Pair) -> None:
    """Pulled as a player does: when its ingress dies another goes on, when the edge there dies nothing is missed."""
    uri = pair.ours.url("edge-1", "ws")
    body = {"uri": uri, "localStreamName": "theirs", "remoteStreamName": "demo"}
    assert (await pair.theirs.ask("POST", "/rest-api/pull/pull", body))[0] == 200
    first = await pair.theirs.until("theirs", "PROCESSED_REMOTE")
    epoch = (await pair.ours.stream("demo"))["epoch"]
    (known,) = [one for one in (await pair.ours.ask("POST", "/rest-api/stream/find", {"name": "demo"}))[1] if epoch]
    assert first["remote_session"] == known["mediaSessionId"]
    seen, over = Seen(), asyncio.Event()
    viewer = asyncio.create_task(
        watch(f"{pair.theirs.url('edge-1', 'ws')}/play/theirs", seen, lambda _: over.is_set(), 120)
    )
    await wait_until(lambda: len(seen.chunks) > 20, WAIT_SECONDS)
    pair.theirs.services[first["node"]].kill()
    await wait_until(lambda: len(seen.epochs) == 2, WAIT_SECONDS, what=str(seen.states))
    had = len(seen.chunks)
    await wait_until(lambda: len(seen.chunks) > had + 20, WAIT_SECONDS, what=str(seen.states))
    pair.ours.services["a-edge-1"].kill()
    had = len(seen.chunks)
    await wait_until(lambda: len(seen.chunks) > had + 60, WAIT_SECONDS, what=str(seen.states))
    assert len(seen.epochs) == 2
    assert missing(seen, seen.epochs[-1]) == []
    names = {"localStreamName": "theirs", "remoteStreamName": "demo"}
    assert (await pair.theirs.ask("POST", "/rest-api/pull/terminate", names))[0] == 200
    await wait_until(lambda: seen.states[-1] == "ended", WAIT_SECONDS, what=str(seen.states))
    over.set()
    viewer.cancel()
    await asyncio.gather(viewer, return_exceptions=True)


async def test_by_relay_and_inside_the_cluster(pair: Pair) -> None:
    """With a key a stream is pulled over the relay, and a cluster pulls its own streams under other names."""
    port = pair.ours.node("ingress-1").port()
    relay = {"kind": "pull", "uri": f"ws://127.0.0.1:{port}/relay", "local_name": "denied", "remote_name": "demo"}
    status, _ = await pair.theirs.ask("POST", "/api/v1/transfers", relay)
    assert status == 201
    assert (await pair.theirs.until("denied", "FAILED"))["code"] == "refused"
    own = {"kind": "pull", "uri": "headrace://a-ingress-1/demo", "local_name": "again"}
    assert (await pair.ours.ask("POST", "/api/v1/transfers", own))[0] == 201
    await pair.ours.until("again", "PROCESSED_REMOTE")
    loop = {"kind": "pull", "uri": f"ws://127.0.0.1:{port}", "local_name": "loop", "remote_name": "demo"}
    status, problem = await pair.ours.ask("POST", "/api/v1/transfers", loop)
    assert (status, "leads back" in problem["detail"]) == (400, True)
