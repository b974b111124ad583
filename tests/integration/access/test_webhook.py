"""A webhook decides who may watch: what it is asked, what its answers do, and what holds while it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from headrace.access.viewing import MemoryViewing
from headrace.access.webhook import AT_ONCE
from headrace.clock import SystemClock
from headrace.testing import wait_until
from headrace.wire import play
from integration.access.rig import GuardedRig, token
from integration.access.test_doors import refusal_of
from integration.live.publishing import EPOCH, publish, split


class Decider:
    """The operator's program.

    Attributes:
        answer: what it says next: a JSON object, a status, or a response.
        asked: every question so far.
    """

    def __init__(self) -> None:
        self.answer: Any = {"allow": True}
        self.asked: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.go = asyncio.Event()
        self.go.set()
        self.at_once = self.most = 0
        app = web.Application()
        app.router.add_post("/decide", self._decide)
        self.server = TestServer(app)

    async def _decide(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.tokens.append(request.headers.get("Authorization", ""))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self.go.wait()
        self.at_once -= 1
        if isinstance(self.answer, int):
            return web.Response(status=self.answer, headers={"Location": str(self.server.make_url("/elsewhere"))})
        return web.json_response(self.answer)

    @property
    def settings(self) -> dict[str, Any]:
        url = str(self.server.make_url("/decide"))
        return {"policy": "webhook", "webhook_url": url, "webhook_secret": "s3cret", "webhook_seconds": 1.0}


@pytest.fixture
async def decider() -> AsyncIterator[Decider]:
    decider = Decider()
    await decider.server.start_server()
    yield decider
    decider.go.set()
    await decider.server.close()


async def test_it_is_told_who_asks_for_what(decider: Decider) -> None:
    """Stream, door, address, origin, token and whom that is for, once for each session; it says no with a reason."""
    async with GuardedRig(**decider.settings) as rig:
        path = f"demo?token={token(subject='alice')}"
        assert await refusal_of(rig, path, origin="https://a.example") == ""
        assert await refusal_of(rig, path, origin="https://a.example") == ""
        (question,) = decider.asked
        assert decider.tokens == ["Bearer s3cret"]
        told = {name: question[name] for name in ("stream", "door", "address", "origin", "subject", "session", "edge")}
        assert told == {
            "stream": "demo",
            "door": "play",
            "address": "127.0.0.1",
            "origin": "https://a.example",
            "subject": "alice",
            "session": "s1",
            "edge": "edge-1",
        }
        decider.answer = {"allow": False, "reason": "not today"}
        async with rig.dial("demo") as socket:
            await socket.send(play.encode(play.Play(session="other")).decode())
            said = play.decode_from_edge(await socket.recv())
            assert isinstance(said, play.Refused)
            assert (said.code, said.reason) == ("refused", "not today")
        assert await refusal_of(rig, "open-house") == ""
        assert len(decider.asked) == 2


async def test_its_answer_may_end_and_count_viewers(decider: Decider) -> None:
    """`expires` ends what plays, `id` with `viewers` limits it over edges and doors, HLS included."""
    viewing = MemoryViewing(SystemClock(), 1.0)
    early, _ = split(8.0, 3.0)
    async with (
        GuardedRig("edge-1", viewing=viewing, **decider.settings) as one,
        GuardedRig("edge-2", viewing=viewing, **decider.settings) as two,
        aiohttp.ClientSession() as http,
    ):
        for rig in (one, two):
            publish(rig, early)
        decider.answer = {"allow": True, "id": "customer-7", "viewers": 1}
        async with http.get(f"http://{one.address()}/live/demo/index.m3u8") as answer:
            assert answer.status == 200
            base = str(answer.url).rpartition("/")[0]
        assert await refusal_of(two, "demo", session="a-second") == "viewers"
        async with http.get(f"{base}/{EPOCH}/1/100.m4s") as answer:
            assert answer.status == 200
        async with http.get(f"http://{one.address()}/live/demo/{EPOCH}/1/100.m4s") as answer:
            assert answer.status == 403
        decider.answer = {"allow": True, "expires": time.time() + 1}
        async with two.play("demo", session="a-third", max_queue=None) as player:
            assert (await player.expect(play.Refused)).code == "token_expired"


@pytest.mark.parametrize("answer", [500, 302, {"allow": "maybe"}, []], ids=["error", "redirect", "wrong", "no object"])
async def test_what_is_no_answer_is_none(decider: Decider, answer: Any) -> None:
    """Errors, redirects, which are not followed, and nonsense count as away: refused or let in as configured."""
    decider.answer = answer
    async with GuardedRig(**decider.settings) as rig:
        assert await refusal_of(rig, "demo") == "away"
        assert "access.webhook_url" in str(rig.runtime.health.problems())
        decider.answer = {"allow": True}
        assert await refusal_of(rig, "demo") == ""
        assert rig.runtime.health.problems() == {}
        decider.answer = answer
    async with GuardedRig(**decider.settings, webhook_away="allow") as rig:
        assert await refusal_of(rig, "demo") == ""


async def test_a_slow_one_is_asked_by_few_at_once(decider: Decider) -> None:
    """A hundred viewers are a few dozen questions at once; the others wait their turn."""
    decider.go.clear()
    async with GuardedRig(**decider.settings | {"webhook_seconds": 20.0}) as rig:
        asking = [asyncio.ensure_future(refusal_of(rig, "demo", session=f"session-{n}")) for n in range(100)]
        await wait_until(lambda: decider.at_once == AT_ONCE)
        decider.go.set()
        assert set(await asyncio.gather(*asking)) == {""}
        assert (decider.most, len(decider.asked)) == (AT_ONCE, 100)


async def test_a_silent_one_is_not_waited_for_long(decider: Decider) -> None:
    """Who gets no answer in time is told so."""
    decider.go.clear()
    async with GuardedRig(**decider.settings) as rig:
        assert await refusal_of(rig, "demo") == "away"


async def test_a_gone_one_is_away(decider: Decider) -> None:
    """Nothing listens at its address."""
    settings = decider.settings
    async with GuardedRig(**settings) as rig:
        await decider.server.close()
        assert await refusal_of(rig, "demo") == "away"

        async def complains() -> bool:
            return bool(rig.runtime.health.problems())

        await wait_until(complains)
