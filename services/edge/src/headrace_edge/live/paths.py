"""What paths below `/live/` mean: each name says which bytes it stands for.

There is one name for each, but for segments, which have two: by number for HLS, by time for DASH
(docs/decisions/0013-segments-by-time.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.identifiers import TRACK_MAX, InvalidName, StreamName, stream_name

NUMBER_MAX = 2**63 - 1
"""Largest epoch, segment number or time in a path: larger ones do not fit into a chunk record."""

PART_MAX = 65_535
"""Largest part number: two bytes in a chunk record."""

_NUMBER = r"(0|[1-9][0-9]{0,18})"
_PATH = re.compile(
    rf"(?P<stream>.+)/(?:(?P<index>index\.m3u8)|(?P<manifest>manifest\.mpd)|(?P<time>time)|{_NUMBER}\.m3u8"
    rf"|(?P<timed>[1-9][0-9]{{0,2}})/t(?P<at>0|[1-9][0-9]{{0,18}})\.m4s"
    rf"|{_NUMBER}/{_NUMBER}/(?:(?P<header>header\.mp4)|{_NUMBER}(?:\.{_NUMBER})?\.m4s))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Index:
    """The multivariant playlist."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The DASH manifest."""


@dataclass(frozen=True, slots=True)
class Time:
    """The edge's UTC."""


@dataclass(frozen=True, slots=True)
class Playlist:
    """A media playlist."""

    track: int


@dataclass(frozen=True, slots=True)
class Header:
    """A CMAF header."""

    epoch: int
    track: int


@dataclass(frozen=True, slots=True)
class Media:
    """A segment, or one part of it."""

    epoch: int
    track: int
    segment: int
    part: int | None = None


@dataclass(frozen=True, slots=True)
class Timed:
    """The segment of a track that begins at a decode time, in ticks; or what that time leads to, the next one."""

    track: int
    time: int


Resource = Index | Manifest | Time | Playlist | Header | Media | Timed


def parse_path(path: str) -> tuple[StreamName, Resource] | None:
    """Return the stream and the resource that `path` names, below `/live/`; `None` when it names nothing."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    try:
        name = stream_name(match["stream"])
    except InvalidName:
        return None
    resource = _resource(match)
    return None if resource is None else (name, resource)


def _resource(match: re.Match[str]) -> Resource | None:
    if match["index"]:
        return Index()
    if match["manifest"]:
        return Manifest()
    if match["time"]:
        return Time()
    if match["timed"]:
        timed = Timed(int(match["timed"]), int(match["at"]))
        return timed if timed.track <= TRACK_MAX and timed.time <= NUMBER_MAX else None
    playlist, epoch, track, segment, part = (
        None if text is None else int(text) for text in (match[5], match[8], match[9], match[11], match[12])
    )
    if not 1 <= (playlist or track or 0) <= TRACK_MAX:
        return None
    if playlist is not None:
        return Playlist(playlist)
    assert epoch is not None
    assert track is not None
    if max(epoch, segment or 0) > NUMBER_MAX or (part or 0) > PART_MAX:
        return None
    return Header(epoch, track) if segment is None else Media(epoch, track, segment, part)
