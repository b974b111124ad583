"""Elementary streams as sources deliver them, turned into what an mdat holds.

RTSP and MPEG-TS carry H.264 and H.265 with start codes (Annex B of either standard) and AAC with ADTS headers; CMAF
wants NAL units with lengths, parameter sets in the header only, and bare AAC frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

VideoCodec = Literal["h264", "hevc"]

START_CODE = b"\x00\x00\x01"
_MPEG4_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
"""Sampling frequencies by index (ISO/IEC 14496-3, table 1.18)."""

_H264_SETS = frozenset({7, 8, 13})
"""Sequence and picture parameter sets, and the sequence's extension (ITU-T H.264, table 7-1)."""
_H264_IDLE = frozenset({9, 12})
"""Access unit delimiter and filler data, which mean nothing once a sample has a length."""
_H265_SETS = frozenset({32, 33, 34})
"""Video, sequence and picture parameter sets (ITU-T H.265, table 7-1)."""
_H265_IDLE = frozenset({35, 38})
"""Access unit delimiter and filler data."""


class BitstreamError(Exception):
    """An access unit or a configuration that does not follow its codec's format; the feed's fault."""


def is_annexb(data: bytes) -> bool:
    """Return whether `data` begins with a start code; a length-prefixed unit never does, nor do avcC and hvcC."""
    return data[:3] == START_CODE or data[:4] == b"\x00\x00\x00\x01"


def split_annexb(data: bytes) -> Iterator[bytes]:
    """Yield the NAL units between start codes, without them and without the zeros that may follow a unit."""
    begin = data.find(START_CODE)
    while begin >= 0:
        begin += 3
        following = data.find(START_CODE, begin)
        unit = data[begin : len(data) if following < 0 else following].rstrip(b"\x00")
        if unit:
            yield unit
        begin = following


def is_parameter_set(codec: VideoCodec, unit: bytes) -> bool:
    """Return whether a NAL unit describes the stream instead of being a piece of a picture."""
    return unit[0] & 0x1F in _H264_SETS if codec == "h264" else unit[0] >> 1 & 0x3F in _H265_SETS


def is_idle(codec: VideoCodec, unit: bytes) -> bool:
    """Return whether a NAL unit can be left out of a sample: a delimiter or filler."""
    return unit[0] & 0x1F in _H264_IDLE if codec == "h264" else unit[0] >> 1 & 0x3F in _H265_IDLE


def parameter_sets(codec: VideoCodec, data: bytes) -> list[bytes]:
    """Return the parameter sets among the NAL units of an access unit or a configuration with start codes."""
    return [unit for unit in split_annexb(data) if is_parameter_set(codec, unit)]


def join_annexb(units: list[bytes]) -> bytes:
    """Return NAL units with four-byte start codes."""
    return b"".join(b"\x00" + START_CODE + unit for unit in units)


class AnnexBConverter:
    """Turns access units with start codes into samples, and notices parameter sets that are not in the header.

    Attributes:
        known: the parameter sets that the track's header holds.
    """

    def __init__(self, codec: VideoCodec, configuration: bytes) -> None:
        self.codec = codec
        self.known = frozenset(parameter_sets(codec, configuration))

    def convert(self, data: bytes) -> bytes | None:
        """Return `data` as a sample; `None` when it brings parameter sets that the header lacks.

        Parameter sets that the header has, delimiters and filler are left out.
        """
        pieces: list[bytes] = []
        codec, known = self.codec, self.known
        for unit in split_annexb(data):
            if is_parameter_set(codec, unit):
                if unit not in known:
                    return None
            elif not is_idle(codec, unit):
                pieces.append(len(unit).to_bytes(4, "big"))
                pieces.append(unit)
        return b"".join(pieces)


def is_vp9_keyframe(data: bytes | memoryview) -> bool:
    """Return whether decoding can begin with a frame of VP9, or with the first of a superframe.

    Its uncompressed header tells (VP9 Bitstream & Decoding Process Specification, 6.2); of RTP libav does not.
    """
    if not data or data[0] >> 6 != 2:
        return False
    # After the frame marker: two bits of the profile, one reserved in profile 3, show_existing_frame, frame_type.
    shift = 1 if data[0] >> 4 & 3 == 3 else 2
    return not data[0] >> shift & 3


@dataclass(frozen=True, slots=True)
class AacConfig:
    """What an AudioSpecificConfig says (ISO/IEC 14496-3, 1.6.2.1).

    Attributes:
        object_type: 2 is AAC-LC, 5 SBR, 29 parametric stereo.
        sample_rate: samples per second of the core, before SBR doubles them.
        channels: channel configuration; 0 means that the stream itself says it.
        frame_samples: samples per frame at `sample_rate`.
    """

    object_type: int
    sample_rate: int
    channels: int
    frame_samples: int


def parse_aac_config(data: bytes) -> AacConfig:
    """Read the beginning of an AudioSpecificConfig.

    Raises:
        BitstreamError: when it ends too early or has a reserved sampling frequency, or none.
    """
    bits = _Bits(data)
    object_type = _object_type(bits)
    rate, channels = _rate(bits), bits.take(4)
    core_type = object_type
    if object_type in {5, 29}:
        _rate(bits)
        core_type = _object_type(bits)
    short = core_type in {1, 2, 3, 4, 6, 7} and bits.take(1)
    return AacConfig(object_type, rate, channels, 960 if short else 1024)


def _object_type(bits: _Bits) -> int:
    kind = bits.take(5)
    return 32 + bits.take(6) if kind == 31 else kind


def _rate(bits: _Bits) -> int:
    index = bits.take(4)
    if index == 15:
        rate = bits.take(24)
        if not rate:
            raise BitstreamError("AAC configuration with a sampling frequency of 0")
        return rate
    if index >= len(_MPEG4_RATES):
        raise BitstreamError(f"AAC configuration with the reserved sampling frequency index {index}")
    return _MPEG4_RATES[index]


class _Bits:
    """Reads bits from the highest to the lowest, never beyond the end."""

    def __init__(self, data: bytes) -> None:
        self.value = int.from_bytes(data, "big")
        self.left = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self.left:
            raise BitstreamError("AAC configuration ends too early")
        self.left -= count
        return self.value >> self.left & (1 << count) - 1


ADTS_BYTES = 7
"""An ADTS header without its checksum (ISO/IEC 14496-3, 1.A.2.2)."""


def is_adts(data: bytes) -> bool:
    """Return whether an AAC frame begins with an ADTS header: twelve ones, layer 0, and a length that fits."""
    if len(data) < ADTS_BYTES or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        return False
    return _adts_length(data) == len(data)


def strip_adts(data: bytes) -> bytes:
    """Return an AAC frame without its ADTS header, if it has one."""
    if not is_adts(data):
        return data
    return data[ADTS_BYTES if data[1] & 1 else ADTS_BYTES + 2 :]


def adts_to_config(data: bytes) -> bytes:
    """Return the AudioSpecificConfig that the ADTS header of a frame stands for.

    Raises:
        BitstreamError: when there is no ADTS header.
    """
    if not is_adts(data):
        raise BitstreamError("no ADTS header")
    return _pack_aac_config((data[2] >> 6) + 1, data[2] >> 2 & 0x0F, (data[2] & 1) << 2 | data[3] >> 6)


def aac_config(sample_rate: int, channels: int) -> bytes:
    """Return the AudioSpecificConfig of AAC-LC with this core rate; SBR inside it stays implicit.

    Raises:
        BitstreamError: when the rate has no index, or there is no configuration of so many channels.
    """
    if sample_rate not in _MPEG4_RATES or not (1 <= channels <= 6 or channels == 8):
        raise BitstreamError(f"no AAC configuration for {channels} channels at {sample_rate} Hz")
    return _pack_aac_config(2, _MPEG4_RATES.index(sample_rate), 7 if channels == 8 else channels)


def _pack_aac_config(object_type: int, rate_index: int, channels: int) -> bytes:
    return (object_type << 11 | rate_index << 7 | channels << 3).to_bytes(2, "big")


def _adts_length(data: bytes) -> int:
    return (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5


OPUS_TOC_FRAME_SAMPLES = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4
"""Samples at 48 kHz of one frame, by configuration number (RFC 6716, table 2)."""


def opus_samples(packet: bytes | memoryview) -> int:
    """Return how many samples at 48 kHz an Opus packet lasts, 0 for an empty one (RFC 6716, section 3.2)."""
    if not packet:
        return 0
    counted = packet[1] & 0x3F if len(packet) > 1 else 0
    frames = (1, 2, 2, counted)[packet[0] & 3]
    return OPUS_TOC_FRAME_SAMPLES[packet[0] >> 3] * frames


def opus_head(channels: int, sample_rate: int = 48000) -> bytes:
    """Return the OpusHead that RTP leaves out (RFC 7845, section 5.1), for mono or stereo."""
    return b"OpusHead\x01" + bytes([channels]) + bytes(2) + sample_rate.to_bytes(4, "little") + bytes(3)
