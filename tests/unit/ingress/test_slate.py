"""The slate as a source, and its picture."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from headrace.clock import SystemClock
from headrace.identifiers import Epoch
from headrace.media.boxes import combine_headers
from headrace.media.packager import Packager
from headrace.media.samples import EpochStart, PackagerOptions, Sample
from headrace.wire.stream import Track
from headrace_ingress.picture import FILE_MAX_BYTES, PAPER, SIDE_MAX, BadPicture, draw_no_signal, load_picture
from headrace_ingress.picture import picture_size as size_of
from headrace_ingress.slate import BUILT_IN, GOP_PICTURES, SIZE_DEFAULT, Slate, SlateSource
from headrace_ingress.source import SourceBroken

VIDEO = Track(track=1, kind="video", codec="hvc1.1.6.L93", timescale=90_000, header=b"x", width=426, height=241)
OPUS = Track(track=2, kind="audio", codec="opus", timescale=48_000, header=b"y", sample_rate=48_000, channels=2)
AAC = Track(track=2, kind="audio", codec="mp4a.40.2", timescale=44_100, header=b"y", sample_rate=44_100, channels=1)
MP3 = Track(track=3, kind="audio", codec="mp4a.6b", timescale=44_100, header=b"y", sample_rate=44_100, channels=2)


class Hurried(SystemClock):
    """A clock that the slate's waits move on: a second of it takes no time."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def utc(self) -> float:
        return 1_763_600_000 + self.now


class Waits(threading.Event):
    """Ends waits at once, and moves a clock on by as much."""

    def __init__(self, clock: Hurried) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.now += timeout or 0.0
        return self.is_set()


def opened(*tracks: Track, picture: str = BUILT_IN) -> tuple[SlateSource, Hurried]:
    """Return a slate that plays."""
    clock = Hurried()
    source = SlateSource(Slate(picture, tracks), PackagerOptions(), clock, Waits(clock))
    source.open(lambda note: None)
    return source, clock


def read(source: SlateSource, times: int) -> list[Sample]:
    return [sample for _ in range(times) for sample in source.read()]


def of(track: int, samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.track == track]


def test_pictures_come_regularly() -> None:
    """Ten a second, a keyframe each two seconds, the others a few bytes."""
    source, clock = opened(VIDEO)
    begun = clock.now
    pictures = of(1, read(source, 50))
    assert clock.now - begun == pytest.approx(4.9)
    assert {two.dts - one.dts for one, two in itertools.pairwise(pictures)} == {9000}
    assert [index for index, sample in enumerate(pictures) if sample.keyframe] == [0, GOP_PICTURES, 2 * GOP_PICTURES]
    assert sum(len(sample.data) for sample in pictures if not sample.keyframe) < 20_000
    assert [track.kind for track in source.tracks] == ["video"]
    assert (source.tracks[0].width, source.tracks[0].height) == (426, 240)


@pytest.mark.parametrize(
    ("sound", "codec", "timescale", "frame"),
    [(OPUS, "opus", 48_000, 960), (AAC, "mp4a.40.2", 44_100, 1024), (MP3, "mp4a.40.2", 48_000, 1024)],
)
def test_silence_as_the_feed_had_sound(sound: Track, codec: str, timescale: int, frame: int) -> None:
    """In its own codec and track where silence of it is known, else in AAC; as long as the picture."""
    source, _ = opened(VIDEO, sound)
    track = source.tracks[1]
    assert (track.track, track.codec, track.timescale) == (sound.track, codec, timescale)
    assert (track is sound) == (sound is not MP3)
    sounds = of(sound.track, read(source, 40))
    assert {two.dts - one.dts for one, two in itertools.pairwise(sounds)} == {frame}
    assert {sample.duration for sample in sounds} == {frame}
    assert abs((sounds[-1].dts + frame) / timescale - 4.0) < frame / timescale


def test_it_is_decoded() -> None:
    """What the packager makes of it is a stream that libav decodes without a word, each picture of the same blue."""
    source, _ = opened(VIDEO, MP3)
    packager = Packager(source.tracks, EpochStart(Epoch(1), 1, 0.0), PackagerOptions())
    chunks = [chunk for sample in read(source, 45) for chunk in packager.push(sample)] + packager.finish()
    file = combine_headers([track.header for track in source.tracks]) + b"".join(bytes(one.media) for one in chunks)
    with av.open(io.BytesIO(file), "r") as container:
        pictures = list(container.decode(video=0))
    assert len(pictures) == 45
    for picture in (pictures[0], pictures[-1]):
        assert [bytes(plane)[5] for plane in picture.planes] == pytest.approx(list(PAPER), abs=6)
        assert picture.colorspace == 1
    with av.open(io.BytesIO(file), "r") as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == pytest.approx(4.5 * 48_000, abs=2048)


def test_a_time_that_was_slept_through_is_left_out() -> None:
    """Picture and silence begin anew where the clock is by then, with a keyframe."""
    source, clock = opened(VIDEO, OPUS)
    read(source, 5)
    clock.now += 60
    samples = read(source, 3)
    pictures, sounds = of(1, samples), of(2, samples)
    assert pictures[0].keyframe
    assert pictures[0].dts / 90_000 == pytest.approx(60.4, abs=0.2)
    assert sounds[0].dts / 48_000 == pytest.approx(60.4, abs=0.6)
    assert len(sounds) < 50


def test_it_stops() -> None:
    """A slate that is to end returns nothing from then on."""
    source, _ = opened(VIDEO)
    source._stopping.set()
    assert source.read() == []
    source.close()


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(0, 0, SIZE_DEFAULT), (8, 8, SIZE_DEFAULT), (8192, 4096, (4096, 2048)), (641, 361, (640, 360))],
)
def test_sizes(width: int, height: int, expected: tuple[int, int]) -> None:
    """Even, and no larger than is encoded."""
    track = Track(track=1, kind="video", codec="av01", timescale=90_000, header=b"x", width=width, height=height)
    source, _ = opened(track)
    assert (source.tracks[0].width, source.tracks[0].height) == expected


def test_a_picture_that_went_is_told() -> None:
    """The file was there when the program began."""
    with pytest.raises(SourceBroken, match="the slate's picture cannot be used: it cannot be read"):
        opened(VIDEO, picture="/nonexistent/slate.png")


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4) + height.to_bytes(4)


def jpeg(*segments: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments)


SOF = b"\xff\xc2\0\x11\x08\x01\x2c\x02\x58"
APP = b"\xff\xe0\0\x06\xff\xc0\xff\xc0"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(640, 360), (640, 360)),
        (jpeg(SOF), (600, 300)),
        (jpeg(APP, SOF), (600, 300)),
        (jpeg(APP, b"\xff\xff\xff", SOF), (600, 300)),
    ],
)
def test_sizes_are_read_from_headers(data: bytes, expected: tuple[int, int]) -> None:
    """Before anything is decoded."""
    assert size_of(data) == expected


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", png(1, 1)[:20], jpeg(), jpeg(APP), jpeg(APP, SOF[:-1]), jpeg(b"\xff")]
)
def test_what_is_no_picture(data: bytes) -> None:
    """It is refused, wherever it ends."""
    with pytest.raises(BadPicture, match="neither PNG nor JPEG"):
        size_of(data)


def test_large_files_are_not_read(tmp_path: Path) -> None:
    """Neither many bytes nor many pixels."""
    path = tmp_path / "large.png"
    path.write_bytes(png(SIDE_MAX + 1, 10))
    with pytest.raises(BadPicture, match=f"{SIDE_MAX + 1}x10"):
        load_picture(path)
    path.write_bytes(png(10, 10) + bytes(FILE_MAX_BYTES))
    with pytest.raises(BadPicture, match="more than 8 MiB"):
        load_picture(path)


@pytest.mark.parametrize("size", [(16, 16), (64, 16), (320, 180), (1280, 720)])
def test_the_built_in_picture(size: tuple[int, int]) -> None:
    """The words where they fit, on blue at every size."""
    frame = draw_no_signal(*size)
    luma = bytes(frame.planes[0])
    assert luma[0] == PAPER[0]
    assert (max(luma) > 150) == (size[0] >= 64)
