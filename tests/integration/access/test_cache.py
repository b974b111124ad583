"""Protected streams behind the nginx of deploy/: kept once for all viewers, and given to nobody who may not watch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from headrace.access.viewing import MemoryViewing
from headrace.clock import SystemClock
from headrace.testing import wait_until
from integration.access.rig import GuardedRig, token
from integration.live.publishing import EPOCH, publish, split
from support.nginx_front import nginx_front, requires_nginx

SEGMENT = f"{EPOCH}/1/100.m4s"

pytestmark = requires_nginx


@dataclass
class Front:
    """nginx in front of `edges`, which share `viewing`."""

    url: str
    edges: list[GuardedRig]
    viewing: MemoryViewing
    http: aiohttp.ClientSession

    async def begin(self, text: str) -> str:
        """Return the address below which a viewer is let in."""
        async with self.http.get(f"{self.url}/live/demo/index.m3u8", params={"token": text}) as answer:
            assert answer.status == 200
            return self.url + urlsplit(str(answer.url)).path.rpartition("/")[0]

    async def get(self, address: str, **headers: str) -> tuple[int, bytes, str]:
        async with self.http.get(address, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers.get("X-Cache", "")

    async def get_raw(self, path: str) -> tuple[int, bytes, str]:
        """Ask with a path exactly as it is spelt."""
        async with self.http.get(URL(self.url + path, encoded=True)) as answer:
            return answer.status, await answer.read(), answer.headers.get("X-Cache", "")

    def asked(self, kind: str) -> float:
        return sum(edge.value("live_requests_total", kind=kind, status="200") for edge in self.edges)


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    viewing = MemoryViewing(SystemClock(), 1.0)
    edges = [GuardedRig(f"edge-{number}", viewing=viewing) for number in (1, 2)]
    early, _ = split(8.0, 3.0)
    async with edges[0], edges[1], contextlib.AsyncExitStack() as stack:
        for edge in edges:
            publish(edge, early)
        addresses = [edge.address() for edge in edges]
        port, http = await stack.enter_async_context(nginx_front(tmp_path, *addresses))
        yield Front(f"https://127.0.0.1:{port}", edges, viewing, http)


async def test_a_segment_is_asked_for_once_by_all_viewers(front: Front) -> None:
    """Two viewers with tokens of their own get it, the second from the cache."""
    one, two = await front.begin(token(id="one")), await front.begin(token(id="two", viewers_max=3))
    assert one != two
    first, second = await front.get(f"{one}/{SEGMENT}"), await front.get(f"{two}/{SEGMENT}")
    assert (first[0], first[2], second[0], second[2]) == (200, "MISS", 200, "HIT")
    assert first[1] == second[1]
    assert front.asked("segment") == 1


async def test_pages_hear_why_they_are_refused(front: Front) -> None:
    """Of nginx's refusals too; and their preflight requests, which show no token that holds, are answered."""
    address = f"{front.url}/live/~session-x~{token('other')}/demo/{SEGMENT}"
    async with front.http.get(address) as answer:
        assert (answer.status, answer.headers.getall("Access-Control-Allow-Origin")) == (403, ["*"])
    expired = f"{front.url}/live/~session-x~{token(seconds=-10)}/demo/{SEGMENT}"
    async with front.http.get(expired) as answer:
        assert (answer.status, answer.headers.getall("Access-Control-Allow-Origin")) == (401, ["*"])
        assert answer.headers.getall("WWW-Authenticate") == ['Bearer realm="headrace"']
    asked = {"Origin": "http://other", "Access-Control-Request-Method": "GET"}
    async with front.http.options(expired, headers=asked) as answer:
        assert (answer.status, answer.headers.getall("Access-Control-Allow-Origin")) == (204, ["*"])
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


async def test_the_cache_gives_nothing_to_who_may_not_watch(front: Front) -> None:
    """Neither without a token, nor with a wrong or revoked one, nor by tricks with headers."""
    text = token(id="one")
    mine = await front.begin(text)
    assert (await front.get(f"{mine}/{SEGMENT}"))[0] == 200
    bare = f"{front.url}/live/demo/{SEGMENT}"
    for headers in ({}, {"X-Original-URI": "/live/open-house/index.m3u8"}, {"X-Headrace-Kept-For": "asking"}):
        assert (await front.get(bare, **headers))[0] == 401
        assert (await front.get(f"{front.url}/live/~session-x~/demo/{SEGMENT}", **headers))[0] == 401
    assert (await front.get(f"{front.url}/live/~session-x~{token('other')}/demo/{SEGMENT}"))[0] == 403
    # Shown as a header by somebody who wants it kept for everybody: it is not.
    tricky = {"Authorization": f"Bearer {text}", "X-Headrace-Kept-For": "asking"}
    assert (await front.get(bare, **tricky))[0] == 200
    assert (await front.get(bare))[0] == 401
    assert (await front.get(f"{front.url}/authorize"))[0] == 404
    ticket, _, rest = mine.partition("/live/")[2].partition("/")
    for spelling in (
        f"/live/{ticket.replace('~', '%7E').replace(text, 'x')}/{rest}/{SEGMENT}",
        f"/live/~session-x~/demo/{SEGMENT}".replace("~", "%7e"),
        f"/live/open-house/..//~session-x~x/demo/{SEGMENT}",
        f"/live/open-house/%2e%2e/~session-x~x/demo/{SEGMENT}",
        f"/live/./~session-x~x/demo/{SEGMENT}",
        f"//live/~session-x~x/demo/{SEGMENT}",
        f"/live/~session-x~x/open-house/../demo/{SEGMENT}",
    ):
        status, body, _ = await front.get_raw(spelling)
        assert (status in {401, 403, 404}, b"mdat" in body) == (True, False), spelling
    assert (await front.get_raw(f"/live/{ticket.replace('~', '%7E')}/{rest}/{SEGMENT}"))[0] == 200
    revoked = time.monotonic()
    await front.viewing.revoke("one", time.time() + 100)

    async def is_refused() -> bool:
        return (await front.get(f"{mine}/{SEGMENT}"))[0] == 403

    await wait_until(is_refused)
    print(f"the cache gave nothing {time.monotonic() - revoked:.2f} s after the revocation")


async def test_its_log_holds_no_token(front: Front, tmp_path: Path) -> None:
    """Neither one in a query, nor one in a path, however that is spelt."""
    text = token(id="one")
    mine = await front.begin(text)
    session = urlsplit(mine).path.split("~")[1]
    await front.get_raw(f"/%6cive/~{session}~{text}/demo/1.m3u8")
    log = tmp_path / "headrace.log"
    line = f"GET /live/~{session}~***/demo/1.m3u8 200"
    await wait_until(lambda: line in log.read_text())
    assert " GET /live/demo/index.m3u8 302 " in log.read_text()
    assert text.rpartition(".")[2] not in log.read_text()
