"""Every door of an edge asks for a token where one is needed, and viewers go when their token does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from headrace.access.redis_viewing import RedisViewing
from headrace.access.viewing import MemoryViewing
from headrace.clock import SystemClock
from headrace.testing import wait_until
from headrace.wire import play
from integration.access.rig import SECRET, GuardedRig, control_api, token
from support.redis_server import RedisServer

GOOD_SECONDS = 5.0


@pytest.fixture
async def viewing() -> MemoryViewing:
    return MemoryViewing(SystemClock(), 1.0)


@pytest.fixture
async def rig(viewing: MemoryViewing) -> AsyncIterator[GuardedRig]:
    async with GuardedRig(viewing=viewing) as rig:
        yield rig


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def refusal_of(rig: GuardedRig, stream: str, session: str = "s1", **options: object) -> str:
    """Return the code with which a player is refused at the play door, empty when it is let in."""
    async with rig.dial(stream, **options) as socket:
        await socket.send(play.encode(play.Play(session=session)).decode())
        said = play.decode_from_edge(await socket.recv())
        return said.code if isinstance(said, play.Refused) else ""


async def closing_of(socket: ClientConnection) -> tuple[int, str, float]:
    """Return with which code and reason a connection was closed, and when."""
    with pytest.raises(ConnectionClosed) as closed:
        async with asyncio.timeout(GOOD_SECONDS):
            while True:
                await socket.recv()
    frame = closed.value.rcvd
    assert frame is not None
    return frame.code, frame.reason, time.monotonic()


async def test_players_need_a_token(rig: GuardedRig) -> None:
    """The play door tells by name why a player is not let in, and lets in who has a token."""
    assert await refusal_of(rig, "demo") == "token_needed"
    assert await refusal_of(rig, "demo?token=nonsense") == "bad_token"
    assert await refusal_of(rig, f"demo?token={token('other')}") == "token_stream"
    assert await refusal_of(rig, f"demo?token={token('demo', seconds=-5)}") == "token_expired"
    assert await refusal_of(rig, f"demo?token={token('demo', addresses=['10.0.0.0/8'])}") == "token_address"
    mine = token("demo", origins=("a.example",))
    assert await refusal_of(rig, f"demo?token={mine}", origin="https://evil.example") == "token_origin"
    assert await refusal_of(rig, f"demo?token={mine}", origin="https://www.a.example") == ""
    assert await refusal_of(rig, "demo", additional_headers={"Authorization": f"Bearer {token()}"}) == ""
    assert await refusal_of(rig, "open-house") == ""
    assert rig.value("refused_total", door="play", reason="token_needed") == 1


async def test_plain_players_need_a_token(rig: GuardedRig) -> None:
    """The plain door says it by HTTP, before the handshake."""
    for path, status in (("demo", 401), (f"demo?token={token('x')}", 403)):
        with pytest.raises(InvalidStatus) as refused:
            async with rig.plain(path):
                pass
        assert refused.value.response.status_code == status
    async with rig.plain(f"demo?token={token()}"):
        await rig.wait_viewers(1)


async def test_live_requests_need_a_token_and_stay_private(rig: GuardedRig, http: aiohttp.ClientSession) -> None:
    """HLS and DASH show the token with each request; no shared cache keeps what they get; public streams stay so."""
    for name in ("demo", "open-house"):
        feed = rig.feed(name)
        feed.open()
        feed.push(60)
    url = f"http://{rig.address()}/live"
    async with http.get(f"{url}/demo/index.m3u8") as answer:
        assert (answer.status, answer.content_type) == (401, "application/problem+json")
        assert answer.headers["Cache-Control"] == "no-store"
    async with http.get(f"{url}/demo/index.m3u8", headers={"Authorization": f"Bearer {token()}"}) as answer:
        assert (answer.status, answer.headers["Cache-Control"].split(",")[0]) == (200, "private")
    async with http.get(f"{url}/open-house/index.m3u8") as answer:
        assert (answer.status, answer.headers["Cache-Control"].split(",")[0]) == (200, "public")


async def test_an_expired_token_ends_what_plays(rig: GuardedRig) -> None:
    """A viewer goes within a second of its token's end, told why, at both doors."""
    expires = time.monotonic() + 1.5
    short = token(seconds=1.5)
    async with rig.play(f"demo?token={short}") as player, rig.plain(f"demo?token={short}") as plain:
        assert (await player.expect(play.Refused)).code == "token_expired"
        for socket in (player.socket, plain):
            code, reason, at = await closing_of(socket)
            assert (code, reason) == (1008, "token_expired")
            assert at - expires < 3  # a second is the promise; a busy machine is no news
    await rig.wait_viewers(0)


async def test_a_revoked_token_ends_what_plays_on_all_edges(viewing: MemoryViewing) -> None:
    """Edges that share their revocations end what plays with the token, refuse it, and leave others alone."""
    async with GuardedRig("edge-1", viewing=viewing) as first, GuardedRig("edge-2", viewing=viewing) as second:
        mine, other = token(id="mine"), token(id="other")
        async with (
            first.play(f"demo?token={mine}", session="a") as here,
            second.play(f"demo?token={mine}", session="b") as there,
            second.play(f"demo?token={other}", session="c"),
        ):
            revoked = time.monotonic()
            await viewing.revoke("mine", time.time() + 1000)
            for player in (here, there):
                assert (await player.expect(play.Refused)).code == "token_revoked"
            assert time.monotonic() - revoked < 10
            await first.wait_viewers(0)
            await second.wait_viewers(1)
            assert await refusal_of(first, f"demo?token={mine}") == "token_revoked"


async def test_viewers_of_a_token_are_counted_over_all_edges(viewing: MemoryViewing) -> None:
    """A token for two lets two in, wherever; a failover is no third; who leaves makes room."""
    rigs = [GuardedRig(f"edge-{number}", viewing=viewing) for number in range(3)]
    async with rigs[0] as first, rigs[1] as second, rigs[2] as third:
        path = f"demo?token={token(viewers_max=2)}"
        async with first.play(path, session="a") as old, second.play(path, session="b"):
            assert await refusal_of(third, path, session="c") == "viewers"
            async with third.play(path, session="a"):
                assert (await old.expect(play.Refused)).code == "taken_over"
                await first.wait_viewers(0)
                assert await refusal_of(first, path, session="c") == "viewers"

        async def let_in() -> bool:
            return await refusal_of(first, path, session="c") == ""

        await wait_until(let_in)


async def test_keys_are_changed_while_the_edge_runs(tmp_path: Path) -> None:
    """A new key in the file is taken without a restart, an old one no more; a bad file changes nothing but ready."""
    old, new = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
    texts = {
        name: jwt.encode({"alg": "ES256"}, {"stream": "demo", "exp": time.time() + 600}, key)
        for name, key in (("old", old), ("new", new))
    }
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [old.as_dict(private=False)]}))
    async with GuardedRig(secrets=[], jwks_file=str(file)) as rig:
        assert await refusal_of(rig, f"demo?token={texts['old']}") == ""
        assert await refusal_of(rig, f"demo?token={texts['new']}") == "bad_token"
        file.write_text("{")
        await wait_until(rig.runtime.health.problems)
        assert await refusal_of(rig, f"demo?token={texts['old']}") == ""
        file.write_text(json.dumps({"keys": [new.as_dict(private=False)]}))
        await wait_until(lambda: not rig.runtime.health.problems())
        assert await refusal_of(rig, f"demo?token={texts['new']}") == ""
        assert await refusal_of(rig, f"demo?token={texts['old']}") == "bad_token"


@pytest.mark.redis
async def test_through_a_real_store(redis_server: RedisServer) -> None:
    """Edges that know each other only by the store count together and hear of revocations."""
    url = redis_server.url
    office = RedisViewing(url, "guarded", 1.0)
    async with GuardedRig("edge-1", registry_url=url) as first, GuardedRig("edge-2", registry_url=url) as second:
        path = f"demo?token={token(viewers_max=1)}"
        async with first.play(path, session="a") as player:
            assert await refusal_of(second, path, session="b") == "viewers"
            await office.revoke("t1", time.time() + 1000)
            assert (await player.expect(play.Refused)).code == "token_revoked"

        async def is_known() -> bool:
            return await refusal_of(second, path, session="b") == "token_revoked"

        await wait_until(is_known)  # each edge asks the store for itself
    await office.close()


@pytest.mark.redis
async def test_revoked_by_api_on_three_edges_and_every_door(
    redis_server: RedisServer,
    http: aiohttp.ClientSession,
) -> None:
    """A token revoked at a control API ends its players and plain viewers on three edges, and HLS refuses it."""
    url = redis_server.url
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(control_api(url))
        rigs = [await stack.enter_async_context(GuardedRig(f"edge-{n}", registry_url=url)) for n in range(3)]
        path = f"demo?token={token()}"
        sockets = []
        for rig in rigs:
            sockets.append((await stack.enter_async_context(rig.play(path))).socket)
            sockets.append(await stack.enter_async_context(rig.plain(path)))
        revoked = time.monotonic()
        async with http.delete(f"{api}/api/v1/tokens/t1") as answer:
            assert answer.status == 204
        closings = await asyncio.gather(*map(closing_of, sockets))
        assert {(code, reason) for code, reason, _ in closings} == {(1008, "token_revoked")}
        assert (
            max(at for *_, at in closings) - revoked < 10
        )  # within a second, where the machine has nothing else to do
        for rig in rigs:
            async with http.get(f"http://{rig.address()}/live/demo/index.m3u8?token={token()}") as answer:
                assert answer.status == 403


@pytest.mark.redis
async def test_while_the_store_is_away(redis_server: RedisServer) -> None:
    """What plays goes on; tokens that limit viewers are let in or refused as configured, others always let in."""
    url = redis_server.url
    lenient = GuardedRig("edge-1", registry_url=url)
    strict = GuardedRig("edge-2", registry_url=url, while_away="refuse")
    async with lenient as first, strict as second:
        path = f"demo?token={token(viewers_max=1)}"
        async with first.play(path, session="a"):
            redis_server.kill()
            assert await refusal_of(second, path, session="b") == "away"
            assert await refusal_of(second, f"demo?token={token()}") == ""
            assert await refusal_of(first, path, session="b") == ""
            await first.wait_viewers(1)


def test_the_secret_of_the_tests_is_long_enough() -> None:
    """Shorter ones are refused by the settings."""
    assert len(SECRET) >= 32
