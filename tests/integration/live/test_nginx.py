"""nginx in front of two edges by the command in deploy/: TLS, HTTP/2, what is kept and what passes at once."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from headrace.testing import wait_until
from headrace.wire.chunk import Chunk
from headrace_edge import app
from headrace_edge.live.outlets import LiveOptions
from integration.edge.rig import EdgeRig
from integration.live.publishing import EPOCH, publish, split
from support.nginx_front import nginx_front, requires_nginx
from unit.live.m3u8 import read

pytestmark = requires_nginx

HOLD_SECONDS = 12.0
"""Less than nginx waits for an edge."""


@dataclass
class Front:
    """nginx in front of `edges`."""

    url: str
    port: int
    edges: tuple[EdgeRig, ...]
    http: aiohttp.ClientSession

    async def get(self, path: str) -> tuple[int, bytes, str]:
        async with self.http.get(f"{self.url}/{path}") as answer:
            return answer.status, await answer.read(), answer.headers.get("X-Cache", "")

    def asked(self, kind: str) -> float:
        """Return how many requests the edges answered."""
        return sum(edge.value("live_requests_total", kind=kind, status="200") for edge in self.edges)


@pytest.fixture
async def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    """Two edges with the same stream behind nginx, where one may wait until all have asked on a busy machine."""
    monkeypatch.setattr(app, "LiveOptions", partial(LiveOptions, hold_seconds=HOLD_SECONDS))
    async with EdgeRig("edge-1", window_seconds=60.0) as one, EdgeRig("edge-2", window_seconds=60.0) as two:
        early, _ = split(8.0, 3.0)
        for edge in (one, two):
            publish(edge, early)
        async with nginx_front(tmp_path, one.address(), two.address()) as (port, http):
            yield Front(f"https://127.0.0.1:{port}/live/demo", port, (one, two), http)


async def test_media_is_asked_for_once(front: Front) -> None:
    """The second request for a segment, and ranges of it, are the cache's."""
    path = f"{EPOCH}/1/100.m4s"
    first, second = await front.get(path), await front.get(path)
    assert (first[0], first[2], second[2]) == (200, "MISS", "HIT")
    assert first[1] == second[1]
    async with front.http.get(f"{front.url}/{path}", headers={"Range": "bytes=3-8"}) as answer:
        assert (answer.status, await answer.read()) == (206, first[1][3:9])
    assert front.asked("segment") == 1


async def test_who_waits_waits_for_nobody_else(front: Front) -> None:
    """Twenty who wait for a part wait at the edges, which tell all at once; who comes later gets what is kept."""
    segment, part = read((await front.get("1.m3u8"))[1].decode()).last
    paths = [f"1.m3u8?_HLS_msn={segment}&_HLS_part={part}", f"{EPOCH}/1/{segment}.{part}.m4s"]
    waiting = [asyncio.ensure_future(front.get(path)) for path in paths * 10]
    await wait_until(lambda: sum(edge.value("live_waiting") for edge in front.edges) == 20)
    for edge in front.edges:
        publish(edge, split(8.0, 3.0)[1])
    answers = await asyncio.gather(*waiting)
    assert {status for status, _, _ in answers} == {200}
    assert len({body for _, body, _ in answers}) == 2
    assert [(await front.get(path))[2] for path in paths] == ["HIT", "HIT"]


async def test_a_growing_segment_passes_as_it_comes(front: Front) -> None:
    """Each chunk, however small, before the next one is made; and once it is whole it is kept."""
    number, late = 101, [e for e in split(8.0, 3.0)[1] if isinstance(e, Chunk) and e.id.track == 2]
    own = [chunk for chunk in late if chunk.id.segment == number]
    assert all(len(chunk.media) < 4096 for chunk in own)
    async with front.http.get(f"{front.url}/{EPOCH}/2/{number}.m4s") as answer, asyncio.timeout(30):
        taken = await answer.content.readany()
        for chunk in own:
            if chunk.samples:
                for edge in front.edges:
                    publish(edge, [chunk])
                before = len(taken)
                while len(taken) < before + len(chunk.media):  # would wait for as much as a buffer holds
                    taken += await answer.content.readany()
        for edge in front.edges:
            publish(edge, late[len(own) :] if own[-1].samples else [own[-1], *late[len(own) :]])
        taken += await answer.read()
    found = [await front.get(f"{EPOCH}/2/{number}.m4s") for _ in range(2)]
    assert [cache for _, _, cache in found] == ["MISS", "HIT"]
    assert {body for _, body, _ in found} == {taken}


async def test_what_is_kept_tells_its_age_and_nothing_more_of_ranges(front: Front) -> None:
    """`Date` is the edge's, so others know how old an answer is; only what is whole is to be kept by them as well."""
    url = f"{front.url}/{EPOCH}/1/100.m4s"
    async with front.http.get(url) as answer:
        first = answer.headers
    await wait_until(lambda: time.time() >= parsedate_to_datetime(first["Date"]).timestamp() + 1.5)
    async with front.http.get(url) as answer:
        assert (answer.headers["X-Cache"], answer.headers["Date"]) == ("HIT", first["Date"])
        assert answer.headers.getall("Cache-Control") == ["public, max-age=31536000, immutable"]
    for wanted, status in (("bytes=0-9", 206), ("bytes=99999999-", 416)):
        async with front.http.get(url, headers={"Range": wanted}) as answer:
            assert (answer.status, answer.headers.getall("Cache-Control")) == (status, ["no-store"])
            assert answer.headers.getall("Access-Control-Allow-Origin") == ["*"]


async def test_pages_of_any_origin_may_read_all_answers(front: Front) -> None:
    """Those of the edges and those of nginx, each with one header that says so."""
    for path in ("1.m3u8", "9.m3u8", f"{EPOCH}/1/100.m4s", "1.m3u8?_HLS_msn=x"):
        async with front.http.get(f"{front.url}/{path}") as answer:
            assert answer.headers.getall("Access-Control-Allow-Origin") == ["*"], path
    for edge in front.edges:
        await edge.stop()
    async with front.http.get(f"{front.url}/2.m3u8") as answer:
        assert (answer.status, answer.headers.getall("Access-Control-Allow-Origin")) == (502, ["*"])


async def test_browsers_get_http_2(front: Front) -> None:
    """Offered by ALPN."""
    offer = ssl.create_default_context()
    offer.check_hostname, offer.verify_mode = False, ssl.CERT_NONE
    offer.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection("127.0.0.1", front.port, ssl=offer)
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    writer.close()


async def test_errors_are_not_kept(front: Front) -> None:
    """Neither a name that nobody publishes nor a part that never was."""
    for path in (f"{EPOCH}/1/101.9.m4s", "9.m3u8"):
        for _ in range(2):
            status, _, cache = await front.get(path)
            assert (status, cache) == (404, "MISS")
