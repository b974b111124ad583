"""The SRT door's manners: stream ids, keys, passphrases, second publishers, those that go and those that are none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from headrace.errors import StartupError
from headrace.identifiers import StreamName
from headrace.testing import wait_until
from headrace.transport import libsrt
from headrace.wire.stream import StreamState
from headrace_ingress.publications import Publications
from headrace_ingress.srt_door import SrtDoor
from integration.ingress.clips import make_clip
from integration.ingress.publishing import check_carried, publishing_srt
from integration.ingress.rig import NAME, Watched
from support import publishers
from support.datagram_proxy import Losses, losing
from support.srt_caller import SrtCaller

KEY = "correct-horse"
PASSPHRASE = "correct-horse-battery"

UNAUTHORIZED, OVERLOAD, BAD_REQUEST, BAD_MODE, CONFLICT = 1401, 1402, 1400, 1405, 1409
BAD_SECRET = 10
"""libsrt's own reason SRT_REJ_BADSECRET."""


@asynccontextmanager
async def calling(port: int, streamid: str, passphrase: str = "") -> AsyncIterator[SrtCaller]:
    """Call for a `with` block."""
    caller = await asyncio.to_thread(SrtCaller, port, streamid, passphrase)
    try:
        yield caller
    finally:
        await asyncio.to_thread(caller.close)


async def answer(port: int, streamid: str, passphrase: str = "") -> int:
    """Return why a caller is refused, 0 when it is let in."""
    async with calling(port, streamid, passphrase) as caller:
        return caller.reason


def counted(watched: Watched, name: str, **labels: str) -> float:
    """Return a metric's value."""
    return watched.runtime.metrics.get_sample_value(f"headrace_ingress_{name}", labels) or 0.0


def place(port: int, streamid: str = NAME) -> str:
    """Return the address that ffmpeg calls."""
    return f"srt://127.0.0.1:{port}?streamid={streamid}"


async def test_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """Only the right key opens, in the name or as the session of the standard form; it is told nowhere."""
    async with publishing_srt(publish_keys={"cam*": KEY}) as (watched, port):
        assert await answer(port, "cam1?key=wrong-horse") == UNAUTHORIZED
        assert await answer(port, "cam1") == UNAUTHORIZED
        assert await answer(port, f"#!::r=cam2,m=publish,s={KEY}") == 0
        with publishers.ffmpeg("-f", "mpegts", place(port, f"cam1?key={KEY}"), audio=""):
            await watched.live()
        assert counted(watched, "publish_refused_total", reason="key") == 2
    told = "".join(capsys.readouterr())
    assert "the key is wrong" in told
    assert "horse" not in told


async def test_refusals_have_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    """SRT's codes of access control say what is wrong; the log says it in words, once each."""
    async with publishing_srt(sources={"cam9": "test:?size=320x180&audio=no"}) as (watched, port):
        assert await answer(port, "") == BAD_REQUEST
        assert await answer(port, "../../etc/passwd") == BAD_REQUEST
        assert await answer(port, "#!::r=cam1") == BAD_MODE
        assert await answer(port, "cam9") == CONFLICT
        assert counted(watched, "door_ended_total", door="srt", reason="name") == 2
    assert "".join(capsys.readouterr()).count("publisher_refused") == 4


async def test_guessing_is_barred() -> None:
    """After five wrong keys even the right one is not tried for a while."""
    async with publishing_srt(publish_keys={"cam1": KEY}) as (_, port):
        for number in range(5):
            assert await answer(port, f"cam1?key=guess-{number}") == UNAUTHORIZED
        assert await answer(port, f"cam1?key={KEY}") == OVERLOAD


async def test_a_passphrase() -> None:
    """Without it nobody gets in, and wrong ones count as guesses; nobody is sent away for their sake."""
    settings = {"srt_passphrase": PASSPHRASE, "publish_takes_over": True}
    async with publishing_srt(**settings) as (watched, port):

        def has_counted(guesses: int) -> bool:
            return counted(watched, "publish_refused_total", reason="passphrase") == guesses

        encrypted = f"{place(port)}&passphrase={PASSPHRASE}"
        with publishers.ffmpeg("-f", "mpegts", encrypted, audio="") as publisher:
            await watched.live()
            for number in range(5):
                assert await answer(port, NAME, f"wrong-horse-{number}") == BAD_SECRET
                await wait_until(partial(has_counted, number + 1))
            assert await answer(port, NAME, PASSPHRASE) == OVERLOAD
            await watched.live(1.0)
            assert publisher.is_running
    assert len(watched.opened) == 1
    watched.check()


async def test_beyond_loopback_a_key_is_needed() -> None:
    """A door that others reach lets nobody in without one."""
    async with publishing_srt(host="0.0.0.0") as (_, port):
        assert await answer(port, NAME) == UNAUTHORIZED


async def test_many_at_once(tmp_path: Path) -> None:
    """One port takes many publishers, each with a stream of its own."""
    clip = make_clip(tmp_path / "clip.ts")
    names = [StreamName(f"cam{number}") for number in range(1, 9)]
    async with publishing_srt() as (watched, port), contextlib.AsyncExitStack() as stack:
        for name in names:
            command = ["ffmpeg", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy"]
            stack.enter_context(publishers.Publisher([*command, "-f", "mpegts", place(port, name)]))
        streams = watched.registry.streams

        def all_live() -> bool:
            return all(name in streams and streams[name].state == StreamState.LIVE.value for name in names)

        await wait_until(all_live, 60, what="all live")
        assert counted(watched, "door_connections", door="srt") == len(names)
        assert counted(watched, "publishers") == len(names)
    watched.check()


async def test_a_second_publisher_is_refused() -> None:
    """The first goes on undisturbed."""
    async with publishing_srt() as (watched, port):
        with publishers.ffmpeg("-f", "mpegts", place(port), audio=""):
            await watched.live()
            assert await answer(port, NAME) == CONFLICT
            await watched.live(1.0)
    watched.check()
    assert len(watched.opened) == 1


async def test_a_second_publisher_takes_over() -> None:
    """Where that is configured: the first is sent away, the stream goes on with another epoch."""
    async with publishing_srt(publish_takes_over=True) as (watched, port):
        with publishers.ffmpeg("-f", "mpegts", place(port), audio="") as first:
            await watched.live()
            with publishers.ffmpeg("-f", "mpegts", place(port)):
                await wait_until(lambda: not first.is_running, 20, what="the first publisher sent away")
                await wait_until(lambda: len(watched.codecs) == 2, 20, what="the second one's tracks")
                await watched.live(1.0)
    watched.check()


async def test_a_publisher_that_comes_back() -> None:
    """One that says goodbye is missed at once; live again, numbers without a hole."""
    async with publishing_srt() as (watched, port):
        with publishers.ffmpeg("-f", "mpegts", place(port)) as publisher:
            await watched.live(1.0)
            publisher.signal(signal.SIGTERM)
            await watched.interrupted("its publisher left")
        with publishers.ffmpeg("-f", "mpegts", place(port)):
            await watched.live(1.0)
    watched.check()
    interrupted, live = StreamState.INTERRUPTED, StreamState.LIVE
    assert watched.states[:4] == [interrupted, live, interrupted, live]


async def test_a_publisher_that_stands_still() -> None:
    """Silence of the stall time sends it away, killed or stopped, so that it or another may come back."""
    async with publishing_srt(stall_seconds=1) as (watched, port):
        with publishers.ffmpeg("-f", "mpegts", place(port)) as publisher:
            await watched.live(1.0)
            publisher.signal(signal.SIGSTOP)
            await watched.interrupted("nothing received from its publisher for 1 s")
            with publishers.ffmpeg("-f", "mpegts", place(port)):
                await watched.live(1.0)
    watched.check()


async def test_what_is_no_media() -> None:
    """Bytes that are no MPEG-TS end their publisher and nothing else."""
    async with publishing_srt() as (watched, port):
        async with calling(port, NAME) as caller:
            rubbish = random.Random(1).randbytes(100_000)
            assert await asyncio.to_thread(caller.send_until_closed, rubbish, 30)
        await wait_until(lambda: counted(watched, "door_ended_total", door="srt", reason="over") == 1, 20)
        assert "no media" in watched.reason
        await wait_until(lambda: counted(watched, "door_connections", door="srt") == 0, 20)


async def test_packets_that_are_lost() -> None:
    """One of thirty datagrams gets lost in each direction: it is sent again, and nothing is missing."""
    losses = Losses(1 / 30)
    async with publishing_srt() as (watched, port), losing(port, losses) as way:
        with publishers.ffmpeg("-f", "mpegts", f"{place(way)}&latency=1000000") as publisher:
            await watched.live(3.0)
            await wait_until(lambda: losses.lost >= 20, 60, what="datagrams lost")
            await watched.live(1.0)
            assert publisher.is_running, publisher.log
    check_carried(watched, ["avc1", "mp4a"])


async def test_those_that_never_call() -> None:
    """A thousand sources of datagrams, half handshakes and rubbish: a publisher goes on, and nothing of them stays."""
    induction = bytes.fromhex("80000000000000000000000000000000000000040000000200000001000005dc")
    induction += bytes.fromhex("00002000000000010badcafe00000000") + bytes(16)
    async with publishing_srt() as (watched, port):
        with publishers.ffmpeg("-f", "mpegts", place(port), audio=""):
            await watched.live()
            for number in range(1000):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                    stranger.sendto(induction if number % 2 else os.urandom(200), ("127.0.0.1", port))
            await watched.live(1.0)
            assert counted(watched, "door_connections", door="srt") == 1
    watched.check()


def another(watched: Watched, port: int) -> SrtDoor:
    """Return a second door of the same ingress."""
    publications = next(one for one in watched.components if isinstance(one, Publications))
    return SrtDoor("127.0.0.1", port, "", publications, watched.runtime, publications.metrics)


async def test_a_port_that_is_taken() -> None:
    """It is told with the settings that help."""
    async with publishing_srt() as (watched, _):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            door = another(watched, taken.getsockname()[1])
            with pytest.raises(StartupError, match=r"srt: cannot listen on .*ingress\.srt_port chooses another port"):
                await door.start()


async def test_without_libsrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the library is told what to install."""
    async with publishing_srt() as (watched, _):
        monkeypatch.setattr(libsrt, "NAMES", ())
        monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
        with pytest.raises(StartupError, match=r"install the package libsrt1\.5-gnutls .* ingress\.srt = false"):
            await another(watched, 0).start()


async def test_every_address_of_a_name() -> None:
    """A host name's addresses are all listened at, with one port."""
    async with publishing_srt(host="localhost") as (watched, port):
        door = next(one for one in watched.components if isinstance(one, SrtDoor))
        assert door.bound_port == port
        assert await answer(port, NAME) == 0
