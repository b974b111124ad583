"""Licences from the API to the doors of edges: issued, assigned, activated, enforced, deactivated."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from headrace.access.redis_viewing import RedisViewing
from headrace.clock import SystemClock
from headrace.testing import wait_until
from headrace.wire import play
from integration.access.rig import GuardedRig, control_api
from integration.access.test_doors import refusal_of
from integration.live.publishing import publish, split
from support.redis_server import RedisServer

pytestmark = pytest.mark.redis

PAGE = "https://www.a.example"


class Office:
    """A control API, asked for licences."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.http = http

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.http.request(method, f"{self.url}/api/v1/licences{path}", json=body) as answer:
            return answer.status, await answer.json(content_type=None) if answer.status != 204 else None


@pytest.fixture
async def cluster(redis_server: RedisServer) -> AsyncIterator[tuple[Office, list[GuardedRig]]]:
    url = redis_server.url
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(control_api(url))
        edges = [
            await stack.enter_async_context(GuardedRig(f"edge-{n}", registry_url=url, policy="licence"))
            for n in range(2)
        ]
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield Office(api, http), edges


async def test_from_issuing_to_deactivating(cluster: tuple[Office, list[GuardedRig]]) -> None:
    """A test key lets three of its domain watch, over edges and doors; deactivated, nobody, within a second."""
    office, (one, two) = cluster
    status, licence = await office.ask("POST", "", {"kind": "test", "activations": 1})
    assert (status, licence["maxWatchers"], licence["active"]) == (201, 3, False)
    key = f"/{licence['key']}"
    assert (await office.ask("POST", f"{key}/assign", {"user": "alice"}))[1]["user"] == "alice"
    assert (await office.ask("POST", f"{key}/verify", {}))[1] == {"valid": False, "reason": "Not activated"}
    assert await refusal_of(one, "demo", origin=PAGE) == "licence_domain"
    status, active = await office.ask("POST", f"{key}/activate", {"domain": "A.example"})
    assert (status, active["domain"], active["remainingActivations"]) == (200, "a.example", 0)
    verdict = (await office.ask("POST", f"{key}/verify", {"user": "alice", "domain": "www.a.example"}))[1]
    assert (verdict["valid"], verdict["expiresAt"]) == (True, active["expiresAt"])
    assert (await office.ask("POST", f"{key}/verify", {"domain": "b.example"}))[1]["reason"] == (
        "Invalid Domain (credentials)"
    )
    assert [each["key"] for each in (await office.ask("GET", "?user=alice"))[1]["licences"]] == [licence["key"]]
    assert (await office.ask("GET", "?user=bob"))[1] == {"licences": []}

    async def is_let_in() -> bool:
        return await refusal_of(one, "demo", origin=PAGE) == "" and await refusal_of(two, "demo", origin=PAGE) == ""

    await wait_until(is_let_in)
    early, _ = split(8.0, 3.0)
    publish(two, early)
    async with (
        one.play("demo", session="session-1", origin=PAGE, max_queue=None) as first,
        two.play("demo", session="session-2", origin=PAGE, max_queue=None) as second,
    ):
        begun = await wait_until(lambda: _begin(office.http, two))  # those of before give their places up in a moment
        assert await refusal_of(one, "demo", session="session-4", origin=PAGE) == "viewers"
        assert (await office.ask("POST", f"{key}/deactivate"))[1]["active"] is False
        for player in (first, second):
            assert (await player.expect(play.Refused)).code == "licence_domain"
        async with office.http.get(begun, headers={"Origin": PAGE}) as again:
            assert again.status == 403
    assert (await office.ask("POST", f"{key}/activate", {"domain": "b.example"}))[0] == 409
    assert (await office.ask("DELETE", key))[0] == 204
    assert (await office.ask("DELETE", key))[0] == 404
    assert (await office.ask("POST", f"{key}/assign", {"user": "bob"}))[0] == 404


async def _begin(http: aiohttp.ClientSession, edge: GuardedRig) -> str:
    """Return where an HLS player was sent, empty when it was not let in."""
    async with http.get(f"http://{edge.address()}/live/demo/index.m3u8", headers={"Origin": PAGE}) as answer:
        return str(answer.url) if answer.status == 200 else ""


async def test_what_is_wrong_is_refused(cluster: tuple[Office, list[GuardedRig]]) -> None:
    """Terms of kinds that are fixed, domains that are none, and activations beyond the last."""
    office, _ = cluster
    assert (await office.ask("POST", "", {"kind": "free", "days": 5}))[0] == 400
    licence = (await office.ask("POST", "", {"days": 10, "activations": 2}))[1]
    assert "maxWatchers" not in licence
    for domain in ("*.a.example", "https://a.example", "a..example", ""):
        assert (await office.ask("POST", f"/{licence['key']}/activate", {"domain": domain}))[0] == 400
    for _ in range(2):
        assert (await office.ask("POST", f"/{licence['key']}/activate", {"domain": "a.example"}))[0] == 200
        assert (await office.ask("POST", f"/{licence['key']}/deactivate"))[0] == 200
    assert (await office.ask("POST", f"/{licence['key']}/activate", {"domain": "a.example"}))[0] == 409


async def test_a_store_that_lost_them_is_told_again(
    cluster: tuple[Office, list[GuardedRig]],
    redis_server: RedisServer,
) -> None:
    """Edges remember the licences and write them again; of two who change one at once, one is told so."""
    office, (one, _) = cluster
    licence = (await office.ask("POST", "", {}))[1]
    await office.ask("POST", f"/{licence['key']}/activate", {"domain": "a.example"})

    async def is_let_in() -> bool:
        return await refusal_of(one, "demo", origin=PAGE) == ""

    await wait_until(is_let_in)
    store = RedisViewing(redis_server.url, "guarded", 1.0)
    async with store._connection.client() as client:
        await client.flushall()

    async def is_back() -> bool:
        return [each["domain"] for each in (await office.ask("GET", ""))[1]["licences"]] == ["a.example"]

    await wait_until(is_back)
    assert await is_let_in()
    (known,) = (await store.rules.read()).licences
    assert await store.rules.put_licence(known.activated("a.example", SystemClock().utc()), known)
    await store.close()


async def test_a_licence_of_a_newer_version_ends_no_edge(
    cluster: tuple[Office, list[GuardedRig]], redis_server: RedisServer
) -> None:
    """What an edge cannot read lets nobody in; the other licences hold, and what is ordered later does too."""
    office, (edge, _) = cluster
    redis_server.command("HSET", "{guarded}:licences", "new", '{"key":"new","kind":"eternal","days":1}')
    for domain in ("a.example", "b.example"):
        key = f"/{(await office.ask('POST', '', {}))[1]['key']}"
        assert (await office.ask("POST", f"{key}/activate", {"domain": domain}))[0] == 200

        async def is_let_in(page: str = f"https://{domain}") -> bool:
            return await refusal_of(edge, "demo", origin=page) == ""

        await wait_until(is_let_in)
    assert len((await office.ask("GET", ""))[1]["licences"]) == 2
