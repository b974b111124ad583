"""Raw media on their way into an encoder."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from headrace.media.samples import PackagerOptions, Sample
from headrace_ingress.source import SourceBroken
from headrace_ingress.transcode import JUMP_SECONDS, LATE_MAX_SECONDS, EncodedFeed, Lateness, is_encoded

RATE = 25


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def write(path: Path, size: tuple[int, int], frames: int, pix_fmt: str = "yuv420p", codec: str = "rawvideo") -> Path:
    """Write a file of raw pictures."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        for number in range(frames):
            frame = av.VideoFrame(*size, pix_fmt)
            for plane in frame.planes:
                plane.update(bytes([16 + number % 200]) * plane.buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def encode(path: Path, notes: list[str], late: set[int] | None = None) -> tuple[EncodedFeed, list[Sample]]:
    """Encode the first video of a file; the pictures of these numbers come late."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        feed = EncodedFeed(stream, 1, PackagerOptions(), notes.append)
        hands = Hands()
        feed._lateness = Lateness(hands)
        samples: list[Sample] = []
        for number, packet in enumerate(packet for packet in container.demux(stream) if packet.size):
            hands.now = 1000.0 + number / RATE + (LATE_MAX_SECONDS + 0.1 if number in (late or set()) else 0.0)
            samples += feed.push(packet)
        return feed, samples + feed.flush()


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuyv422", "bgr24", "gray"])
def test_pictures_come_out_at_once(tmp_path: Path, pix_fmt: str) -> None:
    """Each picture is a sample with its own time, decoded when shown; the first is a keyframe and then one a second."""
    feed, samples = encode(write(tmp_path / "clip.avi", (160, 120), 60, pix_fmt), [])
    assert len(samples) == 60
    assert all(sample.pts == sample.dts for sample in samples)
    assert [number for number, sample in enumerate(samples) if sample.keyframe] == [0, 25, 50]
    assert {sample.duration for sample in samples} == {feed.track.timescale // RATE}


def test_odd_pictures_are_made_even(tmp_path: Path) -> None:
    """H.264 in 4:2:0 has no odd sizes."""
    feed, samples = encode(write(tmp_path / "clip.avi", (161, 121), 5, "bgr24"), [])
    assert (feed.track.width, feed.track.height) == (160, 120)
    assert len(samples) == 5


def test_intra_pictures_are_no_keyframes(tmp_path: Path) -> None:
    """Motion JPEG has keyframes only; what is made of it has one a second."""
    feed, samples = encode(write(tmp_path / "clip.avi", (160, 120), 50, "yuvj420p", "mjpeg"), [])
    assert feed.is_video
    assert sum(sample.keyframe for sample in samples) == 2


def test_late_pictures_are_dropped_and_told(tmp_path: Path) -> None:
    """They never reach the encoder, and those after them keep their times."""
    notes: list[str] = []
    _, samples = encode(write(tmp_path / "clip.avi", (160, 120), 50), notes, late=set(range(10, 20)))
    times = [sample.pts * RATE // 90_000 for sample in samples]
    assert times == [*range(10), *range(20, 50)]
    assert set(notes) == {"pictures are dropped: this machine cannot encode them as fast as they come"}


def test_too_large_pictures_are_refused(tmp_path: Path) -> None:
    """In words that say how large."""
    path = write(tmp_path / "clip.avi", (4200, 16), 1)
    with pytest.raises(SourceBroken, match="4200x16"):
        encode(path, [])


def test_lateness_forgets_at_a_seam() -> None:
    """A jump of media time is no lateness; what comes early sets the pace."""
    hands = Hands()
    lateness = Lateness(hands)
    assert not lateness.is_late(10.0)
    hands.now += 1.0
    assert lateness.is_late(10.2)
    assert not lateness.is_late(11.0)
    assert not lateness.is_late(11.4)
    hands.now += 1.0
    assert lateness.is_late(11.6)
    assert not lateness.is_late(11.6 - JUMP_SECONDS - 1)
    assert not lateness.is_late(11.7 - JUMP_SECONDS - 1)


@pytest.mark.parametrize(("codec", "raw"), [("rawvideo", True), ("mjpeg", True), ("pcm_alaw", True), ("vp8", False)])
def test_what_is_encoded(codec: str, raw: bool) -> None:
    """Raw and nearly raw media only: everything else is carried as it is or refused."""
    assert is_encoded(codec) is raw
