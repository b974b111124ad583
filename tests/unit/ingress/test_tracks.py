"""Parameter sets that change in the middle of a stream."""

from __future__ import annotations

import pytest

from headrace.media.bitstream import join_annexb, parameter_sets
from headrace_ingress.tracks import merge_parameter_sets

SPS, SPS_2 = b"\x67one", b"\x67two"
PPS, PPS_2 = b"\x68one", b"\x68two"
VPS, HSPS, HPPS, HSPS_2 = b"\x40\x01v", b"\x42\x01s", b"\x44\x01p", b"\x42\x01t"


@pytest.mark.parametrize(
    ("codec", "old", "new", "merged"),
    [
        ("h264", [SPS, PPS], [SPS_2, PPS_2], [SPS_2, PPS_2]),
        ("h264", [SPS, PPS], [SPS_2], [SPS_2, PPS]),
        ("h264", [SPS, PPS], [PPS_2], [SPS, PPS, PPS_2]),
        ("h264", [SPS, PPS, PPS_2], [PPS], [SPS, PPS, PPS_2]),
        ("h264", [], [PPS, SPS], [SPS, PPS]),
        ("hevc", [VPS, HSPS, HPPS], [HSPS_2], [VPS, HSPS_2, HPPS]),
    ],
)
def test_new_sets_join_or_replace_the_old(codec: str, old: list[bytes], new: list[bytes], merged: list[bytes]) -> None:
    """A new SPS replaces what there was of its kind; a PPS alone is added, so that alternating ones settle."""
    result = merge_parameter_sets(codec, join_annexb(old), join_annexb(new))
    assert parameter_sets("h264" if codec == "h264" else "hevc", result) == merged
