"""The DASH manifest (ISO/IEC 23009-1) of what a window holds.

Decode times are UTC, so the presentation begins in 1970 and a Period begins at its epoch's own number, which is UTC in
milliseconds: nobody has to remember when anything began. Segments are named by number and timed by a timeline; the one
that is being made is listed with the length of the one before, to be fetched while it grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """

    tracks: Sequence[Sequence[Segment]]
    window_seconds: float
    ended: bool = False
    start_seconds: float | None = None


def manifest(view: ManifestView) -> str:
    """Return the MPD."""
    newest = [segments[-1] for segments in view.tracks if segments]
    end = max(segment.end_seconds for segment in newest)
    began = max((segment.start_seconds for segment in newest), default=end)
    longest = max(target_seconds(segment.track) for segments in view.tracks for segment in segments)
    delay = view.start_seconds or LATENCY_SECONDS
    attributes = {
        "xmlns": "urn:mpeg:dash:schema:mpd:2011",
        "profiles": "urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019",
        "type": "dynamic",
        "availabilityStartTime": "1970-01-01T00:00:00Z",
        "publishTime": date_time(round(began * 1_000_000)),
        **(
            {"mediaPresentationDuration": _duration(end)}
            if view.ended
            else {"minimumUpdatePeriod": _duration(UPDATE_SECONDS)}
        ),
        "minBufferTime": _duration(1.0),
        "timeShiftBufferDepth": _duration(view.window_seconds),
        "maxSegmentDuration": _duration(float(longest)),
        "suggestedPresentationDelay": _duration(delay),
    }
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<MPD{_attributes(attributes)}>", *_service(delay)]
    for epoch in sorted({segment.epoch for segments in view.tracks for segment in segments}):
        lines += _period(epoch, view)
    lines += [
        '  <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-xsdate:2014" value="time"/>',
        "</MPD>",
    ]
    return "\n".join(lines) + "\n"


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
        own = _without_lost_ends([segment for segment in segments if segment.epoch == epoch])
        if own and own[0].track.kind in {"video", "audio"}:
            lines += _adaptation_set(own, view.ended)
    if not lines:  # all of it was lost
        return []
    return [f"  <Period{_attributes({'id': epoch, 'start': _duration(epoch / 1000)})}>", *lines, "  </Period>"]


def _without_lost_ends(segments: list[Segment]) -> list[Segment]:
    """Return the segments of an epoch from the first to the last that can be had: DASH has no gaps, only numbers.

    Numbers that a publisher that died may have given out have no time of their own; they would reach into the next
    Period.
    """
    had = [index for index, segment in enumerate(segments) if not segment.lost]
    return segments[had[0] : had[-1] + 1] if had else []


def _adaptation_set(segments: Sequence[Segment], ended: bool) -> list[str]:
    track, epoch = segments[0].track, segments[0].epoch
    offset = epoch * track.timescale // 1000
    language = {} if track.language in {"", "und"} else {"lang": track.language}
    adaptation = {
        "id": track.track,
        "contentType": track.kind,
        "mimeType": f"{track.kind}/mp4",
        "segmentAlignment": "true",
        "startWithSAP": 1,
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
        *_template(segments, offset, ended),
        *_representation(track),
        "    </AdaptationSet>",
    ]


def _template(segments: Sequence[Segment], offset: int, ended: bool) -> list[str]:
    track, epoch = segments[0].track, segments[0].epoch
    ahead = max(0.0, track.segment_seconds - (track.chunk_seconds or CHUNK_SECONDS))
    template = {
        "timescale": track.timescale,
        "presentationTimeOffset": offset,
        "startNumber": segments[0].number,
        "initialization": f"{epoch}/{track.track}/header.mp4",
        "media": f"{epoch}/{track.track}/$Number$.m4s",
        **({} if ended else {"availabilityTimeOffset": f"{ahead:.3f}", "availabilityTimeComplete": "false"}),
    }
    return [
        f"      <SegmentTemplate{_attributes(template)}>",
        "        <SegmentTimeline>",
        *_timeline(segments),
        "        </SegmentTimeline>",
        "      </SegmentTemplate>",
    ]


def _timeline(segments: Sequence[Segment]) -> list[str]:
    """Return the S elements, equal neighbours as one."""
    runs: list[list[int]] = []  # start, duration, repetitions
    end = -1
    for segment, duration in zip(segments, _durations(segments), strict=True):
        if runs and segment.start == end and runs[-1][1] == duration:
            runs[-1][2] += 1
        else:
            runs.append([segment.start, duration, 0])
        end = segment.start + duration
    return [
        f"          <S{_attributes({'t': start, 'd': duration, **({'r': again} if again else {})})}/>"
        for start, duration, again in runs
    ]


def _durations(segments: Sequence[Segment]) -> list[int]:
    """Return how long segments are, the open one as long as the one before or as it is already."""
    durations = [max(1, segment.duration) for segment in segments]
    last = segments[-1]
    if not last.closed:
        usual = round(last.track.segment_seconds * last.track.timescale)
        durations[-1] = max(durations[-2] if len(segments) > 1 else usual, last.duration, 1)
    return durations


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
