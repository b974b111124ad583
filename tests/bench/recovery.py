"""How long viewers wait when a source goes away and comes back: real sources, killed, stopped and rebooted.

    PYTHONPATH=tests python tests/bench/recovery.py [--rounds N] [--source rtsp ...] [--fault killed ...]

A whole Headrace runs as one process. Each source has a viewer, who takes the time from the fault to `interrupted`, and
from the moment at which the source is back (its process begins, or listens) to the first picture that decoding can
begin with. Prints the table of docs/feeds.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import websockets

sys.path.insert(0, str(Path(__file__).parents[1]))

from headrace.testing.waiting import wait_until
from headrace.wire.chunk import parse_chunk
from support.media_files import Recipe, make_file
from support.play_client import SUBPROTOCOL
from support.publishers import Publisher, ffmpeg
from support.rtsp_server import RtspServer
from support.services import Service, running

AWAY = {"killed": 1.0, "stopped": 16.0, "rebooted": 10.0}
"""Seconds that a source is away: it is started again, it hangs for longer than is waited, it boots."""

STEADY_SECONDS = 6.0
"""Time between faults, so that each is the first for the feed."""

WAIT_SECONDS = 40.0


class Whole(Service):
    """All services in one process."""

    def command(self) -> list[str]:
        return [str(Path(sys.executable).with_name("headrace")), "up"]


@dataclass
class Viewer:
    """Watches a stream and takes the time.

    Attributes:
        interruptions: when each began, by the monotonic clock.
        pictures: when each random access point of video came.
    """

    url: str
    interruptions: list[float] = field(default_factory=list)
    pictures: list[float] = field(default_factory=list)
    losses: int = 0

    async def watch(self) -> None:
        """Watch until cancelled."""
        while True:
            with contextlib.suppress(OSError, websockets.WebSocketException):
                async with websockets.connect(
                    self.url, subprotocols=[websockets.Subprotocol(SUBPROTOCOL)], max_size=2**25
                ) as socket:
                    await socket.send(json.dumps({"type": "play", "session": "recovery"}))
                    await self._take_all(socket)
            self.losses += 1
            await asyncio.sleep(0.1)

    async def _take_all(self, socket: websockets.ClientConnection) -> None:
        async for message in socket:
            now = time.monotonic()
            if isinstance(message, bytes):
                chunk = parse_chunk(message)
                if chunk.id.track == 1 and chunk.random_access:
                    self.pictures.append(now)
                continue
            told = json.loads(message)
            if told["type"] == "ping":
                await socket.send(json.dumps({"type": "pong", "id": told["id"]}))
            elif told["type"] == "state" and told["state"] == "interrupted":
                self.interruptions.append(now)


@dataclass
class Source:
    """Something that feeds a stream.

    Attributes:
        name: for the table.
        begin: starts it; it is back when that returns.
        kill: ends it without a word.
        signal: sends it a signal, `None` where there is no process.
        is_publisher: whether it sends by itself, and ends when it is sent away.
    """

    name: str
    begin: Callable[[], None]
    kill: Callable[[], None]
    signal: Callable[[int], None] | None = None
    is_publisher: bool = False


class Published:
    """A publisher that can be started again and again."""

    def __init__(self, make: Callable[[], Publisher]) -> None:
        self._make = make
        self._current: Publisher | None = None

    def begin(self) -> None:
        """Start one."""
        self._current = self._make().__enter__()

    def kill(self) -> None:
        """Kill it."""
        if self._current is not None:
            self._current.kill()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._current is not None
        self._current.signal(number)


async def fault(source: Source, viewer: Viewer, kind: str) -> tuple[float, float]:
    """Do one fault; return the seconds to `interrupted`, and from the source's return to a picture."""
    begun = time.monotonic()
    if kind == "stopped":
        assert source.signal is not None
        source.signal(signal.SIGSTOP)
    else:
        await asyncio.to_thread(source.kill)
    await asyncio.sleep(AWAY[kind])
    if source.name == "file":
        # It is read to its end before anybody can notice.
        await wait_until(lambda: any(at > begun for at in viewer.interruptions), WAIT_SECONDS)
    back = time.monotonic()
    if kind == "stopped" and source.signal is not None:
        source.signal(signal.SIGCONT)
        if source.is_publisher:
            # It was sent away meanwhile, and whoever minds it starts it again.
            await asyncio.to_thread(source.kill)
            await asyncio.to_thread(source.begin)
    else:
        await asyncio.to_thread(source.begin)
        if source.name.startswith("RTSP"):
            back = time.monotonic()  # it listens now
    await wait_until(lambda: any(at > back for at in viewer.pictures), WAIT_SECONDS)
    told = [at for at in viewer.interruptions if at > begun]
    return (told[0] - begun if told else float("nan")), next(at for at in viewer.pictures if at > back) - back


async def measure(source: Source, url: str, rounds: int, faults: Sequence[str]) -> list[str]:
    """Return the table's rows of one source."""
    viewer = Viewer(url)
    watching = asyncio.create_task(viewer.watch())
    await asyncio.to_thread(source.begin)
    seen: dict[str, list[tuple[float, float]]] = {}
    try:
        for _ in range(rounds):
            for kind in faults:
                if kind == "stopped" and source.signal is None:
                    continue
                await wait_until(lambda: bool(viewer.pictures), WAIT_SECONDS)
                await asyncio.sleep(STEADY_SECONDS)
                seen.setdefault(kind, []).append(await fault(source, viewer, kind))
    finally:
        watching.cancel()
        source.kill()
    return [f"| {source.name} | {kind} | {_cell(found, 0)} | {_cell(found, 1)} |" for kind, found in seen.items()] + (
        [f"! {source.name}: its viewer lost the connection {viewer.losses} times"] if viewer.losses else []
    )


def _cell(found: list[tuple[float, float]], which: int) -> str:
    values = [one[which] for one in found]
    return f"{statistics.median(values):.2f} ({max(values):.2f})"


def sources(server: RtspServer, rtmp_port: int, http_port: int, clip: Path, folder: Path) -> dict[str, Source]:
    """Return what is measured, by stream."""
    rtmp = Published(lambda: ffmpeg("-f", "flv", f"rtmp://127.0.0.1:{rtmp_port}/live/rtmp"))
    put = f"http://127.0.0.1:{http_port}/publish/http"
    http = Published(lambda: ffmpeg("-f", "mp4", "-movflags", "frag_keyframe+empty_moov", "-method", "PUT", put))
    kept = folder / "kept.mp4"
    return {
        "rtsp": Source(
            "RTSP pulled, GStreamer",
            server.start,
            server.kill,
            lambda number: server.freeze() if number == signal.SIGSTOP else server.thaw(),
        ),
        "rtmp": Source("RTMP publisher, ffmpeg", rtmp.begin, rtmp.kill, rtmp.signal, True),
        "http": Source("HTTP publisher, ffmpeg", http.begin, http.kill, http.signal, True),
        "file": Source("file", lambda: _move(kept, clip), lambda: _move(clip, kept)),
    }


def _move(origin: Path, target: Path) -> None:
    if origin.exists():
        origin.rename(target)


async def run(rounds: int, streams: Sequence[str], faults: Sequence[str]) -> None:
    """Measure sources side by side and print the table."""
    with tempfile.TemporaryDirectory() as name, RtspServer() as server:
        server.kill()
        folder = Path(name)
        clip = make_file(folder / "clip.mp4", Recipe(options=(("tune", "zerolatency"),)))
        wanted = {"rtsp": server.uri, "file": clip.as_uri()}
        settings = {
            "ingress.sources": json.dumps(wanted),
            "ingress.port": "0",
            "ingress.srt": "false",
            "ingress.rtsp": "false",
            "edge.port": "0",
            "edge.fmp4_port": "0",
            "control_api.port": "0",
        }
        with running(Whole("standalone", "recovery", settings)) as (whole,):
            found = sources(server, whole.port_of("rtmp"), whole.port_of("ingress"), clip, folder)
            play = f"ws://127.0.0.1:{whole.port_of('edge')}/play/"
            rows = await asyncio.gather(*(measure(found[stream], play + stream, rounds, faults) for stream in streams))
    print(f"{rounds} rounds; median (and longest), in seconds\n")
    print("| source | fault | `interrupted` after | picture after its return |")
    print("|---|---|---:|---:|")
    print("\n".join(row for part in rows for row in part))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", action="append", choices=["rtsp", "rtmp", "http", "file"])
    parser.add_argument("--fault", action="append", choices=list(AWAY))
    arguments = parser.parse_args()
    asyncio.run(
        run(arguments.rounds, arguments.source or ["rtsp", "rtmp", "http", "file"], arguments.fault or list(AWAY))
    )
