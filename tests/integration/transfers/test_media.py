"""Pushes that are muxed anew, received by servers of other people's making and by ffprobe."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from headrace.identifiers import NodeId, StreamName
from headrace.registry.desired import DesiredTransfer
from headrace.registry.memory import MemoryRegistry
from headrace.registry.sealing import Uri
from headrace.registry.transfers import Flow
from headrace.relay.broadcast import Cursor
from headrace.relay.hub import Hub
from headrace.service.runtime import Runtime
from headrace.service.settings import Settings
from headrace.session.border import Border
from headrace.session.options import RelayOptions
from headrace.testing import wait_until
from headrace.wire.stream import RouteHop, StreamState
from headrace_edge.push.carrying import PushFailed, PushOver
from headrace_edge.push.making import Carriers
from headrace_ingress.app import build

NAME = StreamName("cam1")
WAIT_SECONDS = 40.0


@dataclass
class Told:
    """What a push told."""

    flows: list[Flow] = field(default_factory=list)

    def __call__(self, flow: Flow, detail: str, facts: Mapping[str, str]) -> None:
        self.flows.append(flow)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A hub with the test pattern in it."""
    hub, registry = Hub(), MemoryRegistry()
    runtime = Runtime(NodeId("ingress-1"), "ingress", metrics=CollectorRegistry())
    group = {"port": 0, "rtmp": False, "sources": {NAME: "test:?size=320x180"}}
    components = build(Settings.model_validate({"ingress": group}), runtime, hub, registry)
    await registry.start()
    for component in components:
        await component.start()
    await wait_until(lambda: NAME in hub.streams and hub.streams[NAME].state.state is StreamState.LIVE, WAIT_SECONDS)
    yield hub
    for component in reversed(components):
        await component.stop()
    await registry.close()


def carriers(hub: Hub, root: Path | None = None, networks: tuple[str, ...] = ("127.0.0.0/8",)) -> Carriers:
    clock = Runtime(NodeId("edge-1"), "edge", metrics=CollectorRegistry()).clock
    border = Border("edge-1", RelayOptions(), tuple(map(ip_network, networks)), tuple, clock)
    return Carriers(border, hub, RouteHop("edge-1", "edge"), clock, root)


def record(uri: str) -> DesiredTransfer:
    return DesiredTransfer(id="push-1", kind="push", uri=Uri(uri), local_name=NAME, remote_name=NAME)


@asynccontextmanager
async def pushing(made: Carriers, uri: str) -> AsyncIterator[tuple[Told, asyncio.Task[None]]]:
    """Carry a push for a `with` block."""
    told = Told()
    carrier = made.make(record(uri))
    task = asyncio.create_task(carrier.run(told))
    try:
        yield told, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def probe(path: Path) -> dict[str, Any]:
    """Return what ffprobe says of a file's streams; decoding it whole must succeed silently."""
    shown = await _run("ffprobe", "-v", "error", "-show_streams", "-count_packets", "-of", "json", str(path))
    assert await _run("ffmpeg", "-v", "error", "-xerror", "-i", str(path), "-f", "null", "-") == ""
    return {stream["codec_type"]: stream for stream in json.loads(shown)["streams"]}


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


def free_port() -> int:
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        return int(probe_socket.getsockname()[1])


@asynccontextmanager
async def ffmpeg(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec("ffmpeg", "-v", "warning", "-y", *arguments)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def arguments_of_all() -> str:
    """Return the arguments of every process, as everybody on the machine may read them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            found.append(path.read_bytes())
    return b"\n".join(found).decode(errors="replace")


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def test_a_recording_is_read_whole(hub: Hub, tmp_path: Path) -> None:
    """Fragmented MP4 from 0 that ffprobe and ffmpeg read to the end; the next one has another name."""
    made = carriers(hub, tmp_path)
    async with pushing(made, "file:sub/cam1.mp4") as (told, _):
        file = tmp_path / "sub" / "cam1.mp4"
        await wait_until(lambda: size_of(file) > 150_000, WAIT_SECONDS)
        assert Flow.LIVE in told.flows
    streams = await probe(file)
    assert (streams["video"]["codec_name"], streams["audio"]["codec_name"]) == ("h264", "aac")
    assert float(streams["video"]["start_time"]) < 0.1
    assert int(streams["video"]["nb_read_packets"]) > 25
    async with pushing(made, "file:sub/cam1.mp4"):
        await wait_until(lambda: size_of(tmp_path / "sub" / "cam1-2.mp4") > 1000, WAIT_SECONDS)


@pytest.mark.parametrize("uri", ["file:../x.mp4", "file:/etc/x.mp4", "file:x.sh", "file:", "file:link/x.mp4"])
async def test_nothing_is_written_elsewhere(hub: Hub, tmp_path: Path, uri: str) -> None:
    """Paths that leave the folder, also by a link, are refused for good, and so is everything without a folder."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    for root in (tmp_path / "root", None):
        with pytest.raises(PushFailed) as failed:
            await carriers(hub, root).make(record(uri)).run(Told())
        assert failed.value.is_final
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.parametrize(
    ("uri", "code", "is_final"),
    [
        ("rtmp://10.0.0.1/app/key", "forbidden", True),
        ("rtsp://169.254.169.254/x", "forbidden", True),
        ("ws://localhost.localdomain.invalid", "unresolved", False),
        ("ws://[::1]:1", "forbidden", True),
        ("srt://127.0.0.1:9?streamid=key", "unreachable", False),
        ("srt://127.0.0.1", "bad_address", True),
        ("srt://127.0.0.1:9?mode=listener", "bad_address", True),
        ("srt://127.0.0.1:9?passphrase=short", "bad_address", True),
        ("srt://127.0.0.1:9?streamid=key%0Apassphrase=x", "bad_address", True),
        ("srt://10.0.0.1:9?streamid=key", "forbidden", True),
        ("gopher://127.0.0.1/", "unsupported", True),
        ("rtmp://127.0.0.1:1/app/key", "unreachable", False),
        ("ws://127.0.0.1:1", "unreachable", False),
    ],
)
async def test_where_nothing_is_pushed(hub: Hub, uri: str, code: str, is_final: bool) -> None:
    """What is not allowed, not built or not there is told by a word; only the last is worth another try."""
    told = Told()
    with pytest.raises(PushFailed) as failed:
        async with asyncio.timeout(WAIT_SECONDS):
            await carriers(hub).make(record(uri)).run(told)
    assert Flow.LIVE not in told.flows
    assert (failed.value.code, failed.value.is_final) == (code, is_final)
    assert "key" not in str(failed.value)


async def test_rtmp(hub: Hub, tmp_path: Path) -> None:
    """ffmpeg as an RTMP server gets picture and sound unharmed, and its going away is noticed."""
    port, file = free_port(), tmp_path / "got.mkv"
    url = f"rtmp://127.0.0.1:{port}/app/key"
    async with ffmpeg("-listen", "1", "-i", url, "-c", "copy", "-t", "4", str(file)) as server:
        await until_listening(port)
        async with pushing(carriers(hub), url) as (told, task):
            async with asyncio.timeout(WAIT_SECONDS):
                await server.wait()
            with pytest.raises(PushFailed):
                await asyncio.wait_for(task, WAIT_SECONDS)
            assert Flow.LIVE in told.flows
    streams = await probe(file)
    assert (streams["video"]["codec_name"], streams["audio"]["codec_name"]) == ("h264", "aac")


async def test_rtsp(hub: Hub, tmp_path: Path) -> None:
    """ffmpeg as an RTSP server that is recorded to gets picture and sound unharmed."""
    port, file = free_port(), tmp_path / "got.mkv"
    url = f"rtsp://127.0.0.1:{port}/live"
    async with ffmpeg("-rtsp_flags", "listen", "-i", url, "-c", "copy", "-t", "4", str(file)) as server:
        await until_listening(port)
        async with pushing(carriers(hub), url):
            async with asyncio.timeout(WAIT_SECONDS):
                await server.wait()
    streams = await probe(file)
    assert (streams["video"]["codec_name"], streams["audio"]["codec_name"]) == ("h264", "aac")


async def test_srt(hub: Hub, tmp_path: Path) -> None:
    """ffmpeg as an SRT listener gets picture and sound unharmed by who knows the passphrase, and nothing by others.

    Passphrase and stream id stand in no list of processes.
    """
    port, file = free_port(), tmp_path / "got.mkv"
    url = f"srt://127.0.0.1:{port}"
    listen = f"{url}?mode=listener&passphrase={'p' * 16}"
    async with ffmpeg("-i", listen, "-c", "copy", "-t", "4", str(file)) as server:
        wrong = carriers(hub).make(record(f"{url}?passphrase={'q' * 16}"))
        with pytest.raises(PushFailed, match="refuses") as failed:
            await asyncio.wait_for(wrong.run(Told()), WAIT_SECONDS)
        assert failed.value.code == "refused"
        secret = f"{url}?latency=200&passphrase={'p' * 16}&streamid=%23!::r=cam1,s={'k' * 16}"
        async with pushing(carriers(hub), secret) as (told, task):
            async with asyncio.timeout(WAIT_SECONDS):
                await wait_until(lambda: Flow.LIVE in told.flows, WAIT_SECONDS)
                assert "k" * 16 not in arguments_of_all()
                await server.wait()
            with pytest.raises(PushFailed):
                await asyncio.wait_for(task, WAIT_SECONDS)
    streams = await probe(file)
    assert (streams["video"]["codec_name"], streams["audio"]["codec_name"]) == ("h264", "aac")


async def test_srt_where_nothing_speaks_it(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without libsrt the push is refused for good, and the reason says what is missing."""
    without = ["import ctypes.util", "from headrace.transport import libsrt", "libsrt.NAMES = ()"]
    (tmp_path / "sitecustomize.py").write_text("\n".join([*without, "ctypes.util.find_library = lambda name: None"]))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(PushFailed, match="needs the library libsrt") as failed:
        await asyncio.wait_for(carriers(hub).make(record("srt://127.0.0.1:9")).run(Told()), WAIT_SECONDS)
    assert (failed.value.code, failed.value.is_final) == ("unsupported", True)


async def test_a_slow_target_is_moved_forward(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that takes nothing keeps little, delays nobody, and is moved on to a random access point."""
    monkeypatch.setattr("headrace_edge.push.pacing.QUEUE_BYTES", 20_000)
    monkeypatch.setattr("headrace_edge.push.media.LAG_SECONDS", 0.5)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1)
    skipped: list[int] = []
    broadcast = next(iter(hub.streams.values()))
    skip = broadcast.skip

    def count(cursor: Cursor) -> int:
        skipped.append(skip(cursor))
        return skipped[-1]

    monkeypatch.setattr(broadcast, "skip", count)
    async with pushing(carriers(hub), f"rtmp://127.0.0.1:{listening.getsockname()[1]}/app/key"):
        await wait_until(lambda: any(skipped), WAIT_SECONDS)
        end = broadcast.end
        await wait_until(lambda: broadcast.end > end + 20, WAIT_SECONDS)
    listening.close()


async def test_the_end_of_the_stream_is_the_end_of_the_push(hub: Hub, tmp_path: Path) -> None:
    """A stream that has ended stops its push for good."""
    async with pushing(carriers(hub, tmp_path), "file:a.mp4") as (told, task):
        await wait_until(lambda: Flow.LIVE in told.flows, WAIT_SECONDS)
        next(iter(hub.streams.values())).set_state(StreamState.ENDED, "over")
        with pytest.raises(PushOver):
            await asyncio.wait_for(task, WAIT_SECONDS)


async def until_listening(port: int) -> None:
    """Wait until a server listens, without connecting: it takes one client only."""
    hexadecimal = f":{port:04X} "

    def listens() -> bool:
        lines = Path("/proc/net/tcp").read_text().splitlines()
        return any(hexadecimal in line and line.split()[3] == "0A" for line in lines)

    await wait_until(listens, WAIT_SECONDS)
