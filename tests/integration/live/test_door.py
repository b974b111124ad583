"""HLS and DASH by HTTP: what is answered, when, and with which headers."""

from __future__ import annotations

import asyncio
import gzip

import aiohttp
import pytest
from multidict import CIMultiDict

from headrace.http.request_ids import REQUEST_ID
from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from integration.edge.rig import EdgeRig
from integration.live.publishing import EPOCH, publish, split
from unit.live.m3u8 import read
from unit.live.streams import Programme

IMMUTABLE = "public, max-age=31536000, immutable"


async def get(
    http: aiohttp.ClientSession, rig: EdgeRig, path: str, **headers: str
) -> tuple[int, bytes, CIMultiDict[str]]:
    url = f"http://{rig.address()}/live/{path}"
    async with http.get(url, headers={"Accept-Encoding": "identity", **headers}) as answer:
        return answer.status, await answer.read(), answer.headers.copy()


async def test_two_edges_answer_with_the_same_bytes(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """Playlists, manifest, headers, parts and segments, with their tags and cache rules, to the byte."""
    programme = Programme()
    entries = programme.epoch(20.0) + programme.epoch(7.0)
    async with EdgeRig("edge-2", window_seconds=60.0) as other:
        for each in (rig, other):
            publish(each, entries)
        names = ["index.m3u8", "1.m3u8", "2.m3u8", "1.m3u8?_HLS_skip=YES", "manifest.mpd", "manifest.mpd?start=-20"]
        _, text, _ = await get(http, rig, "demo/1.m3u8")
        for segment in read(text.decode()).segments:
            assert segment.uri
            names += [
                segment.uri,
                *(segment.uri.replace(".m4s", f".{part}.m4s") for part in range(int(segment.seconds * 2))),
            ]
        names += [f"{EPOCH}/1/header.mp4", f"{EPOCH}/2/header.mp4"]
        assert len(names) > 60
        for name in names:
            one, two = await get(http, rig, f"demo/{name}"), await get(http, other, f"demo/{name}")
            assert one[0] == 200, name
            for answer in (one, two):
                for own in ("Date", REQUEST_ID):
                    answer[2].pop(own, None)
            assert one == two, name


async def test_media_may_be_kept_for_ever(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """Immutable, with a strong tag, any origin; ranges and conditions as RFC 9110 has them."""
    publish(rig, Programme().epoch(6.0))
    path = f"demo/{EPOCH}/1/101.m4s"
    status, body, headers = await get(http, rig, path)
    assert (status, headers["Cache-Control"], headers["Access-Control-Allow-Origin"]) == (200, IMMUTABLE, "*")
    assert headers["ETag"] == f'"{EPOCH}-1-101"'
    assert headers["Content-Type"] == "video/mp4"
    assert (await get(http, rig, path, Range="bytes=5-9"))[:2] == (206, body[5:10])
    assert (await get(http, rig, path, Range="bytes=-3"))[:2] == (206, body[-3:])
    beyond = await get(http, rig, path, Range=f"bytes={len(body)}-")
    assert (beyond[0], beyond[2]["Content-Range"]) == (416, f"bytes */{len(body)}")
    other = {"Range": "bytes=0-1", "If-Range": '"other"'}
    assert (await get(http, rig, path, **other))[:2] == (200, body)
    assert (await get(http, rig, path, **{"If-None-Match": headers["ETag"]}))[:2] == (304, b"")
    async with http.head(f"http://{rig.address()}/live/{path}") as answer:
        assert (answer.status, int(answer.headers["Content-Length"])) == (200, len(body))
    async with http.options(f"http://{rig.address()}/live/{path}") as answer:
        assert (answer.status, answer.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")


async def test_playlists_are_compressed_for_who_takes_that(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """The same text, with a tag of its own."""
    publish(rig, Programme().epoch(10.0))
    plain = await get(http, rig, "demo/1.m3u8")
    packed = await get(http, rig, "demo/1.m3u8", **{"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed[1]) == plain[1]
    assert len(packed[1]) < len(plain[1]) / 3
    assert packed[2]["ETag"] != plain[2]["ETag"]
    assert plain[2]["Vary"] == "Accept-Encoding"


async def test_a_request_for_the_next_part_waits_for_it(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """The playlist, the part itself and the first of the next segment come as soon as they exist."""
    early, late = split(8.0, 3.0)
    publish(rig, early)
    segment, part = read((await get(http, rig, "demo/1.m3u8"))[1].decode()).last
    wanted = [
        f"1.m3u8?_HLS_msn={segment}&_HLS_part={part}",
        f"{EPOCH}/1/{segment}.{part}.m4s",
        f"1.m3u8?_HLS_msn={segment}&_HLS_part=9",  # no such part: the first of the next segment
        f"1.m3u8?_HLS_msn={segment + 1}",
        f"{EPOCH}/1/{segment + 1}.0.m4s",
    ]
    waiting = [asyncio.ensure_future(get(http, rig, f"demo/{path}")) for path in wanted]
    await wait_until(lambda: rig.value("live_waiting") == len(wanted))
    publish(rig, late)
    answers = await asyncio.gather(*waiting)
    assert [status for status, _, _ in answers] == [200] * len(wanted)
    assert read(answers[0][1].decode()).last > (segment, part)
    assert read(answers[3][1].decode()).last > (segment + 1, 1)


async def test_a_segment_leaves_as_it_is_made(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """Each chunk when it comes, in the end the whole segment; a head at once."""
    early, late = split(6.0, 2.5)
    publish(rig, early)
    path = f"demo/{EPOCH}/1/101.m4s"
    async with http.head(f"http://{rig.address()}/live/{path}") as answer:
        assert (answer.status, "Content-Length" in answer.headers) == (200, False)
    async with http.get(f"http://{rig.address()}/live/{path}") as answer:
        first = await answer.content.readany()
        assert (first[4:8], answer.headers["Transfer-Encoding"]) == (b"prft", "chunked")
        publish(rig, late)
        streamed = first + await answer.read()
    assert (await get(http, rig, path))[1] == streamed


async def test_a_segment_that_is_lost_is_not_taken_for_whole(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """The connection ends without the end of the message."""
    early, late = split(6.0, 2.5)
    publish(rig, early)
    async with http.get(f"http://{rig.address()}/live/demo/{EPOCH}/1/101.m4s") as answer:
        await answer.content.readany()
        publish(rig, late[8:])
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    assert (await get(http, rig, f"demo/{EPOCH}/1/101.m4s"))[0] == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("demo/1.m3u8?_HLS_msn=-1", 400),
        ("demo/1.m3u8?_HLS_msn=abc", 400),
        ("demo/1.m3u8?_HLS_msn=" + "9" * 40, 400),
        ("demo/1.m3u8?_HLS_msn=9999999", 400),
        ("demo/1.m3u8?_HLS_part=1", 400),
        ("demo/1.m3u8?_HLS_msn=103&_HLS_part=-1", 400),
        ("demo/1.m3u8?_HLS_msn=103&_HLS_part=100000", 400),
        ("demo/1.m3u8?_HLS_msn=0&_HLS_part=0", 200),  # long past: at once
        ("demo/1.m3u8?_HLS_skip=perhaps", 200),
        ("demo/manifest.mpd?start=yesterday", 400),
        ("demo/index.m3u8?start=nan", 400),
        ("demo/index.m3u8?start=-1e300", 200),
        ("demo/3.m3u8", 404),
        (f"demo/{EPOCH}/3/header.mp4", 404),
        (f"demo/{EPOCH + 1}/1/header.mp4", 404),
        (f"demo/{EPOCH}/1/99.m4s", 404),
        (f"demo/{EPOCH}/1/9999999.m4s", 404),
        (f"demo/{EPOCH + 10**12}/1/101.m4s", 404),  # a clock far ahead
        (f"demo/{EPOCH}/1/101.9.m4s", 404),
        (f"demo/{EPOCH}/1/103.60000.m4s", 404),
        ("demo/../../etc/passwd", 404),
        ("demo/%2e%2e/1.m3u8", 404),
        ("demo/1.m3u8%00", 404),
        ("nobody/index.m3u8", 404),
        ("nobody/1.m3u8?_HLS_msn=5&_HLS_part=1", 404),
    ],
)
async def test_what_makes_no_sense_is_refused_at_once(
    http: aiohttp.ClientSession, rig: EdgeRig, path: str, status: int
) -> None:
    """The right status, nothing held, nothing for caches."""
    publish(rig, split(8.0, 7.0)[0])
    async with asyncio.timeout(2):
        answer = await get(http, rig, path)
    assert answer[0] == status
    if status != 200:
        assert answer[2].get("Cache-Control", "no-store") == "no-store"


async def test_nobody_waits_for_ever(http: aiohttp.ClientSession) -> None:
    """Who waits for a camera that is away gets the playlist as it is, soon enough and uncached."""
    async with EdgeRig(window_seconds=60.0) as rig:
        broadcast = publish(rig, split(8.0, 3.0)[0])
        broadcast.set_state(StreamState.INTERRUPTED, "the camera is away")
        segment, part = read((await get(http, rig, "demo/1.m3u8"))[1].decode()).last
        async with asyncio.timeout(9):
            status, _, headers = await get(http, rig, f"demo/1.m3u8?_HLS_msn={segment}&_HLS_part={part}")
        assert (status, headers["Cache-Control"]) == (200, "no-store")


async def test_an_end_wakes_who_waits(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """A stream that is over says so to those who wait for more."""
    broadcast = publish(rig, split(8.0, 3.0)[0])
    segment, part = read((await get(http, rig, "demo/1.m3u8"))[1].decode()).last
    waiting = asyncio.ensure_future(get(http, rig, f"demo/1.m3u8?_HLS_msn={segment}&_HLS_part={part}"))
    await wait_until(lambda: rig.value("live_waiting") == 1)
    broadcast.set_state(StreamState.ENDED, "over")
    assert read((await waiting)[1].decode()).ended
    assert b"minimumUpdatePeriod" not in (await get(http, rig, "demo/manifest.mpd"))[1]


async def test_the_edge_tells_the_time(http: aiohttp.ClientSession, rig: EdgeRig) -> None:
    """As xs:dateTime, for nobody to keep."""
    status, body, headers = await get(http, rig, "demo/time")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert body.decode()[:2] == "20"
    assert body.endswith(b"Z")


async def test_stopping_answers_who_waits(http: aiohttp.ClientSession) -> None:
    """An edge that goes away holds nobody."""
    async with EdgeRig(window_seconds=60.0) as rig:
        publish(rig, split(8.0, 3.0)[0])
        segment, part = read((await get(http, rig, "demo/1.m3u8"))[1].decode()).last
        waiting = asyncio.ensure_future(get(http, rig, f"demo/1.m3u8?_HLS_msn={segment}&_HLS_part={part}"))
        await wait_until(lambda: rig.value("live_waiting") == 1)
        await rig.stop()
        assert (await waiting)[0] == 200
