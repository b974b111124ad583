"""One token over three edges and every door, through a real store: its limit holds, and its end is everybody's end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from websockets.exceptions import InvalidStatus

from headrace.testing import wait_until
from integration.access.rig import GuardedRig, control_api, token
from integration.access.test_doors import closing_of, refusal_of
from integration.access.test_live_sessions import HttpPlayer
from integration.live.publishing import publish, split
from support.redis_server import RedisServer

pytestmark = pytest.mark.redis

PROMISE_SECONDS = 1.0
"""What is promised; a busy machine may take ten times as long before the test fails."""


@pytest.fixture
async def edges(redis_server: RedisServer) -> AsyncIterator[list[GuardedRig]]:
    async with contextlib.AsyncExitStack() as stack:
        early, _ = split(8.0, 3.0)
        rigs = [
            await stack.enter_async_context(GuardedRig(f"edge-{number}", registry_url=redis_server.url))
            for number in (1, 2, 3)
        ]
        for rig in rigs:
            publish(rig, early)
        yield rigs


@pytest.fixture
async def api(redis_server: RedisServer) -> AsyncIterator[str]:
    async with control_api(redis_server.url) as url:
        yield url


async def test_a_limit_and_a_revocation_hold_everywhere(edges: list[GuardedRig], api: str) -> None:
    """Twelve watch by four doors of three edges, nobody else gets in by any; revoked, all are gone within a second."""
    text = token(id="shared", viewers_max=12)
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        sockets, players = [], []
        for number, edge in enumerate(edges):
            own = edge.play(f"demo?token={text}", session=f"session-{number}", max_queue=None)
            sockets.append((await stack.enter_async_context(own)).socket)
            sockets.append(await stack.enter_async_context(edge.plain(f"demo?token={text}", max_queue=None)))
            for name in ("index.m3u8", "manifest.mpd"):
                players.append((edge, HttpPlayer(http)))
                assert await players[-1][1].begin(edge, text, name) == 200
        for edge in edges:
            assert await refusal_of(edge, f"demo?token={text}", session="one-more") == "viewers"
            with pytest.raises(InvalidStatus) as refused:
                async with edge.plain(f"demo?token={text}"):
                    pass
            assert refused.value.response.status_code == 403
            for name in ("index.m3u8", "manifest.mpd"):
                assert await HttpPlayer(http).begin(edge, text, name) == 403

        async def counted() -> bool:
            async with http.get(f"{api}/api/v1/viewer-counts") as answer:
                return bool((await answer.json())["viewers"] == 12)

        await wait_until(counted)
        polls = [asyncio.ensure_future(timed(player, edge)) for edge, player in players]
        await wait_until(lambda: all(edge.value("live_waiting") for edge in edges))
        revoked = time.monotonic()
        async with http.delete(f"{api}/api/v1/tokens/shared") as answer:
            assert answer.status == 204
        closings = await asyncio.gather(*map(closing_of, sockets))
        ends = await asyncio.gather(*polls)
        assert {(code, reason) for code, reason, _ in closings} == {(1008, "token_revoked")}
        assert {status for status, _ in ends} == {403}
        last = max([at for *_, at in closings] + [at for _, at in ends]) - revoked
        print(f"the last of 12 was gone {last:.2f} s after the revocation was asked for")
        assert last < 10 * PROMISE_SECONDS
        for edge, player in players:
            assert (await player.get(edge, "1.m3u8"))[0] == 403
            assert await refusal_of(edge, f"demo?token={text}", session="again") == "token_revoked"


async def timed(player: HttpPlayer, edge: GuardedRig) -> tuple[int, float]:
    """Wait for media that does not come; return the status, and when it came."""
    status, _ = await player.get(edge, "1.m3u8?_HLS_msn=102")
    return status, time.monotonic()
