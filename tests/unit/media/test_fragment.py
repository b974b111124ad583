"""Fragments: what is written is what is read, and no byte more than needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.media.boxes import read_boxes
from headrace.media.fragment import PRFT_BYTES, ntp_time
from support.fragments import parse_fragment, write_fragment

TICKS = st.integers(1, 2**31 - 1)


@st.composite
def samples(draw: st.DrawFn) -> list[tuple[int, bytes, bool, int]]:
    """Duration, bytes, random access and offset of each sample."""
    durations = draw(st.one_of(st.just(st.just(3600)), st.just(TICKS)))
    offsets = draw(st.one_of(st.just(st.just(0)), st.just(st.integers(-(2**31), 2**31 - 1))))
    sample = st.tuples(durations, st.binary(min_size=1, max_size=20), st.booleans(), offsets)
    return draw(st.lists(sample, min_size=1, max_size=12))


@given(samples(), st.integers(1, 255), st.integers(0, 2**64 - 1), st.integers(0, 4_102_444_800_000_000))
def test_what_is_written_is_read(
    rows: list[tuple[int, bytes, bool, int]], track: int, decode_time: int, capture_us: int
) -> None:
    """Any samples come back as they were: times to the tick, capture time to the microsecond."""
    durations, data, sync, offsets = (list(column) for column in zip(*rows, strict=True))
    head = write_fragment(
        track,
        9,
        decode_time,
        durations,
        [len(piece) for piece in data],
        sync,
        offsets,
        capture_us,
        5,
    )
    fragment = parse_fragment(head + b"".join(data))
    assert (fragment.track, fragment.sequence, fragment.decode_time) == (track, 9, decode_time)
    assert fragment.capture_us == capture_us
    read = [(sample.duration, bytes(sample.data), sample.sync, sample.offset) for sample in fragment.samples]
    assert read == rows
    assert [sample.decode_time - decode_time for sample in fragment.samples] == [
        sum(durations[:index]) for index in range(len(rows))
    ]


def test_what_samples_share_is_written_once() -> None:
    """Equal durations and equal flags cost nothing per sample, a leading keyframe four bytes in all."""
    plain = len(write_fragment(1, 1, 0, [10], [5], [True], [0], 0, 0))
    assert plain == 140
    assert len(write_fragment(1, 1, 0, [10] * 3, [5] * 3, [True] * 3, [0] * 3, 0, 0)) == plain + 8
    assert len(write_fragment(1, 1, 0, [10] * 3, [5] * 3, [True, False, False], [0] * 3, 0, 0)) == plain + 12
    assert len(write_fragment(1, 1, 0, [10] * 3, [5] * 3, [False, True, False], [0] * 3, 0, 0)) == plain + 20


def test_boxes_of_a_chunk() -> None:
    """A chunk is prft, moof and mdat, in this order."""
    media = write_fragment(1, 1, 0, [10], [3], [True], [0], 0, 0) + b"abc"
    assert [(box.type, len(box.bytes)) for box in read_boxes(media)] == [
        ("prft", PRFT_BYTES),
        ("moof", 100),
        ("mdat", 11),
    ]


@pytest.mark.parametrize(
    ("capture_us", "ntp"),
    [(0, 2_208_988_800 << 32), (500_000, 2_208_988_800 << 32 | 1 << 31), (2_085_978_496_000_000, 0)],
)
def test_ntp_time(capture_us: int, ntp: int) -> None:
    """NTP counts from 1900 in 2**-32 s, and begins again in 2036."""
    assert ntp_time(capture_us) == ntp
