"""What is counted over all workers is counted right, and HTTP is answered alike by whichever worker is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator

import aiohttp
import pytest
import websockets

from headrace.testing import wait_until
from headrace.wire import play
from integration.access.rig import SECRET, token
from integration.workers.rig import PATIENCE, Cluster, cluster, followers, get, json_of, metrics_of

pytestmark = [pytest.mark.redis, pytest.mark.slow]

TIMES = 12
"""How often something is asked over new connections: that all get the same worker does not happen."""


@pytest.fixture
def guarded() -> Iterator[Cluster]:
    with cluster(**{"access.policy": "token", "access.secrets": json.dumps([SECRET])}) as made:
        yield made


@pytest.fixture
def served() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": play.SUBPROTOCOL,
}
"""What asks for a WebSocket, for who only wants to know whether there would be one."""


class Player:
    """A player with a session of its own."""

    def __init__(self, served: Cluster, text: str, session: str) -> None:
        self._url = f"{served.play()}?token={text}"
        self._session = session

    async def begin(self, stack: contextlib.AsyncExitStack) -> tuple[websockets.ClientConnection, str]:
        """Return the connection, which stays open as long as `stack`, and the code of a refusal or nothing."""
        protocols = [websockets.Subprotocol(play.SUBPROTOCOL)]
        connection = websockets.connect(self._url, subprotocols=protocols, max_size=2**25, max_queue=None)
        socket = await stack.enter_async_context(connection)
        await socket.send(play.encode(play.Play(session=self._session)).decode())
        said = play.decode_from_edge(await socket.recv())
        return socket, said.code if isinstance(said, play.Refused) else ""


async def refusals(served: Cluster, text: str) -> set[str]:
    """Return with which codes one more viewer is refused, at whichever worker."""
    codes = set()
    async with contextlib.AsyncExitStack() as stack:
        for number in range(TIMES):
            codes.add((await Player(served, text, f"more-{number}").begin(stack))[1])
    return codes


async def close_code(socket: websockets.ClientConnection) -> tuple[int, str]:
    """Return code and reason with which a player is closed."""
    with pytest.raises(websockets.ConnectionClosed) as closed:
        async with asyncio.timeout(PATIENCE):
            while True:
                await socket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


async def test_the_limit_of_a_token_holds_over_workers(guarded: Cluster) -> None:
    """Four watch, nobody else is let in by either worker or door; a viewer that is sent away makes room for one."""
    text = token(viewers_max=4)
    api = f"http://127.0.0.1:{guarded.api.port()}/api/v1"
    async with contextlib.AsyncExitStack() as stack:
        begun = [await Player(guarded, text, f"viewer-{number}").begin(stack) for number in range(4)]
        assert {code for _, code in begun} == {""}
        assert await refusals(guarded, text) == {"viewers"}
        assert {(await get(f"{guarded.url}/live/demo/index.m3u8?token={text}"))[0] for _ in range(TIMES)} == {403}

        async def are_listed() -> bool:
            return len((await json_of(f"{api}/viewers"))["viewers"]) == 4

        await wait_until(are_listed, PATIENCE)
        listed = (await json_of(f"{api}/viewers"))["viewers"]
        assert {viewer["node"] for viewer in listed} == {"edge-1"}
        for viewer in listed[:2]:
            async with aiohttp.ClientSession() as http, http.delete(f"{api}/viewers/{viewer['id']}") as answer:
                assert answer.status == 204
        ends = [asyncio.ensure_future(close_code(socket)) for socket, _ in begun]
        await wait_until(lambda: sum(end.done() for end in ends) == 2, PATIENCE)
        assert {end.result() for end in ends if end.done()} == {(1008, "kicked")}
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        codes = []
        for number in range(3):
            codes.append((await Player(guarded, text, f"later-{number}").begin(stack))[1])
        assert codes == ["", "", "viewers"]


async def test_the_limit_of_the_edge_holds_over_workers() -> None:
    """Nobody is let in beyond it by either worker, as soon as they know of each other's viewers."""
    with cluster(**{"edge.viewers_max": "6"}) as served:
        async with followers(6, served.play()):

            async def is_full() -> bool:
                codes = {(await get(served.play().replace("ws", "http", 1), **UPGRADE))[0] for _ in range(TIMES)}
                return codes == {503}

            await wait_until(is_full, PATIENCE)


async def test_a_session_of_hls_is_one_viewer_at_both_workers(guarded: Cluster) -> None:
    """Its requests go to whichever worker; it is counted and listed once, and holds one place of its token."""
    text = token(viewers_max=1)
    api = f"http://127.0.0.1:{guarded.api.port()}/api/v1"
    async with aiohttp.ClientSession() as http, http.get(f"{guarded.url}/live/demo/index.m3u8?token={text}") as answer:
        assert answer.status == 200
        own = str(answer.url).rpartition("/")[0]

    async def is_at_both() -> bool:
        assert (await get(f"{own}/1.m3u8"))[0] == 200
        return min((await metrics_of(guarded.url)).values("headrace_edge_worker_viewers"), default=0) > 0

    await wait_until(is_at_both, PATIENCE)

    async def is_counted_once() -> bool:
        assert (await get(f"{own}/1.m3u8"))[0] == 200
        counts = await json_of(f"{api}/viewer-counts")
        return bool(counts["viewers"] == 1 and counts["nodes"] == [{"node": "edge-1", "viewers": 1}])

    await wait_until(is_counted_once, PATIENCE)
    assert len((await json_of(f"{api}/viewers"))["viewers"]) == 1
    assert {(await get(f"{guarded.url}/live/demo/index.m3u8?token={text}"))[0] for _ in range(TIMES)} == {403}


async def test_both_workers_answer_long_polls_alike(served: Cluster) -> None:
    """Whoever waits for the same part gets the same bytes at the same moment, and media are the same too."""
    await wait_until(lambda: is_ready(served), PATIENCE)
    for _ in range(3):
        _, text = await get(f"{served.url}/live/demo/1.m3u8")
        number, part = next_part(text)
        waited = f"{served.url}/live/demo/1.m3u8?_HLS_msn={number}&_HLS_part={part + 1}"
        answers = await asyncio.gather(*(get(waited) for _ in range(TIMES)))
        assert {status for status, _ in answers} == {200}
        assert all(next_part(text) >= (number, part + 2) or next_part(text)[0] > number for _, text in answers)
    (header,) = re.findall(r'#EXT-X-MAP:URI="([^"]+)"', text)[-1:]
    (segment,) = re.findall(r"^[^#\s].*$", text, re.MULTILINE)[:1]
    for path in (header, segment):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
            bodies = set()
            for _ in range(TIMES):
                async with http.get(f"{served.url}/live/demo/{path}") as answer:
                    assert answer.status == 200
                    bodies.add(await answer.read())
            assert len(bodies) == 1

    async def serve_both() -> bool:
        return (await metrics_of(served.url)).value("headrace_edge_live_streams") == 2

    await wait_until(serve_both, PATIENCE)
    parent = await metrics_of(f"http://127.0.0.1:{served.ingress.port()}")
    assert parent.value("headrace_relay_served_subscriptions") == 1


async def is_ready(served: Cluster) -> bool:
    """Return whether the stream has a whole segment and goes on."""
    status, text = await get(f"{served.url}/live/demo/1.m3u8")
    return status == 200 and "#EXTINF" in text


def next_part(playlist: str) -> tuple[int, int]:
    """Return segment and part that come next after what a playlist lists."""
    first = int(re.findall(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", playlist)[0])
    whole = playlist.count("#EXTINF")
    return first + whole, playlist.rpartition("#EXTINF")[2].count("#EXT-X-PART:")
