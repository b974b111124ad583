"""nginx in front of two edges by the command in deploy/: TLS, HTTP/2, one request for many."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from headrace.testing import wait_until
from integration.edge.rig import EdgeRig
from integration.live.publishing import EPOCH, publish, split
from support.nginx_front import nginx_front, requires_nginx
from unit.live.m3u8 import read

pytestmark = requires_nginx


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
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """Two edges with the same stream behind nginx."""
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


async def test_many_long_polls_are_one(front: Front) -> None:
    """A hundred who wait for a part are one request to one edge, and all get it."""
    segment, part = read((await front.get("1.m3u8"))[1].decode()).last
    path = f"1.m3u8?_HLS_msn={segment}&_HLS_part={part}"
    waiting = [asyncio.ensure_future(front.get(path)) for _ in range(100)]
    await wait_until(lambda: sum(edge.value("live_waiting") for edge in front.edges) == 1)
    for edge in front.edges:
        publish(edge, split(8.0, 3.0)[1])
    answers = await asyncio.gather(*waiting)
    assert {status for status, _, _ in answers} == {200}
    assert len({body for _, body, _ in answers}) == 1
    assert front.asked("playlist") <= 4


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
