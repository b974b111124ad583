"""Real media: what libav's encoders make is carried as it is, and other programs read what comes out."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from headrace.media.boxes import find_box, media_timescale, read_boxes, sample_entry, track_id
from headrace.media.headers import HeaderChanged, TrackReader, UnsupportedTrack, is_carried
from headrace.media.packager import PackagerOptions
from headrace.wire.stream import check_tracks
from support.feeds import check_chunks
from support.media_files import UTC, Packaged, Recipe, make_file, package_file

QUIET = (("x265-params", "log-level=none"), ("preset", "ultrafast"))

RECIPES = {
    "h264": Recipe(options=(("tune", "zerolatency"), ("preset", "ultrafast"))),
    "h264-b-frames": Recipe(options=(("bf", "2"), ("preset", "veryfast"))),
    "h264-ts": Recipe(options=(("tune", "zerolatency"), ("preset", "ultrafast")), container="mpegts"),
    "h264-ts-b-frames": Recipe(options=(("bf", "2"), ("preset", "veryfast")), container="mpegts"),
    "h264-flv": Recipe(options=(("bf", "2"), ("preset", "veryfast")), container="flv"),
    "h265": Recipe(video="libx265", options=QUIET),
    "h265-ts": Recipe(video="libx265", options=QUIET, container="mpegts"),
    "opus": Recipe(audio="libopus", options=(("tune", "zerolatency"), ("preset", "ultrafast"))),
    "opus-alone": Recipe(video="", audio="libopus", container="matroska"),
    "aac-alone": Recipe(video="", container="adts"),
    "video-alone": Recipe(audio="", options=(("tune", "zerolatency"),)),
    "vp9": Recipe(
        video="libvpx-vp9", audio="libopus", container="webm", options=(("deadline", "realtime"), ("cpu-used", "8"))
    ),
}

CODECS = {
    "h264": ["avc1.42c00c", "mp4a.40.2"],
    "h264-b-frames": ["avc1.64000c", "mp4a.40.2"],
    "h264-ts": ["avc1.42c00c", "mp4a.40.2"],
    "h264-ts-b-frames": ["avc1.64000c", "mp4a.40.2"],
    "h264-flv": ["avc1.64000c", "mp4a.40.2"],
    "h265": ["hvc1.1.6.L60.90", "mp4a.40.2"],
    "h265-ts": ["hvc1.1.6.L60.90", "mp4a.40.2"],
    "opus": ["avc1.42c00c", "opus"],
    "opus-alone": ["opus"],
    "aac-alone": ["mp4a.40.2"],
    "video-alone": ["avc1.64000c"],
    "vp9": ["vp09.00.11.08", "opus"],
}


@pytest.fixture(scope="module", params=RECIPES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def file(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("media") / name, RECIPES[name])


@pytest.fixture(scope="module")
def packaged(file: Path) -> Packaged:
    return package_file(file)


def test_tracks_say_what_they_are(name: str, packaged: Packaged) -> None:
    """Codec string, timescale, size and rates come from the stream itself, and the header agrees with them."""
    check_tracks(packaged.tracks)
    assert [track.codec for track in packaged.tracks] == CODECS[name]
    for track in packaged.tracks:
        assert track_id(track.header) == track.track
        assert media_timescale(track.header) == track.timescale
        assert [box.type for box in read_boxes(track.header)] == ["ftyp", "moov"]
        assert b"elst" not in track.header
        if track.kind == "video":
            assert (track.width, track.height, track.frame_rate) == (320, 180, 25.0)
            assert (track.chunk_seconds, track.part_seconds) == pytest.approx((0.08, 0.48))
        else:
            assert (track.sample_rate, track.channels, track.timescale) == (48_000, 2, 48_000)
    entries = [sample_entry(track.header).type for track in packaged.tracks]
    assert all(entry in {"avc1", "hvc1", "vp09", "mp4a", "Opus"} for entry in entries)


def test_chunks_keep_the_promises(packaged: Packaged) -> None:
    """Numbers without holes, times without seams, media that says the same as the record."""
    renumbered = [chunk.id._replace(segment=chunk.id.segment - UTC + 100) for chunk in packaged.chunks]
    chunks = [_with_id(chunk, identity) for chunk, identity in zip(packaged.chunks, renumbered, strict=True)]
    check_chunks(chunks, packaged.tracks)


def _with_id(chunk: Any, identity: Any) -> Any:
    names = ("record", "flags", "decode_time", "duration", "part", "samples", "capture_us")
    return type(chunk)(id=identity, **{name: getattr(chunk, name) for name in names})


def test_samples_have_no_start_codes(packaged: Packaged) -> None:
    """Every sample of H.264 and H.265 is a row of length-prefixed units that ends where it ends."""
    video = {track.track for track in packaged.tracks if track.codec.startswith(("avc1", "hvc1"))}
    for sample in packaged.samples:
        if sample.track in video:
            at = 0
            while at < len(sample.data):
                at += 4 + int.from_bytes(sample.data[at : at + 4], "big")
            assert at == len(sample.data)


def test_libav_reads_every_sample_at_its_time(packaged: Packaged) -> None:
    """Each sample after a combined header is there, at the source's presentation time."""
    with av.open(io.BytesIO(packaged.file()), "r") as played:
        read: dict[int, list[int]] = {track.track: [] for track in packaged.tracks}
        for packet in played.demux():
            if packet.pts is not None and packet.size:
                read[packet.stream_index + 1].append(packet.pts)
    for track in packaged.tracks:
        given = [sample.pts for sample in packaged.samples if sample.track == track.track][-len(read[track.track]) :]
        shown = read[track.track]
        assert len(shown) >= 74
        # Sound is counted by its frames, so a source's rounding does not get through; pictures are shown to the tick.
        tolerance = 100 if track.kind == "audio" else 0
        expected = [time - given[0] for time in given]
        assert [time - shown[0] for time in shown] == pytest.approx(expected, abs=tolerance)
        assert abs(shown[0] / track.timescale - UTC) < 0.5


def test_libav_decodes_every_frame(packaged: Packaged) -> None:
    """Nothing is missing that decoding needs."""
    with av.open(io.BytesIO(packaged.file()), "r") as played:
        frames = sum(isinstance(frame, av.VideoFrame) for frame in played.decode())
    assert frames == sum(sample.track == 1 and packaged.tracks[0].kind == "video" for sample in packaged.samples)


def test_each_track_plays_alone(packaged: Packaged) -> None:
    """The same chunks follow the header of their own track, as HLS and DASH have them."""
    for track in packaged.tracks:
        with av.open(io.BytesIO(packaged.file(track.track)), "r") as played:
            packets = [packet for packet in played.demux() if packet.size]
        assert len(packets) == sum(chunk.samples for chunk in packaged.chunks if chunk.id.track == track.track)


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
def test_ffprobe_has_nothing_to_say(packaged: Packaged, tmp_path: Path) -> None:
    """Another libav reads the file without a complaint, decode times only grow, durations leave no hole."""
    path = tmp_path / "out.mp4"
    path.write_bytes(packaged.file())
    command = ["ffprobe", "-v", "warning", "-show_packets", "-of", "json", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stderr == ""
    for index, track in enumerate(packaged.tracks):
        packets = [packet for packet in json.loads(result.stdout)["packets"] if packet["stream_index"] == index]
        assert len(packets) == sum(chunk.samples for chunk in packaged.chunks if chunk.id.track == track.track)
        for packet, following in pairwise(packets):
            # It does not tell every duration, of its own files neither.
            step = int(following["dts"]) - int(packet["dts"])
            assert step == int(packet.get("duration", step)) > 0


def test_an_encoder_that_was_started_is_a_stream_too(tmp_path: Path) -> None:
    """What this process encodes itself needs no file in between."""
    with av.open(io.BytesIO(), "w", format="mp4") as encoder:
        stream: Any = encoder.add_stream("libx264", rate=25, options={"tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        encoder.start_encoding()
        track = TrackReader(stream, 3, PackagerOptions()).track
        assert track.codec == "avc1.64000c"
        assert (track.track, track.timescale) == (3, stream.time_base.denominator)


def test_changed_parameter_sets_are_told(tmp_path: Path) -> None:
    """A camera that sends other parameter sets begins a new epoch with them; the header takes them."""
    small = make_file(tmp_path / "small.ts", Recipe(audio="", container="mpegts", seconds=1))
    large = make_file(
        tmp_path / "large.ts", Recipe(audio="", container="mpegts", seconds=1, options=(("profile", "baseline"),))
    )
    with av.open(str(small)) as first, av.open(str(large)) as second:
        reader = TrackReader(first.streams[0], 1, PackagerOptions())
        packet = next(packet for packet in second.demux() if packet.is_keyframe)
        with pytest.raises(HeaderChanged) as changed:
            reader.sample(packet, 0)
        again = TrackReader(first.streams[0], 1, PackagerOptions(), changed.value.extradata)
        assert again.track.codec.startswith("avc1.42")
        assert again.sample(packet, 0).keyframe


def test_what_is_not_carried_is_refused(tmp_path: Path) -> None:
    """A codec that browsers do not play is an error in words, before anything is written."""
    path = make_file(tmp_path / "mpeg2.ts", Recipe(video="mpeg2video", audio="", container="mpegts", seconds=1))
    with av.open(str(path)) as source, pytest.raises(UnsupportedTrack, match="mpeg2video cannot be carried"):
        TrackReader(source.streams[0], 1, PackagerOptions())
    assert is_carried("h264")
    assert not is_carried("pcm_s16le")


def test_sound_whose_sample_rate_nobody_knows_is_refused(tmp_path: Path) -> None:
    """MPEG-TS does not tell it, and from frames that are none libav learns nothing."""
    path = tmp_path / "none.ts"
    with av.open(str(path), "w", format="mpegts") as out:
        stream: Any = out.add_stream("libmp3lame", rate=48_000)
        stream.layout = "stereo"
        out.start_encoding()
        for number in range(200):
            packet: Any = av.Packet(bytes(300))
            packet.pts = packet.dts = number * 1024
            packet.time_base, packet.stream = Fraction(1, 48_000), stream
            out.mux(packet)
    with av.open(str(path)) as source, pytest.raises(UnsupportedTrack, match="sample rate"):
        TrackReader(source.streams[0], 1, PackagerOptions())


def test_a_configuration_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    """In words, and before anything is written."""
    path = make_file(tmp_path / "sound.mp4", Recipe(video="", seconds=1))
    with av.open(str(path)) as source, pytest.raises(UnsupportedTrack, match=r"aac stream: .* ends too early"):
        TrackReader(source.streams[0], 1, PackagerOptions(), b"\x12")


def test_a_packet_without_time_is_the_sources_to_repair(tmp_path: Path) -> None:
    """No decode time is guessed here."""
    path = make_file(tmp_path / "one.mp4", Recipe(audio="", seconds=1))
    with av.open(str(path)) as source:
        reader = TrackReader(source.streams[0], 1, PackagerOptions())
        with pytest.raises(ValueError, match="without decode time"):
            reader.sample(SimpleNamespace(dts=None), 0)


def test_h264_configuration_from_start_codes(tmp_path: Path) -> None:
    """Parameter sets with start codes become an avcC; the sample entry is avc1."""
    path = make_file(tmp_path / "ts", Recipe(audio="", container="mpegts", seconds=1))
    with av.open(str(path)) as source:
        header = TrackReader(source.streams[0], 1, PackagerOptions()).track.header
    entry = sample_entry(header)
    assert entry.type == "avc1"
    assert b"avcC\x01" in bytes(find_box(header, "moov", "trak", "mdia", "minf", "stbl", "stsd").contents)
