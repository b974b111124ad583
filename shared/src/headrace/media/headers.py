"""From a libav stream to a track: its CMAF header, its codec string, and its packets as samples.

With `still` the only module of `headrace.media` that knows PyAV. libav's own muxer writes the header, one muxer for
each track, and nothing else: its mp4 muxer gives wrong times with two tracks and a fragment per frame, and is one frame
late.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import av.error

from headrace.media.bitstream import (
    AnnexBConverter,
    BitstreamError,
    aac_config,
    adts_to_config,
    is_adts,
    is_annexb,
    is_vp9_keyframe,
    join_annexb,
    opus_head,
    opus_samples,
    parameter_sets,
    parse_aac_config,
    strip_adts,
)
from headrace.media.boxes import media_timescale, rewrite_header
from headrace.media.cadence import cadence
from headrace.media.codecs import codec_string
from headrace.media.samples import PackagerOptions, Sample
from headrace.wire.stream import Track

CARRIED_VIDEO = frozenset({"h264", "hevc", "av1", "vp9"})
"""libav's names of the video codecs that are carried as they come."""
CARRIED_AUDIO = frozenset({"aac", "opus", "flac", "mp3"})
"""libav's names of the audio codecs that are carried as they come."""

VIDEO_TIMESCALE = 90_000
"""Ticks per second of video, unless the source's own clock does not fit into it."""

FRAME_RATE_MAX = 300.0
"""Frames per second above which libav's guess is taken for a mistake, such as the clock itself."""


class UnsupportedTrack(Exception):
    """A stream of the source that cannot be carried as it is; says why."""


class ParametersMissing(UnsupportedTrack):
    """Its parameter sets have not come yet: they come with a keyframe."""


class HeaderChanged(Exception):
    """The source changed its parameter sets: begin a new epoch with `TrackReader(..., extradata=exc.extradata)`.

    Attributes:
        extradata: the new parameter sets or configuration record, to be handed to the next `TrackReader`.
    """

    def __init__(self, extradata: bytes) -> None:
        super().__init__(extradata)
        self.extradata = extradata

    def __str__(self) -> str:
        return f"the source sent other parameter sets ({len(self.extradata)} bytes) than the header has"


def is_carried(codec: str) -> bool:
    """Return whether a codec, by libav's name of it, is carried without re-encoding."""
    return codec in CARRIED_VIDEO or codec in CARRIED_AUDIO


class TrackReader:
    """Reads one stream of an open source: what it is, and its packets as samples.

    Attributes:
        track: its description, with the CMAF header.
        sample: makes a sample of a packet and its capture time, UTC in microseconds. Raises `HeaderChanged` when the
            packet brings parameter sets that the header lacks, and ValueError when it has no decode time, which the
            source has to repair.

    Args:
        stream: PyAV stream of an input, or of an output whose encoding was started.
        number: track number it gets.
        options: for the nominal lengths of chunks and parts.
        extradata: codec configuration to use instead of the stream's own: what `HeaderChanged` brought, or the
            data of the first keyframe where the source announced nothing.

    Raises:
        UnsupportedTrack: when the codec is not carried, or the source has not told its configuration.
    """

    def __init__(self, stream: Any, number: int, options: PackagerOptions, extradata: bytes = b"") -> None:
        context = stream.codec_context
        codec = context.codec.canonical_name
        if not is_carried(codec):
            raise UnsupportedTrack(f"{stream.type} codec {codec} cannot be carried without re-encoding")
        self._codec = codec
        self._number = number
        self._video = stream.type == "video"
        if not self._video and context.sample_rate <= 0:
            raise UnsupportedTrack(f"the source did not tell the sample rate of its {codec} stream")
        # Where a configuration is told there are no ADTS headers, and the other way round.
        self._adts = is_adts(extradata) or not (extradata or context.extradata)
        try:
            extradata = _configuration(codec, context, extradata)
            self._frame = 0.0 if self._video else _audio_frame_seconds(codec, context, extradata)
        except BitstreamError as error:
            raise UnsupportedTrack(f"{codec} stream: {error}") from error
        header = rewrite_header(_libav_header(stream, codec, extradata, _timescale(stream)), number)
        timescale = media_timescale(header)
        ratio = Fraction(stream.time_base) * timescale
        self._up, self._down = ratio.numerator, ratio.denominator
        self._exact = self._up == self._down
        self._frame_ticks = 0 if codec == "opus" else round(self._frame * timescale)
        self._convert = self._converter(extradata)
        self.sample: Callable[[Any, int], Sample] = self._picture if self._video else self._sound
        self.track = self._describe(stream, number, options, header, timescale)

    def _sound(self, packet: Any, capture_us: int) -> Sample:
        dts = packet.dts
        if dts is None:
            raise ValueError("packet without decode time")
        data = memoryview(packet) if self._convert is None else self._convert(bytes(packet))
        duration = self._frame_ticks or (opus_samples(data) if self._codec == "opus" else self._scale(packet.duration))
        time = dts if self._exact else self._scale(dts)
        return Sample(self._number, time, time, duration, True, data, capture_us)

    def _picture(self, packet: Any, capture_us: int) -> Sample:
        dts = packet.dts
        if dts is None:
            raise ValueError("packet without decode time")
        pts, duration, keyframe = packet.pts, packet.duration or 0, packet.is_keyframe
        if self._codec == "vp9" and not keyframe:
            keyframe = is_vp9_keyframe(memoryview(packet))
        if self._convert is not None:
            data: bytes | memoryview = self._convert(bytes(packet))
        elif keyframe and packet.has_sidedata("new_extradata"):
            raise HeaderChanged(bytes(packet.get_sidedata("new_extradata")))
        else:
            data = memoryview(packet)
        if pts is None:
            pts = dts
        if not self._exact:
            dts, pts, duration = self._scale(dts), self._scale(pts), self._scale(duration)
        return Sample(self._number, pts, dts, duration, keyframe, data, capture_us)

    def _scale(self, ticks: int | None) -> int:
        """Return a time of the stream in ticks of the track."""
        return ((ticks or 0) * self._up + self._down // 2) // self._down

    def _converter(self, extradata: bytes) -> Callable[[bytes], bytes] | None:
        """Return what makes an mdat's bytes of a packet's, `None` when they are the same."""
        if self._codec == "aac":
            return strip_adts if self._adts else None
        if self._codec not in {"h264", "hevc"} or not is_annexb(extradata):
            return None
        converter = AnnexBConverter("h264" if self._codec == "h264" else "hevc", extradata)

        def convert(data: bytes) -> bytes:
            sample = converter.convert(data)
            if sample is None:
                raise HeaderChanged(join_annexb(parameter_sets(converter.codec, data)))
            return sample

        return convert

    def _describe(self, stream: Any, number: int, options: PackagerOptions, header: bytes, timescale: int) -> Track:
        context = stream.codec_context
        rate = _frame_rate(stream) if self._video else 0.0
        rhythm = cadence(1 / rate if rate else self._frame, options)
        return Track(
            track=number,
            kind="video" if self._video else "audio",
            codec=codec_string(header),
            timescale=timescale,
            header=header,
            width=context.width if self._video else 0,
            height=context.height if self._video else 0,
            frame_rate=rate,
            sample_rate=0 if self._video else context.sample_rate,
            channels=0 if self._video else context.channels,
            bandwidth=context.bit_rate or 0,
            chunk_seconds=rhythm.chunk_seconds,
            part_seconds=rhythm.part_seconds,
            language=stream.language or "und",
        )


def _configuration(codec: str, context: Any, given: bytes) -> bytes:
    """Return the codec configuration in a form that libav's muxer takes."""
    known = given or context.extradata or b""
    if codec == "aac":
        return adts_to_config(known) if is_adts(known) else known or _adts_config(context)
    if codec == "opus":
        return known or opus_head(context.channels)
    if codec in {"h264", "hevc"}:
        return _require(known, codec)
    return known


def _adts_config(context: Any) -> bytes:
    """Return the configuration of AAC that MPEG-TS carries with ADTS headers only, from what libav found in them."""
    doubled = "HE" in (context.profile or "")
    return aac_config(context.sample_rate // (2 if doubled else 1), context.channels)


def _require(extradata: bytes, codec: str) -> bytes:
    if not extradata:
        raise ParametersMissing(f"the source did not tell the configuration of its {codec} stream")
    return extradata


def _libav_header(stream: Any, codec: str, extradata: bytes, timescale: int) -> bytes:
    """Return ftyp and moov as libav's muxer writes them for one stream."""
    file = BytesIO()
    options = {"movflags": "frag_custom+empty_moov+default_base_moof+cmaf", "video_track_timescale": str(timescale)}
    try:
        with av.open(file, "w", format="mp4", options=options) as container:
            # These are decoded by what encodes nothing, so there is no encoder to describe them.
            out: Any = container.add_stream_from_template(stream, opaque=codec in {"av1", "mp3"})
            out.time_base = Fraction(1, timescale)
            if codec == "hevc":
                out.codec_context.codec_tag = "hvc1"
            if extradata != (stream.codec_context.extradata or b""):
                out.codec_context.extradata = extradata
            container.start_encoding()
            header = file.getvalue()
    except (av.error.FFmpegError, ValueError) as error:
        raise UnsupportedTrack(f"libav writes no mp4 header for this {codec} stream: {error}") from error
    return header


def _timescale(stream: Any) -> int:
    """Return the ticks per second that the track's times are exact in."""
    if stream.type != "video":
        return int(stream.codec_context.sample_rate)
    base = Fraction(stream.time_base)
    if VIDEO_TIMESCALE * base.numerator % base.denominator == 0 or base.denominator > 1_000_000:
        return VIDEO_TIMESCALE
    return base.denominator


def _frame_rate(stream: Any) -> float:
    """Return the fixed frame rate of a video stream, 0 when it varies or is not known."""
    average, guessed = stream.average_rate, stream.guessed_rate
    rate = float(guessed or average or 0)
    if not 0 < rate <= FRAME_RATE_MAX:
        return 0.0
    return rate if not average or abs(float(average) - rate) <= 0.02 * rate else 0.0


def _audio_frame_seconds(codec: str, context: Any, extradata: bytes) -> float:
    """Return how long a frame of an audio stream lasts, 0 when that varies."""
    if codec == "aac":
        config = parse_aac_config(extradata)
        return config.frame_samples / config.sample_rate
    if codec == "opus":
        return (context.frame_size or 960) / 48000
    return float(context.frame_size / context.sample_rate) if context.frame_size else 0.0
