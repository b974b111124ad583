"""What packaging costs: PyAV's demuxer and our packager against `ffmpeg -c copy` doing the same to the same media.

    python tests/bench/packager.py --json build/packager.json

Two questions, each answered by pairs of runs, with the median of the pairs' ratios as the answer:

- **live**: streams arrive in real time over TCP on this machine, frame by frame as a camera sends them (FLV, 2 Mbit/s
  of H.264 with 25 frames a second, AAC), and leave as fragments of 100 ms for /dev/null. Ours is one process with a
  thread for each stream, as ingress has them; ffmpeg is one process for each. Both run in the same seconds, so that
  what else the machine does, and how fast it happens to be, is the same for both; together they take a few hundredths
  of a core. CPU is the growth of all threads' time in /proc/<pid>/task/*/schedstat between two moments after everything
  runs, so start-up is in neither. With sound, as cameras with a microphone send it, and with video alone.
- **file**: the same media, much longer, as fast as it can be read. Here ours counts from after the opening to the end
  (its own CPU clock), and ffmpeg is charged the child's rusage for the long file minus that for a short one.

Beside them, of ours live: from the moment the last frame of a chunk was handed to the kernel by the sender until the
chunk was there (`latency`). ffmpeg's own is not measured; its muxer keeps back the last frame until the next one comes.

What is measured live is mostly waking up, on caches that others used in between: ffmpeg wakes for each packet, seventy
times a second for each stream with sound, ours for each chunk and little more. From a file caches are warm, and what
remains is PyAV's and our own work for each frame against C's.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from headrace.identifiers import Epoch
from headrace.media.headers import TrackReader
from headrace.media.packager import EpochStart, Packager, PackagerOptions
from headrace_ingress.resting import Rest

CLIP_SECONDS = 8
"""Encoded once and repeated: 25 frames a second and 48 kHz AAC both come out even."""
SHORT_SECONDS = 8
LONG_SECONDS = 1200

PROBE = {"fflags": "nobuffer", "analyzeduration": "200000", "probesize": "50000"}
FRAGMENTS = (
    *("-f", "mp4", "-movflags", "empty_moov+default_base_moof+separate_moof+cmaf"),
    *("-frag_duration", "100000", "-write_prft", "wallclock"),
)
"""What we write: a moof for each track, about ten a second, with the producer's clock."""

STAGGER_SECONDS = 0.05
"""Between the starts of streams: cameras do not send in step."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure.

    Attributes:
        streams: how many run side by side in the live trials: few and many, for the more there are, the less each
            finds the caches cold.
        pairs: of trials.
        warm_seconds: before a live trial counts.
        live_seconds: that a live trial counts.
        file_seconds: of media in a trial from a file.
    """

    streams: tuple[int, ...] = (8, 32)
    pairs: int = 5
    warm_seconds: float = 4.0
    live_seconds: float = 8.0
    file_seconds: int = LONG_SECONDS


QUICK = Plan(streams=(8,), pairs=3, warm_seconds=3.0, live_seconds=4.0, file_seconds=400)


def measure(plan: Plan) -> list[dict[str, Any]]:
    """Return a row of figures for each number of live streams, and one for a file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = make_clip()
        write_flv(folder / "long.flv", clip, plan.file_seconds)
        write_flv(folder / "short.flv", clip, SHORT_SECONDS)
        pictures = [(number, packet) for number, packet in clip if number == 0]
        live = [
            compare_live(media, what, plan, streams)
            for what, media in (("with sound", clip), ("video alone", pictures))
            for streams in plan.streams
        ]
        return [*live, compare_file(folder, plan)]


# -- the media ----------------------------------------------------------------------------------------------------


def make_clip() -> list[tuple[int, av.Packet[Any]]]:
    """Encode a clip that can be repeated; return its packets with the number of their stream, in order."""
    container = av.open(io.BytesIO(), "w", format="flv")
    rate = {"b": "1900k", "maxrate": "1900k", "bufsize": "950k", "g": "50", "tune": "zerolatency"}
    video: Any = container.add_stream("libx264", rate=25, options={**rate, "preset": "ultrafast"})
    video.width, video.height, video.pix_fmt = 640, 360, "yuv420p"
    audio: Any = container.add_stream("aac", rate=48_000, options={"b": "96k"})
    audio.layout = "stereo"
    container.start_encoding()
    packets: list[tuple[int, av.Packet[Any]]] = []
    for number, (stream, graph) in enumerate(
        (
            (video, f"testsrc2=size=640x360:rate=25:duration={CLIP_SECONDS},noise=alls=30:allf=t,format=yuv420p"),
            (audio, f"anoisesrc=r=48000:a=0.3:duration={CLIP_SECONDS}"),
        )
    ):
        packets += [(number, packet) for packet in _encode(stream, graph)]
    return sorted(packets, key=lambda entry: float(entry[1].dts or 0) * float(entry[1].time_base))


def _encode(stream: Any, graph: str) -> Iterator[av.Packet[Any]]:
    frame: Any
    with av.open(graph, format="lavfi") as source:
        for frame in source.decode(source.streams[0]):
            if stream.type == "video":
                frame.pict_type = 0
            yield from stream.encode(frame)


def flv(clip: Sequence[tuple[int, av.Packet[Any]]], seconds: int) -> bytes:
    """Return an FLV of the clip, repeated for `seconds`."""
    file = io.BytesIO()
    with av.open(file, "w", format="flv", options={"flvflags": "no_duration_filesize"}) as out:
        streams = [out.add_stream_from_template(packet.stream) for packet in _first_of_each(clip)]
        for turn in range(-(-seconds // CLIP_SECONDS)):
            for number, packet in clip:
                copy: Any = av.Packet(bytes(packet))
                shift = int(turn * CLIP_SECONDS / packet.time_base)
                copy.pts, copy.dts = (packet.pts or 0) + shift, (packet.dts or 0) + shift
                copy.time_base, copy.is_keyframe = packet.time_base, packet.is_keyframe
                copy.stream = streams[number]
                out.mux(copy)
    return file.getvalue()


def _first_of_each(clip: Sequence[tuple[int, av.Packet[Any]]]) -> list[av.Packet[Any]]:
    first: dict[int, av.Packet[Any]] = {}
    for number, packet in clip:
        first.setdefault(number, packet)
    return [first[number] for number in sorted(first)]


def write_flv(path: Path, clip: Sequence[tuple[int, av.Packet[Any]]], seconds: int) -> None:
    path.write_bytes(flv(clip, seconds))


def tags(data: bytes) -> Iterator[tuple[float, bytes]]:
    """Yield the tags of an FLV with their times in seconds (Adobe Flash Video File Format, annex E.4)."""
    at = 13
    yield 0.0, data[:at]
    while at + 11 <= len(data):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        milliseconds = int.from_bytes(data[at + 4 : at + 7], "big") | data[at + 7] << 24
        yield milliseconds / 1000, data[at : at + 15 + size]
        at += 15 + size


class Sender:
    """Sends an FLV at live speed to whoever connects; a context manager.

    Attributes:
        url: where to connect.
        sent: when video was handed to the kernel, by `time.monotonic`, for each connection and time in the FLV.
    """

    def __init__(self, media: list[tuple[float, bytes]]) -> None:
        self._media = media
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent: list[dict[int, float]] = []

    def __enter__(self) -> Sender:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._send, args=(connection,), daemon=True).start()

    def _send(self, connection: socket.socket) -> None:
        sent: dict[int, float] = {}
        self.sent.append(sent)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begin = time.monotonic()
        with connection:
            try:
                for due, data in self._media:
                    time.sleep(max(0.0, begin + due - time.monotonic()))
                    connection.sendall(data)
                    if data[0] == 9:
                        sent[round(due * 1000)] = time.monotonic()
            except OSError:
                return


# -- live ---------------------------------------------------------------------------------------------------------


def compare_live(clip: Sequence[tuple[int, av.Packet[Any]]], what: str, plan: Plan, streams: int) -> dict[str, Any]:
    seconds = int(plan.warm_seconds + plan.live_seconds + 2 * streams * STAGGER_SECONDS) + 12
    with Sender(list(tags(flv(clip, seconds)))) as sender:
        pairs = [_live_pair(sender, plan, streams) for _ in range(plan.pairs)]
    latencies = sorted(latency for pair in pairs for latency in pair[2])
    return {
        "name": f"packager live, {streams} streams of 2 Mbit/s {what}, chunks of 100 ms",
        **_compare([(ours, ffmpeg) for ours, ffmpeg, _ in pairs]),
        "latency_p50_ms": round(1000 * statistics.median(latencies), 3) if latencies else None,
        "latency_p99_ms": round(1000 * latencies[len(latencies) * 99 // 100], 3) if latencies else None,
        "frames_held_back": 0,
    }


def _compare(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return the figures of pairs of ours and ffmpeg's, milliseconds of CPU per second of one stream."""
    ratios = [ours / ffmpeg for ours, ffmpeg in pairs]
    return {
        "ours_ms_per_second": round(statistics.median(ours for ours, _ in pairs), 3),
        "ffmpeg_ms_per_second": round(statistics.median(ffmpeg for _, ffmpeg in pairs), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_of_minima": round(min(ours for ours, _ in pairs) / min(ffmpeg for _, ffmpeg in pairs), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def _live_pair(sender: Sender, plan: Plan, streams: int) -> tuple[float, float, list[float]]:
    """Return milliseconds of CPU per second and stream, ours and ffmpeg's, and our latencies in seconds."""
    before = len(sender.sent)
    ours_command = [sys.executable, __file__, "--live", sender.url, str(streams)]
    with started(ours_command, stdout=subprocess.PIPE) as ours:
        time.sleep(streams * STAGGER_SECONDS)
        _wait_until(lambda: len(sender.sent) == before + streams)
        with _ffmpegs(sender.url, streams) as children:
            time.sleep(plan.warm_seconds)
            cost = _live_costs([[ours], children], plan, streams)
        ours.terminate()
        told, _ = ours.communicate(timeout=10)
    latencies = []
    for line in told.decode().splitlines():
        stream, milliseconds, moment = line.split()
        # Threads connect one after the other, so connections are in the order of the streams.
        handed = sender.sent[before + int(stream)].get(int(milliseconds))
        if handed is not None:
            latencies.append(float(moment) - handed)
    return cost[0], cost[1], latencies


@contextmanager
def _ffmpegs(url: str, streams: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    inputs = [word for name, value in PROBE.items() for word in (f"-{name}", value)]
    command = [_ffmpeg(), "-v", "error", "-nostdin", "-y", *inputs, "-i", url, "-c", "copy", *FRAGMENTS, os.devnull]
    with ExitStack() as stack:
        children = []
        for _ in range(streams):
            children.append(stack.enter_context(started(command)))
            time.sleep(STAGGER_SECONDS)
        yield children


def _live_costs(groups: Sequence[Sequence[subprocess.Popen[bytes]]], plan: Plan, streams: int) -> list[float]:
    """Return the milliseconds of CPU per second and stream that each group of programs takes in the same seconds."""
    began, before = time.monotonic(), [_group_seconds(group) for group in groups]
    time.sleep(plan.live_seconds)
    spent = [_group_seconds(group) - start for group, start in zip(groups, before, strict=True)]
    lasted = time.monotonic() - began
    if any(child.poll() is not None for group in groups for child in group):
        raise RuntimeError("a program under measurement ended too early")
    return [1000 * seconds / lasted / streams for seconds in spent]


def _group_seconds(group: Sequence[subprocess.Popen[bytes]]) -> float:
    return sum(cpu_seconds(child.pid) for child in group)


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the program under measurement did not connect within 30 s")
        time.sleep(0.01)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all living threads of a process (Documentation/scheduler/sched-stats.rst)."""
    stats = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in stats) / 1e9


def run_live(url: str, streams: int) -> None:
    """Be the process that is measured: package streams until killed, then tell when video chunks were there."""
    moments: list[tuple[int, int, float]] = []

    def read(number: int) -> None:
        with av.open(url, options=PROBE) as source, open(os.devnull, "wb", buffering=0) as sink:
            readers, packager = _prepare(source)
            rest, began = Rest(), time.monotonic()
            for packet in source.demux():
                if packet.dts is None:
                    return
                now = time.monotonic()
                sample = readers[packet.stream_index].sample(packet, time.time_ns() // 1000)
                if chunks := packager.push(sample):
                    for chunk in chunks:
                        sink.write(chunk.record)
                    if sample.track == 1:
                        moments.append((number, packet.dts, time.monotonic()))
                    outlook = packager.outlook
                    if outlook and (seconds := rest.seconds(*outlook, now - began, now)):
                        time.sleep(seconds)
                began = time.monotonic()

    for number in range(streams):
        threading.Thread(target=read, args=(number,), daemon=True).start()
        time.sleep(STAGGER_SECONDS)
    _wait_for_term()
    sys.stdout.write("".join(f"{number} {dts} {moment}\n" for number, dts, moment in moments))
    sys.stdout.flush()
    os._exit(0)


def _wait_for_term() -> None:
    import signal

    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    done.wait()


def _prepare(source: Any) -> tuple[list[TrackReader], Packager]:
    options = PackagerOptions()
    readers = [TrackReader(stream, stream.index + 1, options) for stream in source.streams]
    return readers, Packager(tuple(reader.track for reader in readers), EpochStart(Epoch(1), 1, 0.0), options)


# -- file ---------------------------------------------------------------------------------------------------------


def compare_file(folder: Path, plan: Plan) -> dict[str, Any]:
    pairs = [_file_pair(folder, plan) for _ in range(plan.pairs)]
    return {"name": "packager from a file at full speed, chunks of 100 ms", **_compare(pairs)}


def _file_pair(folder: Path, plan: Plan) -> tuple[float, float]:
    """Return milliseconds of CPU per second of media, ours and ffmpeg's."""
    ours = subprocess.run(
        [sys.executable, __file__, "--file", str(folder / "long.flv")], check=True, capture_output=True
    )
    long, short = (_ffmpeg_cpu(folder / name) for name in ("long.flv", "short.flv"))
    return (
        1000 * float(ours.stdout) / plan.file_seconds,
        1000 * (long - short) / (plan.file_seconds - SHORT_SECONDS),
    )


def _ffmpeg_cpu(path: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [_ffmpeg(), "-v", "error", "-nostdin", "-y", "-i", str(path), "-c", "copy", *FRAGMENTS, os.devnull], check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_file(path: str) -> None:
    """Be the process that is measured: package a file and tell the CPU seconds that took."""
    with av.open(path) as source, open(os.devnull, "wb", buffering=0) as sink:
        readers, packager = _prepare(source)
        begin = time.process_time()
        for packet in source.demux():
            if packet.dts is None:
                break
            for chunk in packager.push(readers[packet.stream_index].sample(packet, 1_763_600_000_000_000)):
                sink.write(chunk.record)
        sys.stdout.write(str(time.process_time() - begin))


# -- the program --------------------------------------------------------------------------------------------------


@contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of the block."""
    child = subprocess.Popen(command, **options)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def _ffmpeg() -> str:
    found = shutil.which("ffmpeg")
    if found is None:
        raise RuntimeError("ffmpeg is not installed, and the packager is measured against it")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the packager against ffmpeg -c copy.")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="shorter and rougher")
    parser.add_argument("--live", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.live:
        run_live(arguments.live[0], int(arguments.live[1]))
    elif arguments.file:
        run_file(arguments.file)
    else:
        text = json.dumps(measure(QUICK if arguments.quick else Plan()), indent=2)
        print(text)
        if arguments.json:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
