"""Messages as an FLV file: what begins one, what ends one, what is left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from headrace_ingress.rtmp.flv import OPENING_MS, Section, tag
from headrace_ingress.rtmp.protocol import Media, MediaKind
from unit.ingress.rtmp.client import AAC_CONFIG, AAC_FRAME, AVC_CONFIG, AVC_KEYFRAME

BOTH = {"audiocodecid": 10.0, "videocodecid": 7.0}


def picture(payload: bytes, time: int = 0) -> Media:
    """Return a video message."""
    return Media(MediaKind.VIDEO, time, payload)


def sound(payload: bytes, time: int = 0) -> Media:
    """Return an audio message."""
    return Media(MediaKind.AUDIO, time, payload)


def test_it_opens_when_all_that_is_promised_came() -> None:
    """With metadata, as soon as each kind was seen; the header says which there are."""
    section = Section(BOTH)
    assert section.push(picture(AVC_CONFIG)) == b""
    file = section.push(sound(AAC_CONFIG))
    assert file.startswith(b"FLV\x01\x05")
    assert AVC_CONFIG in file
    assert AAC_CONFIG in file
    assert section.push(picture(AVC_KEYFRAME, 40)) == tag(9, 10_040, AVC_KEYFRAME)


def test_video_alone() -> None:
    """Metadata that promise no sound wait for none, and later sound is left out."""
    section = Section({"videocodecid": 7.0})
    assert section.push(picture(AVC_CONFIG)).startswith(b"FLV\x01\x01")
    assert section.push(sound(AAC_CONFIG)) == b""


def test_without_metadata_the_other_kind_is_waited_for() -> None:
    """For half a second of media, then it goes on without."""
    section = Section({})
    assert section.push(picture(AVC_CONFIG)) == b""
    assert section.push(picture(AVC_KEYFRAME, OPENING_MS)) == b""
    assert section.push(picture(AVC_KEYFRAME, OPENING_MS + 1)).startswith(b"FLV\x01\x01")


def test_the_frame_rate_is_told_if_it_is_one() -> None:
    """Metadata's frame rate goes into the file, nonsense does not."""
    assert b"framerate" in Section({"videocodecid": 7.0, "framerate": 30.0}).push(picture(AVC_CONFIG))
    for nonsense in (0.0, -1.0, 1e9, float("nan"), "30", None):
        file = Section({"videocodecid": 7.0, "framerate": nonsense}).push(picture(AVC_CONFIG))
        assert b"framerate" not in file


def test_another_configuration_does_not_fit() -> None:
    """Nor another codec; the same again does, and is not written twice. What holds on begins the next file."""
    section = Section(BOTH)
    section.push(picture(AVC_CONFIG))
    section.push(sound(AAC_CONFIG))
    assert section.fits(picture(AVC_CONFIG))
    assert section.push(picture(AVC_CONFIG, 40)) == b""
    assert not section.fits(picture(AVC_CONFIG + b"\x00"))
    assert not section.fits(picture(b"\x90hvc1x"))
    assert not section.fits(sound(b"\x2fmp3"))
    assert [one.payload for one in section.continued()] == [AVC_CONFIG, AAC_CONFIG]


def test_further_tracks_and_commands_are_left_out() -> None:
    """Enhanced RTMP's multitrack messages and Flash's command frames are no media of a first track."""
    section = Section(BOTH)
    assert section.push(picture(b"\x96\x00avc1")) == b""
    assert section.push(picture(b"\x57\x00")) == b""
    assert section.push(sound(b"\x95\x00mp4a")) == b""


def test_times_before_the_first_and_past_the_wrap() -> None:
    """What is a little earlier than the first message keeps its distance; so does what comes after 2^32 ms."""
    section = Section(BOTH)
    section.push(picture(AVC_CONFIG, 2**32 - 20))
    section.push(sound(AAC_CONFIG, 2**32 - 30))
    assert section.push(sound(AAC_FRAME, 10)) == tag(8, 10_030, AAC_FRAME)
    assert section.push(sound(AAC_FRAME, 2**32 - 25)) == tag(8, 9_995, AAC_FRAME)


@given(some.lists(some.tuples(some.sampled_from(MediaKind), some.binary(min_size=1, max_size=12)), max_size=20))
def test_anything(sent: list[tuple[MediaKind, bytes]]) -> None:
    """Whatever payloads come, the answer is bytes."""
    section = Section({})
    for time, (kind, payload) in enumerate(sent):
        media = Media(kind, time * 100, payload)
        if section.fits(media):
            section.push(media)
        else:
            section = Section({})
