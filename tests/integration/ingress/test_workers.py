"""Feeds in worker processes: what kills, hangs or floods one costs its feeds a moment, and the others nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from headrace.identifiers import Epoch, NodeId, StreamName
from headrace.registry.feed_uri import parse_uri
from headrace.relay.broadcast import StateChange
from headrace.service.runtime import Runtime
from headrace.testing import wait_until
from headrace_ingress.events import Chunks, Closed, EpochOpened, Event, Numbers
from headrace_ingress.jobs import Job, ReaderOptions
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.workers import process
from headrace_ingress.workers.pool import Workers, WorkersOptions
from integration.ingress.clips import make_clip
from integration.ingress.publishing import publishing, publishing_rtsp, publishing_srt
from integration.ingress.rig import Watched
from integration.ingress.workers import PATTERN, Site, children_of, is_there, linux, site, workers_of
from support import publishers
from support.services import Service

pytestmark = linux

THREE = {"cam1": PATTERN, "cam2": PATTERN, "cam3": PATTERN}
SECRET = "tiger-in-a-teapot"


def unharmed(stream: Watched) -> None:
    """Assert that nothing of a stream was lost, and that it never stopped."""
    stream.check()
    assert len({chunk.id.epoch for chunk in stream.chunks()}) == 1


def goes_on(stream: Watched) -> None:
    """Assert that each epoch of a stream goes on where the one before was: numbers once, and time never backwards."""
    for one, two in itertools.pairwise(stream.chunks()):
        if one.id.epoch == two.id.epoch:
            assert one.is_followed_by(two.id)
        else:
            assert two.id.epoch > one.id.epoch
            assert (two.id.segment, two.id.chunk) == (one.id.segment + 1, 0)
            assert two.decode_time >= one.decode_time + one.duration


async def neighbours(ingress: Site) -> tuple[str, str, str]:
    """Return two feeds of one worker, and one of another."""
    readers = {name: await ingress.worker(name) for name in ingress.streams}
    one, two = next(pair for pair in itertools.combinations(readers, 2) if readers[pair[0]] == readers[pair[1]])
    other = next(name for name in readers if readers[name] != readers[one])
    return one, two, other


async def test_a_worker_is_killed() -> None:
    """Its feeds are back in a new epoch within seconds; the other worker's has lost nothing."""
    async with site(THREE, workers=2) as ingress:
        await ingress.live()
        one, two, other = await neighbours(ingress)
        worker = await ingress.worker(one)
        with capture_logs() as logs:
            began = time.monotonic()
            worker.signal(signal.SIGKILL)
            await ingress.back(one, began)
            await ingress.back(two, began)
        await ingress.live(1.0)
        assert await ingress.worker(one) != worker
        unharmed(ingress.streams[other])
        for name in (one, two):
            goes_on(ingress.streams[name])
        (ended,) = [line for line in logs if line["event"] == "worker_ended"]
        assert (ended["reason"], ended["exit"], ended["feeds"]) == ("crash", "signal SIGKILL", 2)
        assert ingress.metric("worker_ends_total", reason="crash") == 1
        assert ingress.streams[one].states[-2:] == ingress.streams[two].states[-2:]


async def test_a_worker_hangs() -> None:
    """One that says nothing any more is killed, and its feeds come back; the other worker's has lost nothing."""
    async with site(THREE, workers=2) as ingress:
        await ingress.live()
        one, two, other = await neighbours(ingress)
        worker, began = await ingress.worker(one), time.monotonic()
        worker.signal(signal.SIGSTOP)
        await ingress.back(one, began)
        await ingress.back(two, began)
        assert not is_there(worker.pid)
        unharmed(ingress.streams[other])
        goes_on(ingress.streams[one])
        assert ingress.metric("worker_ends_total", reason="hang") == 1


async def test_who_crashes_is_kept_apart() -> None:
    """The feed whose thread crashed is known: from then on it has a process of its own, and its crashes harm nobody."""
    async with site({"cam1": PATTERN, "cam2": PATTERN}, workers=1) as ingress:
        await ingress.live()
        worker = await ingress.worker("cam1")
        assert worker == await ingress.worker("cam2")
        with capture_logs() as logs:
            worker.crash("cam1")
            await ingress.back("cam2", time.monotonic())
            await ingress.back("cam1", time.monotonic())
        (ended,) = [line for line in logs if line["event"] == "worker_ended"]
        assert (ended["exit"], ended["stream"]) == ("signal SIGSEGV", "cam1")
        assert " in " not in ended["trace"]
        assert " _read_on" in ended["trace"]
        assert [line["stream"] for line in logs if line["event"] == "feed_kept_apart"] == ["cam1"]
        own, shared = await ingress.worker("cam1"), await ingress.worker("cam2")
        assert own != shared
        for epochs in (3, 4):
            (await ingress.worker("cam1")).crash("cam1")
            await ingress.back("cam1", time.monotonic(), epochs)
        assert await ingress.worker("cam2") == shared
        assert len(ingress.streams["cam2"].opened) == 2
        goes_on(ingress.streams["cam2"])
        assert ingress.metric("worker_feeds", worker="own-1") == 1


async def test_a_feed_that_is_killed_again_and_again_is_kept_apart() -> None:
    """Where nobody can tell which feed it was, those that were there twice have a process of their own."""
    async with site({"cam1": PATTERN}, workers=1, retry_max_seconds=1) as ingress:
        await ingress.live()
        for epochs in (2, 3, 4):
            (await ingress.worker("cam1")).signal(signal.SIGKILL)
            await ingress.back("cam1", time.monotonic(), epochs)
        assert ingress.metric("worker_feeds", worker="own-1") == 1
        goes_on(ingress.streams["cam1"])


def garbage(clip: bytes) -> list[bytes]:
    """Return what is no media, nearly media, and media that is damaged all over."""
    chance = random.Random(7)
    damaged = [bytearray(clip) for _ in range(6)]
    for one in damaged:
        for _ in range(200):
            one[chance.randrange(len(one))] = chance.randrange(256)
    return [
        b"hello" * 1000,
        chance.randbytes(200_000),
        b"\x47" + chance.randbytes(187) * 500,
        b"\x1a\x45\xdf\xa3" + chance.randbytes(50_000),
        b"FLV\x01\x05" + chance.randbytes(50_000),
        (8).to_bytes(4, "big") + b"moov" + chance.randbytes(50_000),
        *map(bytes, damaged),
    ]


async def test_garbage_is_published(tmp_path: Path) -> None:
    """Whatever a publisher sends, a feed in the same process loses nothing."""
    pieces = garbage(make_clip(tmp_path / "clip.mp4").read_bytes())
    async with site({"cam1": PATTERN}, publishes="cam2", workers=1) as ingress, aiohttp.ClientSession() as session:
        await ingress.streams["cam1"].live()
        for piece in pieces:
            async with session.put(f"{ingress.url}/publish/cam2", data=piece) as answer:
                assert answer.status in {204, 409}
        await ingress.streams["cam1"].live(1.0)
        unharmed(ingress.streams["cam1"])
        assert ingress.metric("worker_ends_total", reason="crash") == 0


async def test_garbage_is_a_file(tmp_path: Path) -> None:
    """The same of files, and one that is whole is played beside them."""
    clip = make_clip(tmp_path / "clip.mp4")
    sources = {"cam1": f"file:{clip}"}
    for number, piece in enumerate(garbage(clip.read_bytes())):
        path = tmp_path / f"bad{number}.mp4"
        path.write_bytes(piece)
        sources[f"bad{number}"] = f"file:{path}"
    async with site(sources, workers=1, retry_min_seconds=0.1, retry_max_seconds=0.2) as ingress:
        await ingress.streams["cam1"].live(2.0)
        await wait_until(lambda: all(one.reason or one.entries for one in ingress.streams.values()), 30)
        unharmed(ingress.streams["cam1"])
        assert ingress.metric("worker_ends_total", reason="crash") == 0


async def test_a_publisher_whose_worker_dies() -> None:
    """One whose file has a beginning that nobody kept is sent away with the reason, and may come again at once."""
    async with site({}, publishes="cam1", workers=1) as ingress, aiohttp.ClientSession() as session:

        async def endless() -> object:
            while True:
                yield b"\x47" + bytes(187)
                await asyncio.sleep(0.01)

        for _ in range(2):
            sending = asyncio.create_task(_put(session, f"{ingress.url}/publish/cam1", endless()))
            worker = await ingress.worker("cam1")
            worker.signal(signal.SIGKILL)
            assert await asyncio.wait_for(sending, 30) == (409, "the process that read this feed ended\n")


@pytest.mark.parametrize("protocol", ["rtmp", "rtsp", "srt"])
async def test_a_publisher_goes_on(protocol: str) -> None:
    """By RTMP, RTSP and SRT its connection stays when the worker dies, and the next one reads on at a keyframe."""
    over: Any = {"rtmp": publishing, "rtsp": publishing_rtsp, "srt": publishing_srt}[protocol]
    formats = {"rtmp": "flv", "rtsp": "rtsp", "srt": "mpegts"}
    async with over() as (watched, place):
        url = f"srt://127.0.0.1:{place}?streamid=cam1" if protocol == "srt" else place
        with publishers.ffmpeg("-f", formats[protocol], url) as publisher:
            await watched.live(1.0)
            (worker,) = workers_of(os.getpid())
            began = time.monotonic()
            worker.signal(signal.SIGKILL)
            await wait_until(lambda: len(watched.opened) == 2, 30)
            await watched.live(1.0)
            print(f"{protocol}: live again after {time.monotonic() - began:.2f} s, 1 s of it media")
            assert publisher.is_running, publisher.log
        goes_on(watched)
    kinds = [codec.partition(".")[0] for codec in watched.codecs]
    assert kinds == ["avc1", "mp4a"]


async def _put(session: aiohttp.ClientSession, url: str, data: object) -> tuple[int, str]:
    async with session.put(url, data=data) as answer:
        return answer.status, await answer.text()


async def test_credentials_are_in_no_list_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in arguments nor in the environment of a worker, though ingress has them in its own."""
    uri = f"rtsp://user:{SECRET}@127.0.0.1:1/stream"
    monkeypatch.setenv("HEADRACE_INGRESS__SOURCES", json.dumps({"cam1": uri}))
    async with site({"cam1": uri, "cam2": PATTERN}, workers=1) as ingress:
        await ingress.streams["cam2"].live()
        await ingress.streams["cam1"].interrupted("refuse")
        (worker,) = workers_of(os.getpid())
        assert PATTERN.encode() not in worker.words
        assert SECRET.encode() not in worker.words


async def test_without_workers() -> None:
    """With none of them all is read in threads of the ingress, published or not."""
    async with publishing(workers=0, sources={"cam2": PATTERN}) as (watched, url):
        with publishers.ffmpeg("-f", "flv", url):
            await watched.live(1.0)
        assert "feed cam1" in {thread.name for thread in threading.enumerate()}
        assert "feed cam2" in {thread.name for thread in threading.enumerate()}
        assert not list(workers_of(os.getpid()))
    watched.check()


async def test_what_a_worker_started_ends_with_it() -> None:
    """A program that reads for it, as ffmpeg does for SRT, does not go on alone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        uri = f"srt://127.0.0.1:{silent.getsockname()[1]}"
        async with site({"cam1": uri}, workers=1, retry_min_seconds=60, retry_max_seconds=60) as ingress:
            worker = await ingress.worker("cam1")
            await wait_until(lambda: bool(children_of(worker.pid)), 30)
            children = children_of(worker.pid)
            worker.signal(signal.SIGKILL)
            await wait_until(lambda: not any(is_there(pid) for pid in children), 30)


@pytest.mark.parametrize("stopped", [False, True])
def test_no_worker_outlives_its_ingress(stopped: bool) -> None:
    """Killed without a word, ingress leaves nothing behind: not even workers that are stopped at that moment."""
    service = Service("ingress", "ingress-1", {"ingress.port": "0", "ingress.sources": json.dumps(THREE)})
    service.start()
    try:
        service.port()
        deadline = time.monotonic() + 30
        while len(found := list(workers_of(service.pid))) < 2 or not all(worker.feeds for worker in found):
            assert time.monotonic() < deadline, service.log
            time.sleep(0.05)
        if stopped:
            for worker in found:
                worker.signal(signal.SIGSTOP)
        service.kill()
        while any(is_there(worker.pid) for worker in found):
            assert time.monotonic() < deadline + 30
            time.sleep(0.02)
    finally:
        service.stop()


# -- the workers alone ------------------------------------------------------------------------------------------------

BEGIN = Numbers(Epoch(0), 5, 0.0)


class Told:
    """What an attempt told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def take(self, events: list[Event]) -> None:
        self.events += events

    @property
    def closed(self) -> Closed | None:
        return next((event for event in self.events if isinstance(event, Closed)), None)


def pool(memory_bytes: int = 2**40) -> tuple[Workers, CollectorRegistry]:
    """Return workers, not yet started, and where their metrics are."""
    exported = CollectorRegistry()
    runtime = Runtime(NodeId("ingress-1"), "ingress", metrics=exported)
    options = WorkersOptions(memory_bytes=memory_bytes)
    return Workers(runtime, IngressMetrics.make(exported), ReaderOptions(), options), exported


def job(uri: str, name: str = "cam1") -> Job:
    return Job(StreamName(name), parse_uri(uri, trusted=True))


async def test_one_that_takes_too_much_memory() -> None:
    """It is started again, which is told and counted; the attempt is closed where its numbers stood."""
    workers, exported = pool(memory_bytes=1)
    await workers.start()
    told = Told()
    with capture_logs() as logs:
        workers.make(job(PATTERN)).start(BEGIN, told.take)
        await wait_until(lambda: told.closed is not None, 30)
    assert told.closed is not None
    assert (told.closed.ended, told.closed.code) == (False, "worker")
    chunks = [event for event in told.events if isinstance(event, Chunks)]
    opened = [event for event in told.events if isinstance(event, EpochOpened)]
    assert told.closed.numbers.epoch == (opened[-1].epoch if opened else 0)
    assert told.closed.numbers.next_segment == (chunks[-1].numbers.next_segment if chunks else 5)
    assert [line["reason"] for line in logs if line["event"] == "worker_ended"] == ["memory"]
    assert exported.get_sample_value("headrace_ingress_worker_ends_total", {"reason": "memory"}) == 1
    await workers.stop()


async def test_a_feed_that_takes_too_much_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on in a process of its own, so that it slows nobody; the other one loses nothing."""
    monkeypatch.setattr("headrace_ingress.workers.attempt.LOAD_SECONDS", 2.0)
    heavy = "test:?size=1920x1080&rate=120&audio=no"
    async with site({"cam1": PATTERN, "cam2": heavy}, workers=1, feed_cpu=0.2) as ingress:
        await ingress.live()
        await wait_until(lambda: len(ingress.streams["cam2"].opened) == 2, 60)
        assert ingress.metric("worker_feeds", worker="own-1") == 1
        assert ingress.metric("worker_feeds", worker="shared-1") == 1
        assert any("process of its own" in line.reason for line in states(ingress.streams["cam2"]))
        unharmed(ingress.streams["cam1"])
        goes_on(ingress.streams["cam2"])


def states(stream: Watched) -> list[StateChange]:
    return [entry for entry in stream.entries if isinstance(entry, StateChange)]


async def test_one_that_is_stuck_in_a_library() -> None:
    """A source that does not return for much longer than any stall takes its worker with it, and is known for it."""
    workers, _ = pool()
    workers._stuck_seconds = 1.0
    await workers.start()
    told = Told()
    with socket.create_server(("127.0.0.1", 0)) as silent, capture_logs() as logs:
        workers.make(job(f"rtmp://127.0.0.1:{silent.getsockname()[1]}/live/x")).start(BEGIN, told.take)
        await wait_until(lambda: told.closed is not None, 30)
    (ended,) = [line for line in logs if line["event"] == "worker_ended"]
    assert (ended["reason"], ended["stream"]) == ("stuck", "cam1")
    assert told.closed is not None
    assert told.closed.code == "crash"
    await workers.stop()


async def test_one_that_talks_nonsense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no frame ends the worker and not ingress."""
    module = tmp_path / "nonsense.py"
    module.write_text("import os, sys, time\nos.write(int(sys.argv[1]), b'GET / HTTP/1.1\\r\\n')\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(process, "PROGRAM", "nonsense")
    workers, exported = pool()
    await workers.start()
    told = Told()
    workers.make(job(PATTERN)).start(BEGIN, told.take)
    await wait_until(lambda: told.closed is not None, 30)
    assert exported.get_sample_value("headrace_ingress_worker_ends_total", {"reason": "protocol"}) == 1
    await workers.stop()


async def test_what_it_logs(capfd: pytest.CaptureFixture[str]) -> None:
    """Its lines stand in the log of ingress, with the stream that they are about; its fault ends one attempt only."""
    workers, _ = pool()
    await workers.start()
    told, other = Told(), Told()
    reading = workers.make(job(PATTERN, "cam2"))
    reading.start(BEGIN, other.take)
    workers.make(job("ws://127.0.0.1:1/another-cluster")).start(BEGIN, told.take)
    await wait_until(lambda: told.closed is not None and bool(other.events), 30)
    assert told.closed is not None
    assert told.closed.code == "fault"
    (line,) = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "reader_not_started" in line]
    assert (line["stream"], line["level"]) == ("cam1", "error")
    reading.stop()
    await wait_until(lambda: other.closed is not None, 30)
    await workers.stop()


async def test_none_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt is closed and says so, and no new process is tried for each; once it works again, all is well."""
    with monkeypatch.context() as broken:
        broken.setattr("sys.executable", "/nonexistent/python")
        workers, _ = pool()
        await workers.start()
        first, second = Told(), Told()
        workers.make(job(PATTERN)).start(BEGIN, first.take)
        await wait_until(lambda: first.closed is not None)
        workers.make(job(PATTERN)).start(BEGIN, second.take)
        await wait_until(lambda: second.closed is not None)
        assert second.closed is not None
        assert second.closed.reason == "no process can be started to read this feed"
        assert workers.problem == "no process can be started to read feeds"
    tries = [(workers.make(job(PATTERN)), Told())]

    def is_read() -> bool:
        _, told = tries[-1]
        if told.closed is not None:
            tries.append((workers.make(job(PATTERN)), Told()))
            tries[-1][0].start(BEGIN, tries[-1][1].take)
        return bool(told.events) and told.closed is None

    tries[0][0].start(BEGIN, tries[0][1].take)
    await wait_until(is_read, 30)
    reading, told = tries[-1]
    reading.stop()
    await wait_until(lambda: told.closed is not None, 30)
    assert told.closed is not None
    assert told.closed.reason == ""
    await workers.stop()
