"""HLS playlists (draft-ietf-hls-rfc8216bis) of what a window holds.

Pure text out of identities, times and what ingress declared: whoever holds the same segments writes the same bytes.
Segment numbers are media sequence numbers, epochs are discontinuities, and the numbers of both come with the stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from headrace.identifiers import Epoch
from headrace.media.segments import PARTS_SEGMENTS, Part, Segment, part_target, target_seconds
from headrace.wire.stream import Track

VERSION = 9
"""EXT-X-VERSION: 9 has EXT-X-SKIP (8216bis, 8)."""

HOLD_BACK_TARGETS = 3
"""HOLD-BACK in target durations (8216bis, 4.4.3.8)."""

PART_HOLD_BACK_TARGETS = 3
"""PART-HOLD-BACK in PART-TARGETs (8216bis, 4.4.3.8)."""

SKIP_TARGETS = 6
"""CAN-SKIP-UNTIL in target durations, the least that is allowed (8216bis, 4.4.3.8)."""

REPORT_BEHIND_SECONDS = 0.2
"""How far behind its own end a playlist reports the others: a packager has no track behind another by more than a chunk
and a frame. Where a source has its sound later than that, who asks for what follows a report waits so much longer."""

LAST_UTC_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999: a source's clock may say anything."""


@dataclass(frozen=True, slots=True)
class MediaView:
    """What a media playlist is made of.

    Attributes:
        segments: listed, oldest first, consecutive; at least one, the last one perhaps open with whole parts.
        ended: whether the stream is over.
        tracks: all tracks of the epochs that are listed, by epoch and number, for reports of the others.
    """

    segments: Sequence[Segment]
    ended: bool = False
    tracks: Mapping[Epoch, Mapping[int, Track]] = field(default_factory=dict)


def media_playlist(view: MediaView, *, skip: bool = False) -> str:
    """Return the media playlist of one track; with `skip` a delta update where there is enough to skip."""
    segments = view.segments
    track = segments[-1].track
    target = max(target_seconds(segment.track) for segment in segments)  # another publisher may have cut otherwise
    end = segments[-1].listed_end_seconds
    lines = _head(segments, target)
    skipped = _skippable(segments, end - SKIP_TARGETS * target) if skip else 0
    if skipped:
        lines.append(f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")
    parts_from = len(segments) - PARTS_SEGMENTS - (not segments[-1].closed)
    for index in range(skipped, len(segments)):
        before = segments[index - 1] if index else None
        alike = part_target(segments[index].track) == part_target(track)
        lines += _segment(segments[index], before, with_parts=alike and index >= parts_from)
    if view.ended:
        lines.append("#EXT-X-ENDLIST")
    else:
        lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{_hint(segments)}"')
        lines += _reports(view, end - REPORT_BEHIND_SECONDS)
    return "\n".join(lines) + "\n"


def multivariant_playlist(tracks: Mapping[int, Track], start_seconds: float | None = None) -> str:
    """Return the multivariant playlist: a variant for each video track, each with every audio track.

    Args:
        tracks: of the newest epoch.
        start_seconds: where to begin, in seconds behind the end; `None` for the player's own choice.
    """
    videos = [track for track in tracks.values() if track.kind == "video"]
    audios = [track for track in tracks.values() if track.kind == "audio"]
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}"]
    if start_seconds:
        lines.append(f"#EXT-X-START:TIME-OFFSET=-{_decimal(start_seconds)},PRECISE=YES")
    if videos:
        lines += [_rendition(audio, audios) for audio in audios]
    for variant in videos or audios:
        lines += [_variant(variant, audios if videos else ()), f"{variant.track}.m3u8"]
    return "\n".join(lines) + "\n"


# -- media playlists ---------------------------------------------------------------------------------------------------


def _head(segments: Sequence[Segment], target: int) -> list[str]:
    first, track = segments[0], segments[-1].track
    longest_part = part_target(track)
    control = [
        "CAN-BLOCK-RELOAD=YES",  # with EXT-X-ENDLIST too: strict readers want it wherever there are parts
        f"CAN-SKIP-UNTIL={_decimal(SKIP_TARGETS * target)}",
        f"HOLD-BACK={_decimal(HOLD_BACK_TARGETS * target)}",
        f"PART-HOLD-BACK={_decimal(PART_HOLD_BACK_TARGETS * longest_part)}",
    ]
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{VERSION}",
        f"#EXT-X-TARGETDURATION:{target}",
        f"#EXT-X-SERVER-CONTROL:{','.join(control)}",
        f"#EXT-X-PART-INF:PART-TARGET={_decimal(longest_part)}",
        f"#EXT-X-MEDIA-SEQUENCE:{first.number}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{first.track.discontinuity}",
    ]
    if all(segment.independent or segment.lost for segment in segments):
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    return lines


def _skippable(segments: Sequence[Segment], until: float) -> int:
    """Return how many segments end before the boundary up to which a client's own are good enough."""
    return sum(segment.closed and segment.end_seconds < until for segment in segments)


def _segment(segment: Segment, before: Segment | None, *, with_parts: bool) -> list[str]:
    """Return the lines of a segment: what changes with it, its parts if they are recent, itself if it is whole.

    Parts of an epoch with another PART-TARGET than the newest one's are left out: there is one for all.
    """
    lines = []
    place = (segment.epoch, segment.track.discontinuity)
    if before is None or place != (before.epoch, before.track.discontinuity):
        if before is not None:
            lines.append("#EXT-X-DISCONTINUITY")
        lines.append(f'#EXT-X-MAP:URI="{segment.epoch}/{segment.track.track}/header.mp4"')
    if segment.capture_us:
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{date_time(segment.capture_us)}")
    if with_parts:
        lines += [_part(segment, part) for part in segment.parts[: segment.parts_listed]]
    if segment.closed:
        if segment.lost:
            lines.append("#EXT-X-GAP")
        lines += [f"#EXTINF:{_decimal(segment.seconds)},", f"{_address(segment)}.m4s"]
    return lines


def _part(segment: Segment, part: Part) -> str:
    independent = ",INDEPENDENT=YES" if part.independent else ""
    seconds = _decimal(part.duration / segment.track.timescale)
    return f'#EXT-X-PART:DURATION={seconds},URI="{_address(segment)}.{part.number}.m4s"{independent}'


def _hint(segments: Sequence[Segment]) -> str:
    """Return the part that will most likely come next.

    An open segment that is as long as the one before and as its target is taken for whole: its end is known only with
    the next keyframe. The first part of the next segment comes in any case.
    """
    last = segments[-1]
    before = segments[-2] if len(segments) > 1 else None
    target = last.track.segment_seconds - 0.5 * part_target(last.track)
    whole = (
        last.listed_end - last.start >= target * last.track.timescale
        and before is not None
        and last.parts_listed >= len(before.parts)
    )
    if last.closed or whole:
        return f"{last.epoch}/{last.track.track}/{last.number + 1}.0.m4s"
    return f"{_address(last)}.{last.parts_listed}.m4s"


def _reports(view: MediaView, until: float) -> list[str]:
    """Return EXT-X-RENDITION-REPORT of each other track of the newest listed epoch.

    They tell what follows from the segments listed here, and not what of the others has come: so wherever a playlist
    ends, it reports the same at every edge. All tracks are cut at the same times, none has a part that is longer than
    its PART-TARGET, so of a segment that is listed here so many parts are there too.
    """
    last = view.segments[-1]
    lines = []
    for number, track in sorted(view.tracks.get(last.epoch, {}).items()):
        place = _place(view, number, until) if number != last.track.track and track.kind != "data" else None
        if place is not None:
            lines.append(f'#EXT-X-RENDITION-REPORT:URI="{number}.m3u8",LAST-MSN={place[0]},LAST-PART={place[1]}')
    return lines


def _place(view: MediaView, number: int, until: float) -> tuple[int, int] | None:
    """Return segment and part that another track has in any case by `until`, in seconds; `None` for nothing."""
    for segment in reversed(view.segments):
        other = view.tracks.get(segment.epoch, {}).get(number)
        if other is None:
            return None
        parts = int((min(until, segment.end_seconds) - segment.start_seconds) / part_target(other) + 1e-6)
        if parts > 0 and not segment.lost:
            return segment.number, parts - 1
    return None


def _address(segment: Segment) -> str:
    return f"{segment.epoch}/{segment.track.track}/{segment.number}"


# -- multivariant playlists --------------------------------------------------------------------------------------------


def _rendition(audio: Track, audios: Sequence[Track]) -> str:
    first = audio is audios[0]
    attributes = [
        "TYPE=AUDIO",
        'GROUP-ID="audio"',
        f'NAME="{_name(audio, audios)}"',
        *([f'LANGUAGE="{_quotable(audio.language)}"'] if audio.language not in {"", "und"} else []),
        f"DEFAULT={'YES' if first else 'NO'}",
        "AUTOSELECT=YES",
        *([f'CHANNELS="{audio.channels}"'] if audio.channels else []),
        f'URI="{audio.track}.m3u8"',
    ]
    return f"#EXT-X-MEDIA:{','.join(attributes)}"


def _name(audio: Track, audios: Sequence[Track]) -> str:
    """Return a name that no other audio track has, for people to choose by."""
    alike = [track for track in audios if track.language == audio.language]
    name = "Audio" if audio.language in {"", "und"} else _quotable(audio.language)
    return name if len(alike) == 1 else f"{name} {alike.index(audio) + 1}"


def _variant(track: Track, audios: Sequence[Track]) -> str:
    """Return EXT-X-STREAM-INF; its rates are those of the variant with its most expensive audio (8216bis, 4.4.6.2)."""
    peak = track.bandwidth + max((audio.bandwidth for audio in audios), default=0)
    average = track.average_bandwidth + max((audio.average_bandwidth for audio in audios), default=0)
    codecs = dict.fromkeys(_quotable(each.codec) for each in (track, *audios) if each.codec)
    attributes = [f"BANDWIDTH={max(1, peak)}"]
    if average:
        attributes.append(f"AVERAGE-BANDWIDTH={average}")
    if codecs:
        attributes.append(f'CODECS="{",".join(codecs)}"')
    if track.width and track.height:
        attributes.append(f"RESOLUTION={track.width}x{track.height}")
    if track.frame_rate:
        attributes.append(f"FRAME-RATE={track.frame_rate:.3f}")
    if audios:
        attributes.append('AUDIO="audio"')
    return f"#EXT-X-STREAM-INF:{','.join(attributes)}"


# -- values ------------------------------------------------------------------------------------------------------------


def date_time(utc_us: int) -> str:
    """Return a UTC time in microseconds as ISO 8601 with milliseconds; beyond the year 9999, its last moment."""
    seconds, micros = divmod(min(utc_us, LAST_UTC_US), 1_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{micros // 1000:03d}Z"


def _decimal(value: float) -> str:
    """Return a number with up to five decimals, without those that say nothing."""
    text = f"{value:.5f}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def _quotable(text: str) -> str:
    """Return what may stand in a quoted string (8216bis, 4.2): a stream's own words must not end it."""
    return "".join(letter for letter in text if letter.isprintable() and letter != '"')
