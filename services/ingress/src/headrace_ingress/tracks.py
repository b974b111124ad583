"""One elementary stream of a libav container on its way to becoming a track's samples."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import av.error

from headrace.media.bitstream import VideoCodec, is_annexb, join_annexb, parameter_sets
from headrace.media.headers import HeaderChanged, ParametersMissing, TrackReader, UnsupportedTrack
from headrace.media.samples import PackagerOptions, Sample
from headrace.wire.stream import Track
from headrace_ingress.source import LATE, Note, SourceBroken
from headrace_ingress.stamped import Stamped
from headrace_ingress.timing import Stamps, TrackClock
from headrace_ingress.transcode import EncodedFeed, is_encoded

VIDEO_CODECS = {"h264": "H.264", "hevc": "H.265", "av1": "AV1", "vp9": "VP9"}
AUDIO_CODECS = {"aac": "AAC", "opus": "Opus", "mp3": "MP3", "flac": "FLAC"}
"""What is carried as it is, by libav's name."""

_SEQUENCE_TYPES = {"h264": {7}, "hevc": {32, 33}}
"""NAL unit types of the parameter sets that describe the picture: SPS, and VPS and SPS."""


def choose_streams(container: av.container.InputContainer, note: Note) -> list[Any]:
    """Return the container's first video and first audio stream that is carried or can be encoded, video first.

    One that is carried as it is goes before one that would have to be encoded.

    Raises:
        SourceBroken: when there is neither; the sentence names the codecs that there are.
    """
    chosen, refused = [], []
    for streams, known in ((container.streams.video, VIDEO_CODECS), (container.streams.audio, AUDIO_CODECS)):
        usable = [stream for stream in streams if not is_cover(stream)]
        fitting = [stream for stream in usable if codec_name(stream) in known]
        fitting += [stream for stream in usable if is_encoded(codec_name(stream))]
        if fitting:
            chosen.append(fitting[0])
        elif usable:
            refused.append(f"{usable[0].type} codec {codec_name(usable[0])}")
    allowed = ", ".join([*VIDEO_CODECS.values(), *AUDIO_CODECS.values(), "raw video, Motion JPEG and PCM"])
    if not chosen:
        what = " and ".join(refused) or "no video and no audio"
        raise SourceBroken(f"{what}: only {allowed} can be carried")
    if refused:
        note(f"{' and '.join(refused)} cannot be carried and is left out; there are {allowed}")
    return chosen


def make_feeds(
    streams: Sequence[Any], options: PackagerOptions, note: Note, *, parser_delay: bool
) -> dict[int, TrackFeed | EncodedFeed]:
    """Return what makes samples of chosen streams, by the streams' indices.

    Raises:
        SourceBroken: when one of them cannot be carried after all.
    """
    feeds: dict[int, TrackFeed | EncodedFeed] = {}
    for number, stream in enumerate(streams, 1):
        if is_encoded(codec_name(stream)):
            feeds[stream.index] = EncodedFeed(stream, number, options, note)
        else:
            feeds[stream.index] = TrackFeed(stream, number, options, parser_delay)
    return feeds


def codec_name(stream: Any) -> str:
    """Return libav's name of the codec, or `unknown`."""
    context = stream.codec_context
    return "unknown" if context is None else str(context.codec.canonical_name)


def is_cover(stream: Any) -> bool:
    """Whether it is a picture attached to a file and no video."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


class TrackFeed(Stamped):
    """Makes samples of one track out of packets.

    Attributes:
        track: what the samples are of; another object after `push` means that the header changed.
        is_video: whether it is.

    Args:
        stream: of an open container.
        number: of the track.
        options: how the feed is cut.
        parser_delay: whether a packet comes out of libav only when the next one begins, one frame late.

    Raises:
        SourceBroken: when its codec or parameters cannot be carried.
    """

    def __init__(self, stream: Any, number: int, options: PackagerOptions, parser_delay: bool) -> None:
        self._stream = stream
        self._number = number
        self._options = options
        self._codec = codec_name(stream)
        self._extradata: bytes = stream.codec_context.extradata or b""
        self.is_video = stream.type == "video"
        self._reader = self._make_reader(stream)
        frame_seconds = 1 / self.track.frame_rate if self.track.frame_rate else 0.0
        delay = frame_seconds if parser_delay and self.is_video else 0.0
        reorder = int(stream.codec_context.reorder_depth) if self.is_video else 0
        self._tick = float(Fraction(stream.time_base))
        super().__init__(TrackClock(Fraction(stream.time_base), frame_seconds, reorder, delay))
        self._pending: deque[av.Packet[Any]] = deque()

    @property
    def track(self) -> Track:
        return self._reader.track

    def push(self, packet: av.Packet[Any]) -> list[Sample]:
        """Take the next packet; return the samples that are whole now.

        Raises:
            SourceBroken: when the header changed to what cannot be carried.
        """
        self._pending.append(packet)
        return self._samples(self._clock.push(Stamps(packet.pts, packet.dts, packet.duration or 0)))

    def flush(self) -> list[Sample]:
        """Return what is still held."""
        return self._samples(self._clock.flush())

    def _samples(self, stamps: list[Stamps]) -> list[Sample]:
        samples = []
        for whole in stamps:
            packet = self._pending.popleft()
            packet.pts, packet.dts, packet.duration = whole.pts, whole.dts, whole.duration
            assert whole.pts is not None
            captured = self._clock.captured_us(whole.pts * self._tick, sender_time(packet))
            sample = self._sample(packet, captured)
            # Parameter sets on their own leave nothing for a sample.
            if sample.data:
                samples.append(sample)
        return samples

    def _sample(self, packet: av.Packet[Any], captured_us: int) -> Sample:
        try:
            return self._reader.sample(packet, captured_us)
        except HeaderChanged as changed:
            self._renew(packet, changed.extradata)
            return self._reader.sample(packet, captured_us)

    def _renew(self, packet: av.Packet[Any], extradata: bytes) -> None:
        """Describe the track anew, from parameter sets that came in the packet."""
        if not is_annexb(extradata):
            raise SourceBroken(f"the configuration of its {self._codec} video changed in the middle")
        self._extradata = merge_parameter_sets(self._codec, self._extradata, extradata)
        access_unit = self._extradata + bytes(packet)
        options = {"framerate": str(self._stream.average_rate or 25)}
        with av.open(io.BytesIO(access_unit), format=self._codec, options=options) as container:
            stream = container.streams.video[0]
            stream.time_base = self._stream.time_base
            self._reader = self._make_reader(stream, self._extradata)

    def _make_reader(self, stream: Any, extradata: bytes = b"") -> TrackReader:
        try:
            return TrackReader(stream, self._number, self._options, extradata)
        except ParametersMissing as error:
            raise SourceBroken(str(error), LATE) from None
        except (UnsupportedTrack, ValueError) as error:
            raise SourceBroken(str(error)) from None


def merge_parameter_sets(codec: str, old: bytes, new: bytes) -> bytes:
    """Return the parameter sets (Annex B) that are valid after `new` ones came.

    An SPS or VPS replaces all of its kind, for the picture changed. Where only PPS came, they are added: an encoder may
    alternate between several, and shall not make a new header each time.
    """
    kind: VideoCodec = "h264" if codec == "h264" else "hevc"
    old_units, new_units = parameter_sets(kind, old), parameter_sets(kind, new)
    if any(_unit_type(codec, unit) in _SEQUENCE_TYPES[codec] for unit in new_units):
        replaced = {_unit_type(codec, unit) for unit in new_units}
        old_units = [unit for unit in old_units if _unit_type(codec, unit) not in replaced]
    units = [*old_units, *(unit for unit in new_units if unit not in old_units)]
    return join_annexb(sorted(units, key=lambda unit: _unit_type(codec, unit)))


def _unit_type(codec: str, unit: bytes) -> int:
    return unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F


def sender_time(packet: av.Packet[Any]) -> int | None:
    """Return the capture time that the sender tells (RTCP sender reports), in microseconds of UTC."""
    if not packet.has_sidedata("prft"):
        return None
    # AVProducerReferenceTime: int64 wallclock in microseconds, int flags.
    return int.from_bytes(bytes(packet.get_sidedata("prft"))[:8], "little", signed=True)
