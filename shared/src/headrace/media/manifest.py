"""The DASH manifest (ISO/IEC 23009-1) of what a window holds.

Decode times are UTC, so the presentation begins in 1970 and a Period begins at its epoch's own number, which is UTC in
milliseconds: nobody has to remember when anything began. A timeline names segments by their times, alike in all Periods
(docs/decisions/0013-segments-by-time.md), and lists none that is lost.

The segment that is being made is listed to be fetched while it grows, with the least that it will last, or what it has
if that is more: keyframes decide, so nobody knows its end. What is told of its length only grows, to where it ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from headrace.identifiers import Epoch
from headrace.media.playlists import date_time
from headrace.media.segments import Segment, target_seconds
from headrace.wire.stream import Track

LATENCY_SECONDS = 1.5
"""Distance to live that players are asked to hold: three parts, as in HLS."""

LATENCY_MIN_SECONDS = 0.5
LATENCY_MAX_SECONDS = 6.0

RATE_MIN, RATE_MAX = 0.96, 1.04
"""How much slower or faster players may play to hold it: what nobody hears."""

UPDATE_SECONDS = 1.0
"""How often players ask for the manifest again: twice in a segment."""

CHUNK_SECONDS = 0.1
"""Length of a chunk where ingress declares none."""

_SCHEME_CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"


@dataclass(frozen=True, slots=True)
class ManifestView:
    """What a manifest is made of.

    Attributes:
        tracks: for each track of the newest epoch its segments, oldest first, the last one perhaps open.
        window_seconds: how far behind live one may seek.
        ended: whether the stream is over.
        start_seconds: how far behind live to begin, `None` for `LATENCY_SECONDS`.
        declared: every track of the newest epoch, be it listed or not.
    """

    tracks: Sequence[Sequence[Segment]]
    window_seconds: float
    ended: bool = False
    start_seconds: float | None = None
    declared: Collection[Track] = ()


def manifest(view: ManifestView) -> str:
    """Return the MPD."""
    newest = [segments[-1] for segments in view.tracks if segments]
    longest = max(target_seconds(segment.track) for segments in view.tracks for segment in segments)
    delay = view.start_seconds or LATENCY_SECONDS
    live = {
        "minimumUpdatePeriod": _duration(UPDATE_SECONDS),
        "timeShiftBufferDepth": _duration(view.window_seconds),
        "suggestedPresentationDelay": _duration(delay),
    }
    over = {"mediaPresentationDuration": _duration(max(segment.end_seconds for segment in newest))}
    attributes = {
        "xmlns": "urn:mpeg:dash:schema:mpd:2011",
        "profiles": "urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019",
        "type": "static" if view.ended else "dynamic",
        "availabilityStartTime": "1970-01-01T00:00:00Z",
        "publishTime": date_time(round(max(_told_at(segment, view) for segment in newest) * 1_000_000)),
        "minBufferTime": _duration(1.0),
        "maxSegmentDuration": _duration(float(longest)),
        **(over if view.ended else live),
    }
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<MPD{_attributes(attributes)}>"]
    lines += [] if view.ended else _service(delay)
    for epoch in sorted({segment.epoch for segments in view.tracks for segment in segments}):
        lines += _period(epoch, view)
    if not view.ended:
        lines.append('  <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-xsdate:2014" value="time"/>')
    return "\n".join([*lines, "</MPD>"]) + "\n"


def _told_at(newest: Segment, view: ManifestView) -> float:
    """Return since when what is told of a track is true, in media seconds: its newest segment began, grew or ended."""
    grown = newest.seconds > _least_seconds(newest, view)
    return newest.end_seconds if grown else newest.start_seconds + _chunk_seconds(newest.track)


def _least_seconds(segment: Segment, view: ManifestView) -> float:
    """Return how long the newest segment of a track is, or will be, at least.

    The leading track may end half a frame before the nominal length, another begin half a frame of its own after it and
    end as much before it; no frame is longer than a chunk. Where its publisher went away it is shorter, which is told
    when something follows it: a timeline never takes back what it told, and FFmpeg repeats a last segment that has no
    whole second in it.
    """
    if view.ended:
        return 0.0
    frame = max(map(_chunk_seconds, view.declared), default=CHUNK_SECONDS)
    return max(0.0, segment.track.segment_seconds - 1.5 * frame)


def _newest_epoch(view: ManifestView) -> Epoch:
    return max(segments[-1].epoch for segments in view.tracks)


def _chunk_seconds(track: Track) -> float:
    return track.chunk_seconds or CHUNK_SECONDS


def _service(delay: float) -> list[str]:
    least, most = min(LATENCY_MIN_SECONDS, delay), max(LATENCY_MAX_SECONDS, delay)
    latency = {"referenceId": 0, "target": _millis(delay), "min": _millis(least), "max": _millis(most)}
    return [
        '  <ServiceDescription id="0">',
        f"    <Latency{_attributes(latency)}/>",
        f"    <PlaybackRate{_attributes({'min': RATE_MIN, 'max': RATE_MAX})}/>",
        "  </ServiceDescription>",
    ]


def _period(epoch: Epoch, view: ManifestView) -> list[str]:
    lines: list[str] = []
    for segments in view.tracks:
        # A timeline has room for what was lost: the next segment begins later.
        own = [segment for segment in segments if segment.epoch == epoch and not segment.lost]
        if own and own[0].track.kind in {"video", "audio"}:
            lines += _adaptation_set(own, view)
    if not lines:  # all of it was lost
        return []
    return [f"  <Period{_attributes({'id': epoch, 'start': _duration(epoch / 1000)})}>", *lines, "  </Period>"]


def _adaptation_set(segments: Sequence[Segment], view: ManifestView) -> list[str]:
    track, epoch = segments[0].track, segments[0].epoch
    offset = epoch * track.timescale // 1000
    language = {} if track.language in {"", "und"} else {"lang": track.language}
    # Where keyframes are further apart than a segment may be long, some begin without one.
    access = {"startWithSAP": 1} if all(segment.independent for segment in segments) else {}
    adaptation = {
        "id": track.track,
        "contentType": track.kind,
        "mimeType": f"{track.kind}/mp4",
        "segmentAlignment": "true",
        **access,
        **language,
    }
    reference = {
        "id": 0,
        "type": "encoder",
        "wallClockTime": date_time(epoch * 1000),
        "presentationTime": offset,
        "inband": "true",
    }
    return [
        f"    <AdaptationSet{_attributes(adaptation)}>",
        f"      <ProducerReferenceTime{_attributes(reference)}>",
        '        <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-xsdate:2014" value="time"/>',
        "      </ProducerReferenceTime>",
        *_template(segments, offset, view),
        *_representation(track),
        "    </AdaptationSet>",
    ]


def _template(segments: Sequence[Segment], offset: int, view: ManifestView) -> list[str]:
    track, epoch = segments[0].track, segments[0].epoch
    # Told with its least length, a segment can be had from its first chunk on.
    ahead = max(0.0, _least_seconds(segments[-1], view) - _chunk_seconds(track))
    template = {
        "timescale": track.timescale,
        "presentationTimeOffset": offset,
        "initialization": f"{epoch}/{track.track}/header.mp4",
        "media": f"{track.track}/t$Time$.m4s",
        **({} if view.ended else {"availabilityTimeOffset": f"{ahead:.3f}", "availabilityTimeComplete": "false"}),
    }
    return [
        f"      <SegmentTemplate{_attributes(template)}>",
        "        <SegmentTimeline>",
        *_timeline(segments, 0.0 if epoch != _newest_epoch(view) else _least_seconds(segments[-1], view)),
        "        </SegmentTimeline>",
        "      </SegmentTemplate>",
    ]


def _timeline(segments: Sequence[Segment], least_seconds: float) -> list[str]:
    """Return the S elements, equal neighbours as one."""
    runs: list[list[int]] = []  # start, duration, repetitions
    end = -1
    for segment in segments:
        least = round(least_seconds * segment.track.timescale) if segment is segments[-1] else 1
        duration = max(1, least, segment.duration)
        if runs and segment.start == end and runs[-1][1] == duration:
            runs[-1][2] += 1
        else:
            runs.append([segment.start, duration, 0])
        end = segment.start + duration
    return [
        f"          <S{_attributes({'t': start, 'd': duration, **({'r': again} if again else {})})}/>"
        for start, duration, again in runs
    ]


def _representation(track: Track) -> list[str]:
    attributes: dict[str, object] = {"id": track.track, "bandwidth": max(1, track.bandwidth), "codecs": track.codec}
    if track.width and track.height:
        attributes |= {"width": track.width, "height": track.height}
    if track.frame_rate:
        attributes["frameRate"] = _rate(track.frame_rate)
    if track.sample_rate:
        attributes["audioSamplingRate"] = track.sample_rate
    if not track.channels:
        return [f"      <Representation{_attributes(attributes)}/>"]
    channels = {"schemeIdUri": _SCHEME_CHANNELS, "value": track.channels}
    return [
        f"      <Representation{_attributes(attributes)}>",
        f"        <AudioChannelConfiguration{_attributes(channels)}/>",
        "      </Representation>",
    ]


def _rate(frame_rate: float) -> str:
    """Return a frame rate as whole numbers: 25, 30000/1001."""
    if abs(frame_rate - round(frame_rate)) < 0.001:
        return str(round(frame_rate))
    return f"{round(frame_rate * 1001 / 1000) * 1000}/1001"


def _duration(seconds: float) -> str:
    """Return an xs:duration."""
    text = f"{seconds:.3f}".rstrip("0").rstrip(".")
    return f"PT{text}S"


def _millis(seconds: float) -> int:
    return round(seconds * 1000)


def _attributes(values: Mapping[str, object]) -> str:
    return "".join(f" {name}={quoteattr(str(value))}" for name, value in values.items())
