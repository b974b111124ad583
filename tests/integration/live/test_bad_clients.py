"""Thousands who wait, who vanish and who do not read: bounded, and nothing is held for ever."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

import aiohttp
import pytest

from headrace.registry.records import StreamRecord
from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from headrace_edge import app
from headrace_edge.live import quick
from headrace_edge.live.answers import Text
from headrace_edge.live.outlets import LiveOptions
from headrace_edge.live.waiting import COLD_MAX
from integration.edge.rig import EdgeRig
from integration.live.publishing import EPOCH, publish, split
from unit.live.m3u8 import read
from unit.live.streams import Programme, video

MANY = 5000

SAMPLE_BYTES = 500_000
"""Pictures so large that a segment does not fit into the kernel's buffers."""

Poll = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(autouse=True)
def enough_files() -> None:
    """Both ends of every connection are in this process."""
    wanted = 2 * MANY + 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else hard, hard))


@pytest.fixture
async def patient(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EdgeRig]:
    """An edge where one may wait until thousands have connected on a busy machine."""
    monkeypatch.setattr(app, "LiveOptions", partial(LiveOptions, hold_seconds=90.0))
    async with EdgeRig(window_seconds=60.0) as rig:
        yield rig


@pytest.fixture
async def polls() -> AsyncIterator[list[Poll]]:
    """Connections, closed after the test."""
    made: list[Poll] = []
    yield made
    for _, writer in made:
        writer.transport.abort()


async def ask(rig: EdgeRig, polls: list[Poll], path: str, count: int) -> None:
    """Ask for `path` over `count` connections of their own."""
    host, port = rig.address().split(":")
    request = f"GET /live/{path} HTTP/1.1\r\nHost: test\r\n\r\n".encode()
    for begin in range(0, count, 100):
        opened = (asyncio.open_connection(host, int(port)) for _ in range(min(100, count - begin)))
        for reader, writer in await asyncio.gather(*opened):
            writer.write(request)
            polls.append((reader, writer))


async def answers(polls: list[Poll]) -> list[tuple[int, bytes]]:
    """Return status and body of each."""
    return await asyncio.gather(*(_answer(reader) for reader, _ in polls))


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(head.split()[1]), await reader.readexactly(int(length.split(b":")[1]))


async def next_part(rig: EdgeRig, http: aiohttp.ClientSession) -> str:
    """Return the query for the part that comes next."""
    async with http.get(f"http://{rig.address()}/live/demo/1.m3u8", headers={"Accept-Encoding": "identity"}) as answer:
        segment, part = read(await answer.text()).last
    return f"_HLS_msn={segment}&_HLS_part={part}"


@pytest.mark.slow
async def test_thousands_wait_for_one_part(
    patient: EdgeRig, http: aiohttp.ClientSession, polls: list[Poll], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wake-up and one text for all of them, and nothing left behind, for those who vanished as well."""
    rig = patient
    early, late = split(8.0, 3.0)
    publish(rig, early)
    path = f"demo/1.m3u8?{await next_part(rig, http)}"
    texts: list[str] = []
    make: Callable[[str, str], Text] = Text.make

    def note(text: str, content_type: str) -> Text:
        texts.append(text)
        return make(text, content_type)

    monkeypatch.setattr(Text, "make", note)
    vanishing: list[Poll] = []
    await ask(rig, vanishing, path, 500)
    await ask(rig, polls, path, MANY)
    await wait_until(lambda: rig.value("live_waiting") == MANY + 500, timeout=60)
    for _, writer in vanishing:
        writer.transport.abort()
    began = time.perf_counter()
    publish(rig, late)
    found = await answers(polls)
    print(f"{MANY} long polls were answered {time.perf_counter() - began:.2f} s after the part came")
    assert {status for status, _ in found} == {200}
    assert len({body for _, body in found}) == 1
    assert len(texts) == 1
    await wait_until(lambda: rig.value("live_waiting") == 0)


@pytest.mark.slow
async def test_thousands_wait_for_a_dead_stream(rig: EdgeRig, http: aiohttp.ClientSession, polls: list[Poll]) -> None:
    """They get the playlist as it stands, all at once, within the time that anybody may wait."""
    publish(rig, split(8.0, 3.0)[0]).set_state(StreamState.INTERRUPTED, "the camera is away")
    query = await next_part(rig, http)
    began = time.perf_counter()
    await ask(rig, polls, f"demo/1.m3u8?{query}", MANY)
    async with asyncio.timeout(60):
        found = await answers(polls)
    print(f"{MANY} long polls for a dead stream were answered within {time.perf_counter() - began:.1f} s")
    assert {status for status, _ in found} == {200}
    assert len({body for _, body in found}) == 1
    await wait_until(lambda: rig.value("live_waiting") == 0)


@pytest.mark.slow
async def test_thousands_ask_for_a_stream_without_media(rig: EdgeRig, polls: list[Poll]) -> None:
    """One that nobody knows is 404 at once; one that never comes 503 after a while, and few of an address may wait."""
    rig.registry.keep_stream(StreamRecord(stream="silent", node="ingress-1", epoch=5, state="live"))
    await ask(rig, polls, "nobody/1.m3u8?_HLS_msn=5&_HLS_part=1", 100)
    async with asyncio.timeout(5):
        assert {status for status, _ in await answers(polls)} == {404}
    for _, writer in polls:
        writer.transport.abort()
    polls.clear()
    await ask(rig, polls, "silent/1.m3u8?_HLS_msn=5&_HLS_part=1", MANY)
    async with asyncio.timeout(60):
        found = [status for status, _ in await answers(polls)]
    assert set(found) == {429, 503}
    assert rig.value("live_refused_total", reason="cold") == found.count(429)
    assert MANY - found.count(429) < 10 * COLD_MAX  # those who came while others were answered found places again
    await wait_until(lambda: rig.value("live_waiting") == 0)


async def test_who_waits_beyond_the_limit_is_sent_on(http: aiohttp.ClientSession, polls: list[Poll]) -> None:
    """A limit of all who wait, told by 503 and when to come again."""
    async with EdgeRig(window_seconds=60.0, viewers_max=1) as rig:  # each viewer may wait for two tracks
        publish(rig, split(8.0, 3.0)[0])
        query = await next_part(rig, http)
        await ask(rig, polls, f"demo/1.m3u8?{query}", 2)
        await wait_until(lambda: rig.value("live_waiting") == 2)
        async with http.get(f"http://{rig.address()}/live/demo/1.m3u8?{query}") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
        assert rig.value("live_refused_total", reason="waiting") == 1


@pytest.mark.parametrize("is_followed", [False, True])
async def test_who_reads_nothing_is_cut_off(
    rig: EdgeRig, polls: list[Poll], monkeypatch: pytest.MonkeyPatch, is_followed: bool
) -> None:
    """A client that takes nothing of a segment, whole or in the making, does not hold it for ever."""
    monkeypatch.setattr(quick, "STUCK_SECONDS", 0.3)
    entries = Programme(sample_bytes=SAMPLE_BYTES).epoch(3.5, tracks=(video(),))
    publish(rig, entries[:-2])  # the second segment is not whole
    number = 101 if is_followed else 100
    await ask(rig, polls, f"demo/{EPOCH}/1/{number}.m4s", 1)
    [(reader, _)] = polls
    await wait_until(lambda: rig.connections() == 1)
    await wait_until(lambda: rig.connections() == 0, timeout=20)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await reader.readexactly(25_000_000)


async def test_who_reads_slowly_gets_all(rig: EdgeRig, polls: list[Poll], monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as something is taken now and then."""
    monkeypatch.setattr(quick, "STUCK_SECONDS", 0.5)
    publish(rig, Programme(sample_bytes=SAMPLE_BYTES).epoch(2.5, tracks=(video(),)))
    await ask(rig, polls, f"demo/{EPOCH}/1/100.m4s", 1)
    [(reader, _)] = polls
    head = await reader.readuntil(b"\r\n\r\n")
    left = int(next(line for line in head.lower().split(b"\r\n") if b"content-length" in line).split(b":")[1])
    assert left > 24_000_000
    while left:
        left -= len(await reader.readexactly(min(left, 4_000_000)))
        await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /live/../../etc/passwd HTTP/1.1", 404),
        ("GET /live/demo/../../../etc/passwd HTTP/1.1", 404),
        ("GET /live/demo/%2e%2e/%2e%2e/1.m3u8 HTTP/1.1", 404),
        ("GET /live//demo/1.m3u8 HTTP/1.1", 404),
        ("GET /live/demo//1.m3u8 HTTP/1.1", 404),
        ("GET /live/demo/1.m3u8/ HTTP/1.1", 404),
        ("GET /live/demo%2f1.m3u8%3f HTTP/1.1", 404),
        ("GET /live/demo/1.m3u8%0d%0aX:%20y HTTP/1.1", 404),
        ("GET /live/ HTTP/1.1", 404),
        ("GET /live/" + "a" * 9000 + "/1.m3u8 HTTP/1.1", 400),
        ("GET /live/demo/1.m3u8?" + "a" * 9000 + " HTTP/1.1", 400),
        ("GET /live/demo/1.m3u8 HTTP/9.9", 400),
        ("POST /live/demo/1.m3u8 HTTP/1.1", 405),
        ("PUT /live/demo/1.m3u8 HTTP/1.1", 405),
        ("DELETE /live/demo/1.m3u8 HTTP/1.1", 405),
        ("HEAD /live/demo/1.m3u8 HTTP/1.1", 200),
        ("HEAD /live/demo/9.m3u8 HTTP/1.1", 404),
        ("OPTIONS /live/demo/1.m3u8 HTTP/1.1", 204),
        ("OPTIONS /live/no/such/thing HTTP/1.1", 204),
    ],
)
@pytest.mark.parametrize("is_second", [False, True], ids=["first", "second"])
async def test_strange_requests(
    rig: EdgeRig, polls: list[Poll], request_line: str, status: int, is_second: bool
) -> None:
    """The right status, whether the connection asked for something sensible before or not."""
    publish(rig, Programme().epoch(6.0))
    await ask(rig, polls, "demo/1.m3u8", 1)
    assert (await _answer(polls[0][0]))[0] == 200
    if not is_second:
        host, port = rig.address().split(":")
        polls.append(await asyncio.open_connection(host, int(port)))
    reader, writer = polls[-1]
    writer.write(f"{request_line}\r\nHost: test\r\n\r\n".encode())
    async with asyncio.timeout(5):
        assert int((await reader.readline()).split()[1]) == status
