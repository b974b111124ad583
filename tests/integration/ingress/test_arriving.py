"""What a publisher sends as the reader takes it, out of a real pipe and without a door."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from pathlib import Path

import pytest

from headrace.clock import SystemClock
from headrace.media.samples import PackagerOptions
from headrace_ingress import arriving
from headrace_ingress.arriving import Arrivals, PublishedSource
from headrace_ingress.source import SourceBroken

PACKET_BYTES = 188
GOP_SECONDS = 4


def make_stream(path: Path) -> bytes:
    """Return eight seconds of MPEG-TS in two GOPs."""
    command = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=25", "-f", "lavfi"]
    command += ["-i", "sine=sample_rate=48000", "-t", str(2 * GOP_SECONDS), "-c:v", "libx264", "-preset", "ultrafast"]
    command += ["-g", str(25 * GOP_SECONDS), "-keyint_min", "25", "-sc_threshold", "0", "-bf", "0", "-c:a", "aac"]
    subprocess.run([*command, str(path)], check=True, timeout=60)
    return path.read_bytes()


def publish(data: bytes) -> PublishedSource:
    """Return a source that reads a publisher of these bytes, which then leaves."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as file:
            file.write(data)

    threading.Thread(target=write, name="publisher", daemon=True).start()
    arrivals = Arrivals()
    arrivals.add("mpegts", reading)
    arrivals.end()
    return PublishedSource(arrivals, PackagerOptions(), 5.0, SystemClock(), threading.Event())


def test_a_publisher_that_begins_in_the_middle_of_a_gop(tmp_path: Path) -> None:
    """Its tracks are known with the next keyframe, which is waited for, and what follows is carried."""
    whole = make_stream(tmp_path / "clip.ts")
    begin = len(whole) // 8 // PACKET_BYTES * PACKET_BYTES
    source = publish(whole[begin:])
    notes: list[str] = []
    source.open(notes.append)
    assert [track.codec.partition(".")[0] for track in source.tracks] == ["avc1", "mp4a"]
    ticks = {1: 0, 2: 0}
    with pytest.raises(SourceBroken, match="its publisher left"):
        while True:
            for sample in source.read():
                ticks[sample.track] += sample.duration
    source.close()
    # With what libav looked at before the keyframe, half a second at most.
    assert GOP_SECONDS - 1 < ticks[1] / source.tracks[0].timescale <= GOP_SECONDS + 0.6
    assert not notes


def test_one_without_any_keyframe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is sent away in the end, with the reason."""
    monkeypatch.setattr(arriving, "KEYFRAME_SECONDS", 0.0)
    whole = make_stream(tmp_path / "clip.ts")
    source = publish(whole[len(whole) // 8 // PACKET_BYTES * PACKET_BYTES :])
    with pytest.raises(SourceBroken, match="did not tell the configuration of its h264 stream"):
        source.open(lambda text: None)
    source.close()
