"""Media files at live speed."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import av
import pytest

from headrace.clock import SystemClock
from headrace.errors import ConfigurationError
from headrace.registry.feed_uri import parse_uri
from headrace.service.runtime import Runtime
from headrace.service.settings import Settings
from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from headrace_ingress.app import build
from headrace_ingress.file import resolve_file
from headrace_ingress.source import SourceBroken
from integration.ingress.clips import RATE, SECONDS, make_clip
from integration.ingress.rig import feeding


@pytest.mark.parametrize(
    ("name", "video", "audio", "codecs"),
    [
        ("clip.mp4", "libx264", "aac", ["avc1", "mp4a.40.2"]),
        ("clip.mkv", "libx264", "libopus", ["avc1", "opus"]),
        ("clip.ts", "libx264", "aac", ["avc1", "mp4a.40.2"]),
        ("clip.mp4", "libx265", "", ["hvc1"]),
        ("clip.mp4", "", "aac", ["mp4a.40.2"]),
    ],
)
async def test_a_file_loops_without_a_seam(
    tmp_path: Path, name: str, video: str, audio: str, codecs: list[str]
) -> None:
    """Over several loops there is one epoch, decode times go on to the tick, and time passes as fast as the clock."""
    path = make_clip(tmp_path / name, video=video, audio=audio)
    clock = SystemClock()
    begun = clock.monotonic()
    async with feeding(f"file:{path}") as watched:
        await watched.live(4 * SECONDS)
        passed = clock.monotonic() - begun
        assert len(watched.opened) == 1
        assert [codec.split(".64")[0].partition(".")[0] for codec in watched.codecs] == [
            codec.partition(".")[0] for codec in codecs
        ]
    watched.check()
    assert watched.seconds() < passed + 1.0
    assert watched.states[:2] == [StreamState.INTERRUPTED, StreamState.LIVE]


@pytest.mark.parametrize(
    ("name", "video", "audio", "codecs"),
    [
        ("clip.avi", "rawvideo", "pcm_s16le", ["avc1", "mp4a"]),
        ("clip.mkv", "rawvideo", "aac", ["avc1", "mp4a"]),
        ("clip.y4m", "wrapped_avframe", "", ["avc1"]),
        ("clip.avi", "mjpeg", "pcm_mulaw", ["avc1", "mp4a"]),
        ("clip.mkv", "libx264", "pcm_s16le", ["avc1", "mp4a"]),
        ("clip.wav", "", "pcm_s16le", ["mp4a"]),
    ],
)
async def test_what_is_raw_is_encoded(tmp_path: Path, name: str, video: str, audio: str, codecs: list[str]) -> None:
    """It loops in one epoch without a seam, as H.264 whose pictures come in the order they are shown, and AAC."""
    path = make_clip(tmp_path / name, video=video, audio=audio)
    async with feeding(f"file:{path}") as watched:
        await watched.live(3 * SECONDS)
        assert [codec.partition(".")[0] for codec in watched.codecs] == codecs
        assert len(watched.opened) == 1
    watched.check()
    with av.open(io.BytesIO(watched.file()), "r") as container:
        packets = [packet for packet in container.demux() if packet.size]
    if video != "libx264":
        assert all(packet.pts == packet.dts for packet in packets)
    with av.open(io.BytesIO(watched.file()), "r") as container:
        frames = [frame for packet in container.demux() for frame in packet.decode()]
    assert len(frames) > 0.9 * len(packets)


async def test_pictures_keep_their_order_over_loops(tmp_path: Path) -> None:
    """Reordered pictures of a looped file decode without an error, in a steady rhythm."""
    path = make_clip(tmp_path / "clip.mp4", audio="")
    async with feeding(f"file:{path}") as watched:
        await watched.live(3 * SECONDS)
    with av.open(io.BytesIO(watched.file()), "r") as container:
        # Of the last pictures some were not read yet.
        times = [frame.time or 0.0 for frame in container.decode(video=0)][:-4]
    assert len(times) > 2 * SECONDS * RATE
    assert {round(two - one, 3) for one, two in itertools.pairwise(times)} == {0.04}


async def test_a_file_that_is_played_once_ends_its_stream(tmp_path: Path) -> None:
    """All of it is played, the last segment is closed, and the stream is ended."""
    path = make_clip(tmp_path / "clip.mp4")
    async with feeding(f"file:{path}?loop=no") as watched:
        await wait_until(lambda: watched.state is StreamState.ENDED, 20)
        assert sum(chunk.samples for chunk in watched.chunks()) == round(SECONDS * RATE)
        assert watched.chunks(1)[-1].ends_segment
        assert watched.chunks(2)[-1].ends_segment
    watched.check()


async def test_other_headers_in_a_file_are_a_new_epoch(tmp_path: Path) -> None:
    """Where the picture changes its size, a new epoch begins whose header has the new one."""
    parts = [make_clip(tmp_path / f"{width}.ts", (width, 180)) for width in (320, 480)]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    async with feeding(f"file:{path}") as watched:
        await wait_until(lambda: len(watched.opened) == 3, 20)
    watched.check()
    assert [opened.tracks[0].width for opened in watched.opened] == [320, 480, 320]
    assert len(set(watched.states)) == 2


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "no such file"), (b"", "no media"), (b"not media\n" * 100, "no media")]
)
async def test_a_file_that_cannot_be_played_says_why(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """A missing, empty or wrong file leaves the stream interrupted; the feed is tried again and goes live later."""
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    async with feeding(f"file:{path}") as watched:
        await watched.interrupted(reason)
        assert str(tmp_path) not in watched.reason
        make_clip(tmp_path / "new.mp4").rename(path)
        await watched.live()


async def test_an_unsupported_codec_is_named(tmp_path: Path) -> None:
    """A file whose only track cannot be carried says which codec that is and what could be."""
    path = make_clip(tmp_path / "clip.avi", video="mpeg4", audio="")
    async with feeding(f"file:{path}") as watched:
        await watched.interrupted("mpeg4")
        assert "H.264" in watched.reason


async def test_unsupported_sound_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Video goes on without sound that cannot be carried."""
    path = make_clip(tmp_path / "clip.mkv", audio="mp2")
    async with feeding(f"file:{path}") as watched:
        await watched.live()
        assert len(watched.broadcast.tracks) == 1
    assert capsys.readouterr().out.count("mp2") == 1


def test_untrusted_files_lie_below_the_roots(tmp_path: Path) -> None:
    """What the operator did not name is read below the roots only, wherever links lead, and tells nothing else."""
    root, outside = tmp_path / "media", tmp_path / "secret.mp4"
    (root / "deep").mkdir(parents=True)
    outside.write_bytes(b"x")
    inside = root / "deep" / "clip.mp4"
    inside.write_bytes(b"x")
    (root / "link.mp4").symlink_to(outside)
    (root / "good.mp4").symlink_to(inside)

    def resolve(path: Path, trusted: bool = False) -> Path:
        return resolve_file(parse_uri(f"file:{path}", trusted=trusted), [root])

    assert resolve(inside) == resolve(root / "good.mp4") == inside.resolve()
    assert resolve(outside, trusted=True) == outside.resolve()
    refusals = set()
    for path in (outside, root / "link.mp4", root / "deep" / ".." / ".." / "secret.mp4", root / "none.mp4", root):
        with pytest.raises(SourceBroken) as refused:
            resolve(path)
        refusals.add(str(refused.value))
    assert len(refusals) == 1


def test_a_wrong_uri_is_a_configuration_error() -> None:
    """Every URI that is not allowed is named with its setting, without credentials, before anything starts."""
    sources = {"cam1": "ftp://operator:secret@192.0.2.7/", "cam2": "test:", "cam3": "rtsp://operator:secret@/x"}
    settings = Settings.model_validate({"ingress": {"sources": sources}})
    with pytest.raises(ConfigurationError) as refused:
        build(settings, Runtime("node", "ingress"))  # type: ignore[arg-type]
    lines = str(refused.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["ingress.sources.cam1.uri", "ingress.sources.cam3.uri"]
    assert "secret" not in str(refused.value)
