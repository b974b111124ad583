"""Names of resources, and ranges of them."""

from __future__ import annotations

import pytest

from headrace_edge.live.answers import _range, takes_gzip
from headrace_edge.live.paths import Header, Index, Manifest, Media, Playlist, Time, Timed, parse_path


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("site7/gate/index.m3u8", Index()),
        ("site7/gate/manifest.mpd", Manifest()),
        ("site7/gate/time", Time()),
        ("site7/gate/2.m3u8", Playlist(2)),
        ("site7/gate/1790000000000/1/header.mp4", Header(1790000000000, 1)),
        ("site7/gate/1790000000000/1/77.m4s", Media(1790000000000, 1, 77)),
        ("site7/gate/1790000000000/1/77.3.m4s", Media(1790000000000, 1, 77, 3)),
        ("site7/gate/2/t85920000000000.m4s", Timed(2, 85920000000000)),
    ],
)
def test_each_resource_has_a_name(path: str, resource: object) -> None:
    """The last words say what it is, the rest is the stream."""
    assert parse_path(path) == ("site7/gate", resource)


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "index.m3u8", "/index.m3u8", "../index.m3u8", "a/../index.m3u8", "a//index.m3u8", "a/./index.m3u8",
        "a/index.m3u8/", "a/Index.m3u8", "a/0.m3u8", "a/256.m3u8", "a/01.m3u8", "a/-1.m3u8", "a/1.m3u8\n", "a b/1.m3u8",
        "a/1/1/1.m4s.m4s", "a/1/0/1.m4s", "a/1/1/01.m4s", "a/1/1/1.01.m4s", "a/1/1/1.65536.m4s", "a/1/1/-1.m4s",
        "a/1/1/1.-1.m4s", "a/9223372036854775808/1/1.m4s", "a/1/1/99999999999999999999.m4s", "a/1/1/١.m4s",
        "a/1/1/header.mp4/x", "a/1/header.mp4/", "x" * 200 + "/index.m3u8", "a\\..\\b/index.m3u8", "a/1/1/1e3.m4s",
        "a/0/t1.m4s", "a/01/t1.m4s", "a/256/t1.m4s", "a/1/t01.m4s", "a/1/t-1.m4s", "a/1/t9223372036854775808.m4s",
    ],
)  # fmt: skip
def test_nothing_else_names_anything(path: str) -> None:
    """Path tricks, other spellings of numbers and numbers that no chunk has."""
    assert parse_path(path) is None


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=5-", (5, 100)),
        ("bytes=-7", (93, 100)),
        ("bytes=-200", (0, 100)),
        ("bytes=90-400", (90, 100)),
        ("bytes=100-", (100, 100)),
        ("bytes=-0", (100, 100)),
        ("bytes=9-3", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("chapters=1-2", None),
        ("bytes=" + "9" * 30 + "-", None),
    ],
)
def test_ranges(wanted: str, found: tuple[int, int] | None) -> None:
    """One range is cut to what there is; what makes no sense is ignored; beyond the end there is nothing."""
    assert _range(wanted, 100) == found


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("*", True), ("", False), ("br", False), ("gzip;q=0", False)],
)
def test_gzip_is_for_who_takes_it(accepted: str, takes: bool) -> None:
    """Accept-Encoding with its weights."""
    assert takes_gzip(accepted) is takes
