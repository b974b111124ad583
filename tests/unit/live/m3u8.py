"""A reader of media playlists that checks the rules of draft-ietf-hls-rfc8216bis as it reads."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass
class Listed:
    """One media segment of a playlist, or the open one at its end.

    Attributes:
        number: media sequence number.
        uri: of the whole segment, `None` for the open one.
        seconds: its EXTINF.
        parts: address and length of each part.
        discontinuity: its discontinuity sequence number.
        gap: whether it is one.
    """

    number: int
    discontinuity: int
    uri: str | None = None
    seconds: float = 0.0
    parts: list[tuple[str, float]] = field(default_factory=list)
    gap: bool = False


@dataclass
class Playlist:
    """A media playlist as read."""

    text: str
    target: int = 0
    part_target: float = 0.0
    sequence: int = 0
    skipped: int = 0
    ended: bool = False
    hint: str | None = None
    segments: list[Listed] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)

    @property
    def last(self) -> tuple[int, int]:
        """The last segment and part listed."""
        newest = self.segments[-1]
        return (newest.number, len(newest.parts))


def read(text: str) -> Playlist:
    """Return the playlist in `text`; an assertion fails where it breaks a rule."""
    lines = text.split("\n")
    assert lines[0] == "#EXTM3U"
    assert lines[-1] == ""
    playlist = Playlist(text)
    control = _attributes(_value(text, "#EXT-X-SERVER-CONTROL"))
    playlist.target = int(_value(text, "#EXT-X-TARGETDURATION"))
    playlist.part_target = float(_attributes(_value(text, "#EXT-X-PART-INF"))["PART-TARGET"])
    playlist.sequence = int(_value(text, "#EXT-X-MEDIA-SEQUENCE"))
    assert float(control["PART-HOLD-BACK"]) >= 2 * playlist.part_target
    assert float(control["HOLD-BACK"]) >= 3 * playlist.target
    assert float(control["CAN-SKIP-UNTIL"]) >= 6 * playlist.target
    _read_segments(playlist, lines, int(_value(text, "#EXT-X-DISCONTINUITY-SEQUENCE")))
    _check(playlist)
    return playlist


def _read_segments(playlist: Playlist, lines: list[str], discontinuity: int) -> None:
    number = playlist.sequence
    mapped = False
    current = Listed(number, discontinuity)
    for line in lines[1:]:
        tag, _, value = line.partition(":")
        match tag:
            case "#EXT-X-SKIP":
                playlist.skipped = int(_attributes(value)["SKIPPED-SEGMENTS"])
                current.number += playlist.skipped
                mapped = True
            case "#EXT-X-DISCONTINUITY":
                assert not current.parts
                current.discontinuity += 1
                mapped = False
            case "#EXT-X-MAP":
                mapped = True
            case "#EXT-X-GAP":
                current.gap = True
            case "#EXT-X-PART":
                part = _attributes(value)
                current.parts.append((part["URI"], float(part["DURATION"])))
            case "#EXTINF":
                current.seconds = float(value.rstrip(","))
            case "#EXT-X-ENDLIST":
                playlist.ended = True
            case "#EXT-X-PRELOAD-HINT":
                playlist.hint = _attributes(value)["URI"]
            case "#EXT-X-RENDITION-REPORT":
                playlist.reports.append(_attributes(value)["URI"])
            case _ if line and not line.startswith("#"):
                assert mapped, "a segment needs EXT-X-MAP"
                current.uri = line
                playlist.segments.append(current)
                current = Listed(current.number + 1, current.discontinuity)
    if current.parts:
        playlist.segments.append(current)


def _check(playlist: Playlist) -> None:
    for segment in playlist.segments:
        assert round(segment.seconds) <= playlist.target
        for index, (uri, seconds) in enumerate(segment.parts):
            assert seconds <= playlist.part_target + 1e-5
            last = index == len(segment.parts) - 1
            assert (last and segment.uri) or seconds >= 0.85 * playlist.part_target, (uri, seconds)
            assert f"/{segment.number}.{index}.m4s" in uri
        if segment.uri:
            assert f"/{segment.number}.m4s" in segment.uri
            if segment.parts:
                assert abs(sum(seconds for _, seconds in segment.parts) - segment.seconds) < 1e-4


def _value(text: str, tag: str) -> str:
    found = re.findall(rf"^{tag}:(.*)$", text, re.MULTILINE)
    assert len(found) == 1, tag
    return str(found[0])


def _attributes(text: str) -> dict[str, str]:
    pairs = re.findall(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)(?:,|$)', text)
    assert ",".join(f"{name}={value}" for name, value in pairs) == text
    return {name: value.strip('"') for name, value in pairs}
