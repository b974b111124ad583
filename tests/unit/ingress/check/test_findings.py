"""What samples tell of a feed, and the advice that follows."""

from __future__ import annotations

import pytest

from headrace.media.samples import Sample
from headrace.wire.stream import Track
from headrace_ingress.check.browsers import all_played, played
from headrace_ingress.check.findings import TrackFindings, TrackLog, advise

VIDEO = Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=b"x", width=1280, height=720)
AUDIO = Track(track=2, kind="audio", codec="mp4a.40.2", timescale=48_000, header=b"x", sample_rate=48_000, channels=2)


def seen(count: int = 100, gop: int = 25, *, reorder: int = 0, late: float = 0.0, step: int = 3600) -> TrackFindings:
    """Return findings of a video whose tenth packets come late."""
    log = TrackLog(VIDEO)
    for number in range(count):
        dts = number * step
        data = bytes(1000)
        arrived = dts / 90_000 + (late if number % 10 == 9 else 0.0)
        log.add(Sample(1, dts + reorder, dts, step, number % gop == 0, data, 0), arrived)
    return log.findings()


def sound() -> TrackFindings:
    """Return findings of a sound."""
    log = TrackLog(AUDIO)
    for number in range(100):
        log.add(Sample(2, number * 1024, number * 1024, 1024, True, bytes(200), 0), number * 1024 / 48_000)
    return log.findings()


def test_a_good_feed() -> None:
    """Rates, sizes and keyframes as they are, and nothing to advise."""
    video = seen()
    assert (video.frames, video.frame_rate, video.gop_seconds, video.bits_per_second) == (100, 25.0, 1.0, 202020)
    assert video.is_steady
    assert not video.reorders
    assert advise([video, sound()]) == ()


@pytest.mark.parametrize(
    ("video", "words"),
    [
        (seen(150, 1000), "without a keyframe"),
        (seen(300, 125), "5.0 s passed without a keyframe"),
        (seen(50, 1000), "Too few keyframes"),
        (seen(reorder=3600), "B-frames"),
        (seen(late=0.3), "300 ms late"),
        (seen(step=90_000 * 2), "jumped 99 times"),
    ],
)
def test_advice(video: TrackFindings, words: str) -> None:
    """Each defect is told in words."""
    assert any(words in sentence for sentence in advise([video, sound()])), advise([video, sound()])


def test_what_is_missing() -> None:
    """No sound, no picture."""
    assert any("no sound" in sentence for sentence in advise([seen()]))
    assert any("no picture" in sentence for sentence in advise([sound()]))


def test_a_frame_rate_that_varies() -> None:
    """Frames of odd lengths are told."""
    log = TrackLog(VIDEO)
    for number in range(90):
        dts = number * 3600 + (1500 if number % 3 == 0 else 0)
        log.add(Sample(1, dts, dts, 0, number % 25 == 0, b"x", 0), dts / 90_000)
    assert not log.findings().is_steady
    assert any("frame rate varies" in sentence for sentence in advise([log.findings()]))


def test_nothing_came() -> None:
    """A track without a frame has findings too."""
    assert TrackLog(VIDEO).findings().frames == 0


@pytest.mark.parametrize(
    ("codec", "chrome", "safari"),
    [
        ("avc1.42e01f", "yes", "yes"),
        ("avc1.640028", "yes", "yes"),
        ("avc1.6e0028", "no", "no"),
        ("avc1.f40028", "no", "no"),
        ("hvc1.1.6.L93.B0", "where the hardware decodes it", "yes"),
        ("av01.0.04M.08", "yes", "where the hardware decodes it"),
        ("mp4a.40.2", "yes", "yes"),
        ("mp4a.6b", "no", "no"),
        ("unheard.of", "no", "no"),
        ("avc1.", "no", "no"),
    ],
)
def test_who_plays_it(codec: str, chrome: str, safari: str) -> None:
    """By codec and profile."""
    assert (played(codec)["Chrome"], played(codec)["Safari"]) == (chrome, safari)


def test_the_worst_track_decides() -> None:
    """A stream plays where all its tracks do."""
    assert all_played(["avc1.42e01f", "opus"])["Safari"] == "from 17 on"
    assert all_played(["hvc1.1.6.L93.B0", "mp4a.6b"])["Safari"] == "no"
    assert "cannot play" in advise([seen(), TrackFindings("audio", "mp4a.6b", frames=1)])[0]
