"""Requests with conditions, ranges and origins, and what caches are told of playlists (RFC 9110, 8216bis)."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from headrace_edge import app
from headrace_edge.live.outlets import LiveOptions
from integration.edge.rig import EdgeRig
from integration.live.publishing import EPOCH, publish, split
from integration.live.test_door import get
from unit.live.m3u8 import read
from unit.live.streams import Programme

SEGMENT = f"demo/{EPOCH}/1/101.m4s"


async def test_a_part_beyond_a_segments_last_is_the_next_ones_first(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """A playlist without it is no answer, though the segment that was named is long closed (8216bis, 6.2.5.2)."""
    entries = Programme().epoch(8.0)
    begun = next(n for n, e in enumerate(entries) if getattr(e, "id", (0, 0, 0))[1:3] == (1, 102))
    publish(rig, entries[: begun + 1])  # segment 102 has begun, and none of its parts is whole
    waiting = asyncio.ensure_future(get(http, rig, "demo/1.m3u8?_HLS_msn=101&_HLS_part=60"))
    await wait_until(lambda: rig.value("live_waiting") == 1)
    publish(rig, entries[begun + 1 :])
    status, body, _ = await waiting
    assert (status, read(body.decode()).last > (102, 0)) == (200, True)


async def test_what_was_there_long_before_is_no_answer_to_keep(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """Only a playlist that ends with what was asked for may be given out for longer than any other."""
    early, late = split(8.0, 3.0)
    publish(rig, early)
    segment, part = read((await get(http, rig, "demo/1.m3u8"))[1].decode()).last

    async def caching(directives: str) -> str:
        return (await get(http, rig, f"demo/1.m3u8?{directives}"))[2]["Cache-Control"]

    old = [
        "_HLS_msn=0",
        "_HLS_msn=0&_HLS_part=0",
        f"_HLS_msn={segment - 1}&_HLS_part=1",
        "_HLS_msn=0&_HLS_skip=YES",
        "_HLS_skip=YES",
    ]
    for directives in old:
        assert await caching(directives) == "public, max-age=1", directives
    assert await caching(f"_HLS_msn={segment}&_HLS_part={part - 1}") == "public, max-age=30"  # its last
    waiting = asyncio.ensure_future(caching(f"_HLS_msn={segment}&_HLS_part={part}"))
    await wait_until(lambda: rig.value("live_waiting") == 1)
    publish(rig, late[:-1])
    assert await waiting == "public, max-age=30"
    publish(rig, late[-1:])
    assert await caching(f"_HLS_msn={segment}&_HLS_part={part}") == "public, max-age=1"  # by now there is much more


async def test_what_is_late_is_told(http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stream that is live, a playlist without what was asked for is an error, and soon worth another try."""
    monkeypatch.setattr(app, "LiveOptions", lambda **options: LiveOptions(**options, hold_seconds=0.1))
    async with EdgeRig(window_seconds=60.0) as rig:
        broadcast = publish(rig, split(8.0, 3.0)[0])
        segment, part = read((await get(http, rig, "demo/1.m3u8"))[1].decode()).last
        path = f"demo/1.m3u8?_HLS_msn={segment}&_HLS_part={part}"
        status, _, headers = await get(http, rig, path)
        assert (status, headers["Cache-Control"], headers["Retry-After"]) == (503, "no-store", "1")
        broadcast.set_state(StreamState.INTERRUPTED, "the camera is away")
        assert (await get(http, rig, path))[0] == 200


async def test_who_vanishes_waits_no_more(rig: EdgeRig) -> None:
    """A client that went away has no place among those who wait, long before what it waited for came."""
    publish(rig, split(8.0, 3.0)[0]).set_state(StreamState.INTERRUPTED, "the camera is away")
    host, port = rig.address().split(":")
    paths = ["demo/1.m3u8?_HLS_msn=102", f"demo/{EPOCH}/1/102.0.m4s", SEGMENT]
    for path in paths:
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /live/{path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        await wait_until(lambda: rig.value("live_waiting") == 1)
        began = asyncio.get_running_loop().time()
        writer.transport.abort()
        await wait_until(lambda: rig.value("live_waiting") == 0)
        assert asyncio.get_running_loop().time() - began < 3.0, path  # of six


@pytest.mark.parametrize("path", [SEGMENT, "demo/1.m3u8", f"demo/{EPOCH}/1/102.m4s"], ids=["media", "text", "growing"])
async def test_conditions(http: aiohttp.ClientSession, rig: EdgeRig, path: str) -> None:
    """`If-Match` of another tag is 412, and goes before `If-None-Match`; dates are ignored, for nothing has one."""
    publish(rig, split(8.0, 5.0)[0])
    url = f"http://{rig.address()}/live/{path}"
    async with http.get(url) as answer:
        tag = answer.headers["ETag"]
    for headers, status in (
        ({"If-Match": f'"other", {tag}'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": f"W/{tag}"}, 412),
        ({"If-Match": '"other"', "If-None-Match": tag}, 412),
        ({"If-Match": tag, "If-None-Match": tag}, 304),
        ({"If-None-Match": f'"other", W/{tag}'}, 304),
        ({"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200),
        ({"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200),
    ):
        async with http.get(url, headers=headers) as answer:
            assert answer.status == status, headers


async def test_ranges_are_for_get_alone(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """`Range` of any other request is ignored (RFC 9110, 14.2)."""
    publish(rig, Programme().epoch(6.0))
    url = f"http://{rig.address()}/live/{SEGMENT}"
    async with http.get(url) as answer:
        whole = len(await answer.read())
    for wanted in ("bytes=0-9", f"bytes={whole}-"):
        async with http.head(url, headers={"Range": wanted}) as answer:
            assert (answer.status, int(answer.headers["Content-Length"])) == (200, whole)


async def test_pages_of_any_origin_may_ask_as_players_do(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """The preflight allows what players send: tokens, ranges, conditions, and what they tell caches of themselves."""
    asked = {"Origin": "http://other", "Access-Control-Request-Method": "GET"}
    async with http.options(f"http://{rig.address()}/live/{SEGMENT}", headers=asked) as answer:
        allowed = {name.strip() for name in answer.headers["Access-Control-Allow-Headers"].split(",")}
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, "*")
    assert allowed >= {"Authorization", "Range", "If-None-Match", "If-Match", "Cache-Control", "CMCD-Session"}


@pytest.mark.parametrize("path", ["demo/1.m3u8?_HLS_msn=x", "nobody/1.m3u8", "demo/1.m3u8?" + "a" * 9000])
async def test_pages_of_any_origin_may_read_what_went_wrong(
    http: aiohttp.ClientSession, rig: EdgeRig, path: str
) -> None:
    """Errors are for them too, those of the HTTP layer itself included."""
    publish(rig, Programme().epoch(3.0))
    status, _, headers = await get(http, rig, path)
    assert status in {400, 404}
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Retry-After" in headers["Access-Control-Expose-Headers"]
