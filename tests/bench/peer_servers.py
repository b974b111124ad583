"""The other servers of `bench.peers`: where they are found, how they run on loopback and how they are fed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.building import PROGRAMS
from bench.fan_out_parts import LOAD_CORE, SERVER_CORE, Load, Server, pinned
from headrace.testing import free_port

HERE = Path(__file__).parent

START_SECONDS = 20.0
FEED_SECONDS = 3.0
"""Until a stream that ffmpeg begins to push can be watched."""

CLIP_SECONDS = 20

MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules")
PLAYERS = HERE.parent / "e2e/players"

UNLIMITED = ("sh", "-c", 'ulimit -Sn "$(ulimit -Hn)" && exec "$@"', "sh")
"""What a command begins with to have as many descriptors as it may."""


class Absent(Exception):
    """A server cannot be measured here; says what is missing."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server.

    Attributes:
        name: of the program.
        sends: what its viewers get, and how.
        at: the granularities at which it sends what ours does.
        run: runs it for a load, fed.
    """

    name: str
    sends: str
    at: Sequence[str]
    run: Callable[[Load], AbstractContextManager[Server]]


def find(name: str, *more: str | Path) -> Path:
    """Return where a file is: in `$BENCH_PEERS`, PATH, or one of the folders `more`.

    Raises:
        Absent: when it is nowhere.
    """
    folders = [*os.environ.get("BENCH_PEERS", "").split(os.pathsep), *os.environ["PATH"].split(os.pathsep), *more]
    for folder in filter(None, map(str, folders)):
        if (path := Path(folder) / name).exists():
            return path.resolve()
    raise Absent(f"{name} is neither in BENCH_PEERS nor in PATH")


# -- servers that send what they are told ------------------------------------------------------------------------------


@contextmanager
def node_ws(load: Load) -> Iterator[Server]:
    """Run Node's `ws`."""
    modules = find("node_modules/ws", PLAYERS).parent
    asked = subprocess.run([find("node"), "-p", "process.execPath"], capture_output=True, text=True, check=True)
    program = asked.stdout.strip()  # what is in PATH may be a wrapper, which would be measured in its place
    command = [program, str(HERE / "servers/ws_broadcast.cjs"), str(load.rate), str(load.video)]
    with _telling_port("Node ws", command, {"NODE_PATH": str(modules)}) as server:
        yield server


@contextmanager
def websockets_broadcast(load: Load) -> Iterator[Server]:
    """Run Python's `websockets`."""
    command = [sys.executable, str(HERE / "servers/websockets_broadcast.py"), str(load.rate), str(load.video)]
    with _telling_port("websockets.broadcast", command, {}) as server:
        yield server


@contextmanager
def _telling_port(name: str, command: Sequence[str], environment: dict[str, str]) -> Iterator[Server]:
    with subprocess.Popen(
        [*pinned(SERVER_CORE), *UNLIMITED, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Server(name, process.pid, int(process.stdout.readline()), ["/x"], "fmp4")
        process.stdin.close()


# -- servers that take media -------------------------------------------------------------------------------------------


@contextmanager
def go2rtc(load: Load) -> Iterator[Server]:
    """Run go2rtc; its viewers ask for MSE, which is fMP4 by WebSocket, a frame in each message."""
    http, rtmp = free_port(), free_port()
    settings = {
        "app": {"modules": ["api", "ws", "rtmp", "mp4"]},
        "api": {"listen": f"127.0.0.1:{http}"},
        "rtmp": {"listen": f"127.0.0.1:{rtmp}"},
        "streams": {"bench": None},
        "log": {"level": "error"},
    }
    command = [str(find("go2rtc")), "-config", json.dumps(settings)]
    with _fed(command, rtmp, "bench", load) as pid:
        yield Server("go2rtc", pid, http, ["/api/ws?src=bench"], "mse")


@contextmanager
def mediamtx(load: Load) -> Iterator[Server]:
    """Run MediaMTX; its viewers play by RTMP."""
    rtmp = free_port()
    off = dict.fromkeys(("rtsp", "hls", "webrtc", "srt", "moq"), False)
    settings = {"logLevel": "error", **off, "rtmpAddress": f"127.0.0.1:{rtmp}", "paths": {"all_others": {}}}
    with _written({"mediamtx.yml": json.dumps(settings)}) as folder:
        command = [str(find("mediamtx")), str(folder / "mediamtx.yml")]
        with _fed(command, rtmp, "live/bench", load) as pid:
            yield Server("MediaMTX", pid, rtmp, ["live/bench"], "rtmp")


@contextmanager
def srs(load: Load) -> Iterator[Server]:
    """Run SRS; its viewers read HTTP-FLV, which it sends as often as there are chunks of ours."""
    http, rtmp = free_port(), free_port()
    settings = f"""
        listen 127.0.0.1:{rtmp}; max_connections 8000; daemon off; pid srs.pid;
        srs_log_tank console; srs_log_level error;
        http_server {{ enabled on; listen 127.0.0.1:{http}; }}
        vhost __defaultVhost__ {{
            tcp_nodelay on; min_latency on; play {{ mw_latency {round(1000 / load.rate)}; }}
            http_remux {{ enabled on; mount [vhost]/[app]/[stream].flv; }}
        }}
        """
    with _written({"srs.conf": settings}) as folder:
        command = [str(find("srs")), "-c", str(folder / "srs.conf")]
        with _fed(command, rtmp, "live/bench", load, folder) as pid:
            yield Server("SRS", pid, http, ["/live/bench.flv"], "http")


@contextmanager
def nginx_rtmp(load: Load) -> Iterator[Server]:
    """Run nginx with its RTMP module; its viewers play by RTMP."""
    rtmp = free_port()
    program, module = find("nginx", "/usr/sbin"), find("ngx_rtmp_module.so", *MODULES)
    settings = f"""
        daemon off; master_process off; pid nginx.pid; error_log stderr crit; load_module {module};
        events {{ worker_connections 16000; }}
        rtmp {{ server {{ listen 127.0.0.1:{rtmp}; chunk_size 65536; application live {{ live on; }} }} }}
        """
    with _written({"nginx.conf": settings}) as folder:
        command = [str(program), "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
        with _fed(command, rtmp, "live/bench", load) as pid:
            yield Server("nginx-rtmp", pid, rtmp, ["live/bench"], "rtmp")


PEERS = (
    Peer("go2rtc", "fMP4 by WebSocket (MSE), muxed for each viewer", ("25/s x 10 KiB", "10/s x 25 KiB"), go2rtc),
    Peer("Node ws", "the same messages", ("25/s x 10 KiB", "10/s x 25 KiB", "4/s x 62 KiB"), node_ws),
    Peer("websockets.broadcast", "the same messages", ("25/s x 10 KiB", "10/s x 25 KiB"), websockets_broadcast),
    Peer("nginx-rtmp", "RTMP, a frame at a time", ("25/s x 10 KiB",), nginx_rtmp),
    Peer("MediaMTX", "RTMP, a frame at a time: it has no fMP4 that is pushed", ("25/s x 10 KiB",), mediamtx),
    Peer("SRS", "HTTP-FLV, merged writes", ("10/s x 25 KiB",), srs),
)


# -- running and feeding -----------------------------------------------------------------------------------------------


@contextmanager
def _written(files: dict[str, str]) -> Iterator[Path]:
    """Write configuration into a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="headrace-peer-") as name:
        for file, text in files.items():
            (Path(name) / file).write_text(text)
        yield Path(name)


@contextmanager
def _fed(command: Sequence[str], rtmp: int, path: str, load: Load, folder: Path | None = None) -> Iterator[int]:
    """Run a server and push the feed of `load` to it by RTMP; gives its process id."""
    with _running([*pinned(SERVER_CORE), *UNLIMITED, *command], folder) as server:
        _wait_for(rtmp, server)
        push = ["ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(clip(load)), "-c", "copy", "-f", "flv"]
        with _running([*pinned(LOAD_CORE), *push, f"rtmp://127.0.0.1:{rtmp}/{path}"], None) as pushing:
            time.sleep(FEED_SECONDS)
            if pushing.poll() is not None or server.poll() is not None:
                raise Absent(f"{Path(command[0]).name} does not take the feed")
            yield server.pid


@contextmanager
def _running(command: Sequence[str], folder: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=folder) as process:
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise Absent(f"{server.args!r} does not listen")


def clip(load: Load) -> Path:
    """Return a picture of `load.rate` frames a second of about `load.video` bytes each, encoded now if it is not there.

    Filler makes every frame the same size, whatever is in it; a key frame comes each second.

    Raises:
        Absent: when ffmpeg cannot make it.
    """
    file = PROGRAMS / f"feed-{load.rate:g}-{load.video}.flv"
    if file.exists():
        return file.resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    kilobits = load.rate * load.video * 8 / 1000
    rate = f"bitrate={kilobits:.0f}:vbv-maxrate={kilobits:.0f}:vbv-bufsize={2 * kilobits / load.rate:.0f}:nal-hrd=cbr"
    source = f"testsrc2=size=640x360:rate={load.rate:g}"
    encoder = ["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-b:v", f"{kilobits:.0f}k"]
    options = f"keyint={max(1, round(load.rate))}:scenecut=0:{rate}"
    command = ["ffmpeg", "-y", "-v", "error", "-f", "lavfi", "-i", source, "-t", str(CLIP_SECONDS), *encoder]
    making = file.with_suffix(".making.flv")
    if shutil.which("ffmpeg") is None:
        raise Absent("ffmpeg is not in PATH, so there is no feed")
    done = subprocess.run([*command, "-x264-params", options, "-f", "flv", str(making)], check=False)
    if done.returncode:
        raise Absent("ffmpeg cannot make the feed")
    making.rename(file)
    return file.resolve()
