"""HLS and DASH viewers are viewing sessions: counted, listed, and ended like those of a WebSocket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from headrace.access.viewing import MemoryViewing
from headrace.clock import SystemClock
from headrace.testing import wait_until
from headrace.wire import play
from integration.access.rig import GuardedRig, token
from integration.live.publishing import EPOCH, publish, split

SEGMENT = f"{EPOCH}/1/100.m4s"


@pytest.fixture
async def viewing() -> MemoryViewing:
    return MemoryViewing(SystemClock(), 1.0)


@pytest.fixture
async def edges(viewing: MemoryViewing) -> AsyncIterator[list[GuardedRig]]:
    """Three edges that share their viewers, each with the same stream."""
    rigs = [GuardedRig(f"edge-{number}", viewing=viewing) for number in range(1, 4)]
    early, _ = split(8.0, 3.0)
    async with rigs[0], rigs[1], rigs[2]:
        for rig in rigs:
            publish(rig, early)
        yield rigs


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class HttpPlayer:
    """Follows the address that it is sent to, at any edge."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.http = http
        self.base = ""

    async def begin(self, edge: GuardedRig, text: str, name: str = "index.m3u8", **query: str) -> int:
        """Open the stream; return the status."""
        url = f"http://{edge.address()}/live/demo/{name}"
        async with self.http.get(url, params={"token": text, **query}) as answer:
            self.base = urlsplit(str(answer.url)).path.rpartition("/")[0]
            await answer.read()
            return answer.status

    async def get(self, edge: GuardedRig, path: str) -> tuple[int, bytes]:
        """Ask an edge for something by the address that it began with."""
        async with self.http.get(f"http://{edge.address()}{self.base}/{path}") as answer:
            return answer.status, await answer.read()


@pytest.mark.parametrize("name", ["index.m3u8", "manifest.mpd"])
async def test_a_player_is_sent_to_an_address_of_its_own(
    edges: list[GuardedRig], http: aiohttp.ClientSession, name: str
) -> None:
    """Everything comes below it at every edge, the same bytes for all, and no shared cache keeps it."""
    player = HttpPlayer(http)
    assert await player.begin(edges[0], token(viewers_max=1), name, start="-3") == 200
    assert "/live/~" in player.base
    bodies = {(await player.get(edge, SEGMENT))[1] for edge in edges}
    assert len(bodies) == 1
    async with http.get(f"http://{edges[1].address()}{player.base}/{SEGMENT}") as answer:
        assert (answer.status, answer.headers["Cache-Control"].split(",")[0]) == (200, "private")
    assert [edge.value("viewers", door="live") for edge in edges] == [1, 1, 1]


async def test_http_viewers_are_counted_with_the_others(edges: list[GuardedRig], http: aiohttp.ClientSession) -> None:
    """A token for two lets two in, by whichever doors and edges; one session over doors and edges is one."""
    text = token(viewers_max=2)
    one, two, three = HttpPlayer(http), HttpPlayer(http), HttpPlayer(http)
    assert await one.begin(edges[0], text, session="session-1") == 200
    assert (await one.get(edges[1], SEGMENT))[0] == 200
    async with edges[2].play(f"demo?token={text}", session="session-2", max_queue=None):
        assert await two.begin(edges[1], text) == 403
        assert (await two.get(edges[0], SEGMENT))[0] == 403
    async with edges[0].play(f"demo?token={text}", session="session-1", max_queue=None):

        async def is_told() -> bool:
            return (await one.get(edges[1], "1.m3u8"))[0] == 403

        await wait_until(is_told)  # the same session watches by another door now

        async def has_room() -> bool:
            return await three.begin(edges[1], text, session="session-3") == 200

        await wait_until(has_room)  # the player that left gave its place up within a moment
        assert await one.begin(edges[2], text, session="session-4") == 403


async def test_counted_tokens_need_a_session(edges: list[GuardedRig], http: aiohttp.ClientSession) -> None:
    """Nothing but the beginning comes without one."""
    url = f"http://{edges[0].address()}/live/demo/{SEGMENT}"
    async with http.get(url, params={"token": token(viewers_max=2)}) as answer:
        assert answer.status == 403
        assert "begin with index.m3u8" in (await answer.json(content_type=None))["detail"]
    async with http.get(url, params={"token": token()}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("limits", [{"viewers_max": 5}, {}], ids=["counted", "uncounted"])
async def test_what_is_waited_for_ends_with_the_token(
    viewing: MemoryViewing, edges: list[GuardedRig], http: aiohttp.ClientSession, limits: dict[str, Any]
) -> None:
    """A revoked token ends long polls and segments in the making on every edge, and all that is asked after."""
    players = [HttpPlayer(http) for _ in edges]
    for player, edge in zip(players, edges, strict=True):
        assert await player.begin(edge, token(id="mine", **limits)) == 200
    polls = [
        asyncio.ensure_future(player.get(edge, "1.m3u8?_HLS_msn=102"))
        for player, edge in zip(players, edges, strict=True)
    ]
    follow = asyncio.ensure_future(players[0].get(edges[0], f"{EPOCH}/1/101.m4s"))
    await wait_until(lambda: all(edge.value("live_waiting") >= 1 for edge in edges))
    revoked = time.monotonic()
    await viewing.revoke("mine", time.time() + 1000)
    assert [status for status, _ in await asyncio.gather(*polls)] == [403] * 3
    with pytest.raises(aiohttp.ClientError):
        await follow
    print(f"polls ended {time.monotonic() - revoked:.2f} s after the revocation")
    assert time.monotonic() - revoked < 5  # a poll is held for six
    for player, edge in zip(players, edges, strict=True):
        assert (await player.get(edge, SEGMENT))[0] == 403


async def test_a_silent_session_makes_room(edges: list[GuardedRig], http: aiohttp.ClientSession) -> None:
    """Who asks no more is a viewer no more."""
    one, two = HttpPlayer(http), HttpPlayer(http)
    text = token(viewers_max=1)
    assert await one.begin(edges[0], text) == 200
    assert await two.begin(edges[1], text) == 403

    async def has_room() -> bool:
        return await two.begin(edges[1], text) == 200

    await wait_until(has_room, timeout=40)


async def test_players_of_both_kinds_go_when_an_operator_says_so(
    viewing: MemoryViewing, edges: list[GuardedRig], http: aiohttp.ClientSession
) -> None:
    """A kicked viewer is told, and its session is kept away from every edge; others stay."""
    player = HttpPlayer(http)
    assert await player.begin(edges[0], token(), session="http-session") == 200

    async def listed() -> int:
        return sum(counts.viewers for counts in (await viewing.counts()).values())

    async with (
        edges[1].play(f"demo?token={token()}", session="ws-session", max_queue=None) as socket,
        edges[2].play("open-house", session="public-session") as public,
    ):

        async def all_listed() -> bool:
            return await listed() == 3

        await wait_until(all_listed)
        (http_viewer,) = await viewing.viewers("edge-1")
        (ws_viewer,) = await viewing.viewers("edge-2")
        (public_viewer,) = await viewing.viewers("edge-3")
        assert (http_viewer.door, ws_viewer.door, public_viewer.stream) == ("live", "play", "open-house")
        for viewer in (http_viewer, ws_viewer, public_viewer):
            await viewing.kick(viewer.id, time.time() + 100)
        for told in (socket, public):
            assert (await told.expect(play.Refused)).code == "kicked"

        async def is_told() -> bool:
            return (await player.get(edges[2], "1.m3u8"))[0] == 403

        await wait_until(is_told)

    async def nobody_listed() -> bool:
        return await listed() == 0

    await wait_until(nobody_listed)
