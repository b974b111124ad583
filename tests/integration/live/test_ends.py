"""Where a playlist ends, what a manifest's names lead to, and what is left when a stream is over."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest
from multidict import CIMultiDict

from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from headrace_edge.live.outlets import LiveOptions, Outlets
from integration.edge.chain import Chain, EdgeNode
from integration.edge.rig import EdgeRig
from integration.live.publishing import EPOCH, publish, split
from unit.live.m3u8 import read
from unit.live.mpd import Timed, read_mpd
from unit.live.streams import Programme


async def get(
    http: aiohttp.ClientSession, rig: EdgeRig, path: str, *, follow: bool = True
) -> tuple[int, bytes, CIMultiDict[str]]:
    url = f"http://{rig.address()}/live/demo/{path}"
    async with http.get(url, headers={"Accept-Encoding": "identity"}, allow_redirects=follow) as answer:
        return answer.status, await answer.read(), answer.headers.copy()


async def timelines(http: aiohttp.ClientSession, rig: EdgeRig) -> dict[int, list[Timed]]:
    [period] = read_mpd((await get(http, rig, "manifest.mpd"))[1].decode()).periods
    return period


# -- names by time -----------------------------------------------------------------------------------------------------


async def test_a_segment_has_the_same_bytes_by_time_and_by_number(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """Every name in the manifest, tag and caching included."""
    publish(rig, Programme().epoch(10.0))
    for track, segments in (await timelines(http, rig)).items():
        for number, segment in enumerate(segments, 100):
            one = await get(http, rig, segment.address)
            other = await get(http, rig, f"{EPOCH}/{track}/{number}.m4s")
            assert one[0] == 200
            assert one[1] == other[1]
            assert [one[2][name] for name in ("ETag", "Cache-Control")] == [
                other[2][name] for name in ("ETag", "Cache-Control")
            ]


async def test_a_time_leads_to_the_segment_that_begins_next(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """Uncached, and relative, so that it holds behind a ticket; what is before the window or beyond it is no name."""
    publish(rig, Programme().epoch(10.0))
    segments = (await timelines(http, rig))[1]
    for time in (segments[2].start - 9000, segments[1].start + 1):
        status, _, headers = await get(http, rig, f"1/t{time}.m4s", follow=False)
        assert (status, headers["Location"], headers["Cache-Control"]) == (302, f"t{segments[2].start}.m4s", "no-store")
        assert (await get(http, rig, f"1/t{time}.m4s"))[1] == (await get(http, rig, segments[2].address))[1]
    async with asyncio.timeout(2):
        for gone in (segments[0].start - 1, segments[-1].start + 90_000 * 3600):
            assert (await get(http, rig, f"1/t{gone}.m4s"))[0] == 404
        assert (await get(http, rig, f"7/t{segments[0].start}.m4s"))[0] == 404


async def test_the_next_segment_is_waited_for_by_its_time(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """Also by a time that is a little before it: who reckons by the least that was told."""
    early, late = split(8.0, 3.9)
    publish(rig, early)
    newest = (await timelines(http, rig))[1][-1]
    wanted = [newest.start + 180_000, newest.start + newest.duration]
    asked = [asyncio.ensure_future(get(http, rig, f"1/t{time}.m4s")) for time in wanted]
    await wait_until(lambda: rig.value("live_waiting") == 2)
    publish(rig, late)
    whole = await get(http, rig, f"{EPOCH}/1/102.m4s")
    assert [(await one)[:2] for one in asked] == [whole[:2]] * 2


# -- the end of a playlist ---------------------------------------------------------------------------------------------


async def test_edges_end_a_playlist_with_what_was_asked_for(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """One has the part alone when it answers, the other more: a link stood still, and then all came at once."""
    early, late = split(8.0, 3.0)
    async with EdgeRig("edge-2", window_seconds=60.0) as other:
        for each in (rig, other):
            publish(each, early)
        segment, part = read((await get(http, rig, "1.m3u8"))[1].decode()).last
        name = f"1.m3u8?_HLS_msn={segment}&_HLS_part={part}"
        answers = []
        for each, first in ((rig, 40), (other, len(late))):
            asked = asyncio.ensure_future(get(http, each, name))
            await wait_until(lambda: each.value("live_waiting") == 1)  # noqa: B023 - awaited before it changes
            publish(each, late[:first])
            answers.append(await asked)
        assert answers[0][1] == answers[1][1]
        assert read(answers[0][1].decode()).last == (segment, part + 1)
        assert answers[0][2]["Cache-Control"] == answers[1][2]["Cache-Control"] == "public, max-age=30"


async def test_who_comes_late_gets_the_newest(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """Who asks for what was there long ago would else fall behind, part by part."""
    publish(rig, Programme().epoch(9.0))
    newest = await get(http, rig, "1.m3u8")
    assert (await get(http, rig, "1.m3u8?_HLS_msn=103&_HLS_part=0"))[1] == newest[1]
    late = await get(http, rig, "1.m3u8?_HLS_msn=104&_HLS_part=0")
    assert read(late[1].decode()).last == (104, 1)


# -- the end of a stream -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [4.3, 4.06, 5.5])
async def test_an_ended_stream_is_whole(http: aiohttp.ClientSession, rig: EdgeRig, seconds: float) -> None:
    """The last segment is closed with what came of it, be that less than a part, and is there at once."""
    broadcast = publish(rig, split(8.0, seconds)[0])
    began = read((await get(http, rig, "1.m3u8"))[1].decode())
    broadcast.set_state(StreamState.ENDED, "over")
    async with asyncio.timeout(5):  # and not the six seconds of a wait
        found = await timelines(http, rig)
        for track in (1, 2):
            playlist = read((await get(http, rig, f"{track}.m3u8"))[1].decode())
            last = playlist.segments[-1]
            assert playlist.ended
            assert last.uri == f"{EPOCH}/{track}/102.m4s"
            assert abs(4.0 + last.seconds - seconds) < 0.13  # whole chunks of a tenth of a second came
            assert abs(sum(length for _, length in last.parts) - last.seconds) < 0.001
            told = found[track][-1]
            assert abs(told.duration / told.timescale - last.seconds) < 0.0001
            by_number, by_time = await get(http, rig, last.uri), await get(http, rig, told.address)
            assert (by_number[0], by_number[1]) == (by_time[0], by_time[1])
            assert "Content-Length" in by_number[2]
            parts = [(await get(http, rig, uri))[1] for uri, _ in last.parts]
            assert b"".join(parts) == by_number[1]
    assert began.segments[-1].number in {101, 102}


async def test_a_stream_that_was_let_go_is_no_stream_any_more(http: aiohttp.ClientSession) -> None:
    """Also where a player asks on and on: every edge says so, and nothing is kept of it."""
    async with contextlib.AsyncExitStack() as stack:
        chain = Chain(stack)
        await chain.start()
        broadcast = publish(chain, split(8.0, 5.0)[0])
        edges = [await chain.edge(f"edge-{number}") for number in (1, 2)]
        for edge in edges:
            edge.part(Outlets).options = LiveOptions(gone_seconds=1.0, hold_seconds=1.0)

        async def answers(edge: EdgeNode, status: int) -> None:
            async with asyncio.timeout(15):
                while True:
                    for name in ("1.m3u8", "index.m3u8", "manifest.mpd", f"{EPOCH}/1/101.m4s"):
                        async with http.get(f"{edge.url}/live/demo/{name}") as answer:
                            found = answer.status
                    if found == status:
                        return

        for edge in edges:
            await answers(edge, 200)
        broadcast.set_state(StreamState.INTERRUPTED, "the ingress node stops this feed")
        chain.let_go()
        await asyncio.gather(*(answers(edge, 404) for edge in edges))


async def test_who_follows_the_last_segment_gets_its_end(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """At once, and as the end of a whole message."""
    broadcast = publish(rig, split(8.0, 4.5)[0])
    async with http.get(f"http://{rig.address()}/live/demo/{EPOCH}/1/102.m4s") as answer:
        first = await answer.content.readany()
        broadcast.set_state(StreamState.ENDED, "over")
        async with asyncio.timeout(5):  # and not the six seconds of a wait
            body = first + await answer.read()
    assert body == (await get(http, rig, f"{EPOCH}/1/102.m4s"))[1]
