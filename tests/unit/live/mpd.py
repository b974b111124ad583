"""A reader of MPDs that checks what ISO/IEC 23009-1 and players expect of them as it reads."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from xml.etree import ElementTree

NAMESPACE = "{urn:mpeg:dash:schema:mpd:2011}"

_ORDER = ["ServiceDescription", "Period", "UTCTiming"]
"""Children of MPD in the order of the schema, as far as we write them."""


@dataclass(frozen=True)
class Timed:
    """One segment of a Representation: what its address is and when it is, in ticks."""

    address: str
    start: int
    duration: int
    timescale: int

    @property
    def end_seconds(self) -> float:
        return (self.start + self.duration) / self.timescale


@dataclass
class Manifest:
    """An MPD as read.

    Attributes:
        text: all of it.
        ended: whether it will not change any more.
        periods: for each Period its segments by track number.
    """

    text: str
    ended: bool
    periods: list[dict[int, list[Timed]]] = field(default_factory=list)


def read_mpd(text: str) -> Manifest:
    """Return the MPD in `text`; an assertion fails where it is wrong."""
    root = ElementTree.fromstring(text)
    assert root.tag == f"{NAMESPACE}MPD"
    ended = root.get("type") == "static"
    live = {"minimumUpdatePeriod", "timeShiftBufferDepth", "suggestedPresentationDelay"}
    for name in ("availabilityStartTime", "publishTime", "minBufferTime", "profiles"):
        assert root.get(name), name
    assert (live & root.attrib.keys(), root.get("type")) == ((set(), "static") if ended else (live, "dynamic"))
    assert (root.get("mediaPresentationDuration") is not None) == ended
    datetime.fromisoformat(root.attrib["publishTime"])
    names = [child.tag.removeprefix(NAMESPACE) for child in root]
    assert names == sorted(names, key=_ORDER.index)
    manifest = Manifest(text, ended)
    periods = root.findall(f"{NAMESPACE}Period")
    assert periods
    starts = [_seconds(period.attrib["start"]) for period in periods]
    assert starts == sorted(set(starts))
    assert len({period.attrib["id"] for period in periods}) == len(periods)
    longest = _seconds(root.attrib["maxSegmentDuration"])
    for period, following in zip(periods, [*starts[1:], None], strict=True):
        manifest.periods.append(_read_period(period, following, longest))
    if ended:
        ends = max(one.end_seconds for period in manifest.periods for track in period.values() for one in track)
        assert abs(_seconds(root.attrib["mediaPresentationDuration"]) - ends) < 0.001
        assert "availabilityTimeOffset" not in text
    return manifest


def _read_period(period: ElementTree.Element, following: float | None, longest: float) -> dict[int, list[Timed]]:
    tracks = {}
    for adaptation in period.findall(f"{NAMESPACE}AdaptationSet"):
        representation = adaptation.find(f"{NAMESPACE}Representation")
        template = adaptation.find(f"{NAMESPACE}SegmentTemplate")
        assert representation is not None
        assert template is not None
        assert int(representation.attrib["bandwidth"]) > 0
        assert representation.get("codecs")
        assert re.fullmatch(r"\d+(/\d+)?", representation.get("frameRate", "25"))
        found = _read_timeline(template)
        offset, timescale = int(template.attrib["presentationTimeOffset"]), found[0].timescale
        assert found[0].start >= offset - timescale // 1000 * 2
        if following is None and "availabilityTimeOffset" in template.attrib:
            ahead = float(template.attrib["availabilityTimeOffset"])
            assert 0 < ahead < found[-1].duration / timescale, "a segment is there before it begins"
        for segment in found:
            assert segment.duration <= (longest + 0.5) * timescale
        if following is not None:
            begin = _seconds(period.attrib["start"])
            assert (found[-1].start - offset) / timescale + begin < following + 0.01
        tracks[int(adaptation.attrib["id"])] = found
    return tracks


def _read_timeline(template: ElementTree.Element) -> list[Timed]:
    timescale, media = int(template.attrib["timescale"]), template.attrib["media"]
    assert "$Time$" in media
    assert "startNumber" not in template.attrib, "FFmpeg counts with it"
    found: list[Timed] = []
    time = None
    for element in template.iter(f"{NAMESPACE}S"):
        start = int(element.attrib["t"])
        assert time is None or start >= time, "segments overlap"
        time = start
        for _ in range(1 + int(element.get("r", "0"))):
            found.append(Timed(media.replace("$Time$", str(time)), time, int(element.attrib["d"]), timescale))
            assert found[-1].duration > 0
            time += found[-1].duration
    assert found
    return found


def _seconds(duration: str) -> float:
    match = re.fullmatch(r"PT([0-9.]+)S", duration)
    assert match is not None, duration
    return float(match[1])
