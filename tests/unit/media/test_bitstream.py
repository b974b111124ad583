"""Elementary streams: start codes, ADTS, AAC and Opus configurations."""

from __future__ import annotations

import contextlib
import timeit
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.media.bitstream import (
    AacConfig,
    AnnexBConverter,
    BitstreamError,
    aac_config,
    adts_to_config,
    is_adts,
    is_annexb,
    is_vp9_keyframe,
    join_annexb,
    opus_samples,
    parameter_sets,
    parse_aac_config,
    split_annexb,
    strip_adts,
)

SPS, PPS, IDR, SLICE, AUD = b"\x67sps", b"\x68pps", b"\x65idr", b"\x41slice", b"\x09\xf0"

UNIT = st.binary(min_size=1, max_size=12).filter(lambda unit: unit[-1] != 0 and b"\x00\x00" not in unit)


@given(st.lists(st.tuples(UNIT, st.booleans(), st.integers(0, 3)), min_size=1, max_size=6))
def test_units_between_start_codes(units: list[tuple[bytes, bool, int]]) -> None:
    """Three- and four-byte start codes and zeros after a unit make no difference."""
    data = b"".join(
        (b"\x00\x00\x00\x01" if long else b"\x00\x00\x01") + unit + bytes(zeros) for unit, long, zeros in units
    )
    assert list(split_annexb(data)) == [unit for unit, _, _ in units]
    assert is_annexb(data)


@given(st.binary(max_size=60))
def test_any_bytes_can_be_split(data: bytes) -> None:
    """Whatever a feed sends is split into units that are not empty."""
    assert all(list(split_annexb(data)))


def test_parameter_sets_of_the_header_leave_the_samples() -> None:
    """A sample holds slices only; known parameter sets and delimiters are left out."""
    converter = AnnexBConverter("h264", join_annexb([SPS, PPS]))
    sample = converter.convert(join_annexb([AUD, SPS, PPS, IDR, SLICE]))
    assert sample == b"\x00\x00\x00\x04" + IDR + b"\x00\x00\x00\x06" + SLICE


def test_new_parameter_sets_are_noticed() -> None:
    """An access unit with other parameter sets is no sample of this header."""
    converter = AnnexBConverter("h264", join_annexb([SPS, PPS]))
    assert converter.convert(join_annexb([SPS + b"2", PPS, IDR])) is None


def test_parameter_sets_of_h265() -> None:
    """H.265 has its unit type in other bits, and a third kind of parameter set."""
    sets = [b"\x40\x01v", b"\x42\x01s", b"\x44\x01p"]
    assert parameter_sets("hevc", join_annexb([*sets, b"\x26\x01idr"])) == sets
    converter = AnnexBConverter("hevc", join_annexb(sets))
    assert converter.convert(join_annexb([b"\x46\x01", *sets, b"\x26\x01idr"])) == b"\x00\x00\x00\x05\x26\x01idr"


def adts(payload: bytes, checksum: bool = False) -> bytes:
    """Return an AAC-LC frame, stereo at 48 kHz, with an ADTS header."""
    length = len(payload) + (9 if checksum else 7)
    header = bytes(
        [0xFF, 0xF0 | (not checksum), 0x4C, 0x80 | length >> 11, length >> 3 & 0xFF, (length & 7) << 5 | 0x1F, 0xFC]
    )
    return header + (b"\x12\x34" if checksum else b"") + payload


@pytest.mark.parametrize("checksum", [False, True])
def test_adts_is_taken_off(checksum: bool) -> None:
    """The header goes, with its checksum if it has one, and tells the configuration."""
    frame = adts(b"payload", checksum)
    assert is_adts(frame)
    assert strip_adts(frame) == b"payload"
    assert adts_to_config(frame) == bytes.fromhex("1190") == aac_config(48_000, 2)


def test_bare_aac_stays() -> None:
    """A frame that has no ADTS header, even one that begins alike, is left alone."""
    for frame in (b"", b"\x21\x00", b"\xff\xf1\x4c\x80\x01\x1f\xfc" + bytes(90)):
        assert strip_adts(frame) == frame
    with pytest.raises(BitstreamError, match="no ADTS"):
        adts_to_config(b"\x21\x00")


@pytest.mark.parametrize(
    ("data", "config"),
    [
        ("1190", AacConfig(2, 48_000, 2, 1024)),
        ("1210", AacConfig(2, 44_100, 2, 1024)),
        ("1194", AacConfig(2, 48_000, 2, 960)),
        ("2b118800", AacConfig(5, 24_000, 2, 1024)),
        ("eb09880000", AacConfig(29, 24_000, 1, 1024)),
        ("17800c3510", AacConfig(2, 6250, 2, 1024)),
    ],
)
def test_aac_configurations(data: str, config: AacConfig) -> None:
    """LC, short frames, SBR, parametric stereo and a rate written out."""
    assert parse_aac_config(bytes.fromhex(data)) == config


@pytest.mark.parametrize("data", ["", "11", "1680", "1780000010"])
def test_malformed_aac_configurations(data: str) -> None:
    """Too short, or with a reserved frequency index, or a frequency of 0: an error, not a guess."""
    with pytest.raises(BitstreamError):
        parse_aac_config(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("packet", "samples"),
    [(b"", 0), (b"\xf8x", 480 * 2), (b"\xf9x", 960 * 2), (b"\xfb\x03", 960 * 3), (b"\xfb", 0), (b"\x18x", 2880)],
)
def test_opus_durations(packet: bytes, samples: int) -> None:
    """The first byte, and the second where frames are counted, say how long a packet lasts."""
    assert opus_samples(packet) == samples


@given(st.binary(max_size=20))
def test_any_configuration_ends_well(data: bytes) -> None:
    """Nothing that a feed can send raises anything but BitstreamError."""
    opus_samples(data)
    strip_adts(data)
    with contextlib.suppress(BitstreamError):
        parse_aac_config(data)


def test_zeros_after_a_unit_take_no_longer_than_looking_for_the_next() -> None:
    """A publisher may send megabytes of them: nobody else's feed waits for that."""
    data = join_annexb([IDR]) + bytes(2**20) + join_annexb([SLICE])

    def seconds(work: Callable[[], object]) -> float:
        return min(timeit.repeat(work, number=1, repeat=5))

    assert list(split_annexb(data)) == [IDR, SLICE]
    assert seconds(lambda: list(split_annexb(data))) < 4 * seconds(lambda: data.find(b"\x00\x00\x01", 5))


@pytest.mark.parametrize(
    ("first", "is_key"),
    [
        (b"\x82\x49\x83\x42", True),  # profile 0
        (b"\x86\x00", False),
        (b"\x88\x00", False),  # shows a frame that there was
        (b"\xa2\x49\x83\x42", True),  # profile 1
        (b"\xb1\x24\xc1\xa1", True),  # profile 3 has a bit more
        (b"\xb2\x00", False),
        (b"\xb4\x00", False),
        (b"\x42", False),  # no frame marker
        (b"", False),
    ],
)
def test_keyframes_of_vp9(first: bytes, is_key: bool) -> None:
    """The first bits of a frame tell, whoever brought it."""
    assert is_vp9_keyframe(first) is is_key
    assert is_vp9_keyframe(memoryview(first)) is is_key
