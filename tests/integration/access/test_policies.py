"""Policies by order: what holds for streams changes on all edges within a second, without a restart."""

from __future__ import annotations

import contextlib
from typing import Any

import aiohttp
import pytest

from headrace.access.policy import Policy
from headrace.access.rules import POLICIES_MAX, AccessRules, MemoryRules, TooManyRules
from headrace.access.viewing import Viewing
from headrace.identifiers import StreamName
from headrace.testing import wait_until
from headrace.wire import play
from integration.access.rig import GuardedRig, control_api, token
from integration.access.test_doors import refusal_of
from integration.live.publishing import publish, split
from support.redis_server import RedisServer


async def test_rules_are_kept_under_a_turn(viewing: Viewing) -> None:
    """Each change is another turn; what is removed was there, or not."""
    assert await viewing.rules.read() == AccessRules()
    await viewing.rules.put_policy("site7/*", "token")
    await viewing.rules.put_policy("site7/lobby", "public")
    found = await viewing.rules.read()
    assert found.policies == {"site7/*": "token", "site7/lobby": "public"}
    assert (await viewing.ends()).turn == found.turn > 0
    assert await viewing.rules.remove_policy("site7/*")
    assert not await viewing.rules.remove_policy("site7/*")
    assert (await viewing.rules.read()).turn > found.turn


async def test_there_are_not_endlessly_many() -> None:
    """The last one too many is refused."""
    rules = MemoryRules()
    for number in range(POLICIES_MAX):
        await rules.put_policy(f"cam{number}", "token")
    with pytest.raises(TooManyRules):
        await rules.put_policy("one-more", "token")
    await rules.put_policy("cam1", "public")


def test_an_order_stands_over_the_configuration() -> None:
    """For the same names the ordered one decides, else the longest pattern as ever."""
    configured = Policy("public", (("site7/*", "token"), ("site8/*", "token")))
    merged = AccessRules(1, (), {"site7/*": "public", "site8/lobby": "licence"}).over(configured)
    modes = [merged.mode_of(StreamName(name)) for name in ("site7/a", "site8/a", "site8/lobby", "other")]
    assert modes == ["public", "token", "licence", "public"]


@pytest.mark.redis
async def test_a_public_stream_is_protected_while_it_plays(server: RedisServer) -> None:
    """Who shows no token goes, who showed one stays; withdrawn, the configuration holds again. HLS likewise."""
    early, _ = split(8.0, 3.0)
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(control_api(server.url))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        one, two = [
            await stack.enter_async_context(GuardedRig(f"edge-{n}", registry_url=server.url, policy="public"))
            for n in (1, 2)
        ]
        publish(two, early)
        live = f"http://{two.address()}/live/demo/index.m3u8"

        async def order(method: str, path: str, body: Any = None) -> int:
            url = f"{api}/api/v1/policies{path}"
            async with http.request(method, url, json=body) as answer:
                return answer.status

        async def live_status() -> int:
            async with http.get(live) as answer:
                return answer.status

        for _ in range(3):  # the quick way has it ready by then
            assert await live_status() == 200
        async with (
            one.play("demo", session="without", max_queue=None) as without,
            two.play(f"demo?token={token()}", session="with", max_queue=None),
        ):
            assert await order("PUT", "/de%2A", {"policy": "token"}) == 204
            assert (await without.expect(play.Refused)).code == "token_needed"

            async def is_protected() -> bool:
                return await live_status() == 401

            await wait_until(is_protected)
            await one.wait_viewers(0)
            assert await refusal_of(one, "demo") == "token_needed"
            await two.wait_viewers(1)
            assert await order("DELETE", "/de%2A") == 204

            async def is_public() -> bool:
                return await live_status() == 200 and await refusal_of(one, "demo") == ""

            await wait_until(is_public)
        assert await order("DELETE", "/de%2A") == 404
        assert await order("PUT", "/de%2A", {"policy": "secret"}) == 400
        assert await order("PUT", "/a%2Fb%2A", {"policy": "licence"}) == 204
        async with http.get(f"{api}/api/v1/policies") as answer:
            assert await answer.json() == {"policies": [{"pattern": "a/b*", "policy": "licence"}]}
