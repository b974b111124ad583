"""Codec strings (RFC 6381 and the codecs' own documents) read from the sample entry of a header.

They come from the very bytes that the player gets, so they cannot disagree with them.
"""

from __future__ import annotations

from headrace.media.bitstream import parse_aac_config
from headrace.media.boxes import Box, BoxError, read_boxes, sample_entry

_VIDEO_ENTRY_BYTES = 78
"""Fields of a VisualSampleEntry before its boxes (ISO/IEC 14496-12, 12.1.3)."""
_AUDIO_ENTRY_BYTES = 28
"""Fields of an AudioSampleEntry before its boxes (12.2.3)."""

_PLAIN = {"Opus": "opus", "fLaC": "flac", "ac-3": "ac-3", "ec-3": "ec-3"}


def codec_string(header: bytes) -> str:
    """Return the codec string of a single-track header, as `MediaSource.isTypeSupported` takes it.

    Raises:
        BoxError: when the header is malformed.
        BitstreamError: when it holds a malformed AAC configuration.
    """
    entry = sample_entry(header)
    if entry.type in _PLAIN:
        return _PLAIN[entry.type]
    readers = {
        "avc1": _avc,
        "avc3": _avc,
        "hvc1": _hevc,
        "hev1": _hevc,
        "av01": _av1,
        "vp08": _vp,
        "vp09": _vp,
        "mp4a": _mp4a,
        ".mp3": _mp3,
    }
    reader = readers.get(entry.type)
    if reader is None:
        raise BoxError(f"no codec string is known for the sample entry {entry.type!r}")
    return reader(entry)


def _configuration(entry: Box, name: str, fields: int, least: int) -> bytes:
    """Return the contents of the configuration box of a sample entry, at least `least` bytes."""
    for box in read_boxes(entry.data, min(entry.body + fields, entry.end), entry.end):
        if box.type == name:
            if len(box.contents) < least:
                raise BoxError(f"box {name} of {len(box.contents)} bytes, at least {least} were due")
            return bytes(box.contents)
    raise BoxError(f"sample entry {entry.type} without {name}")


def _avc(entry: Box) -> str:
    """ISO/IEC 14496-15, annex E.2: profile, constraints and level as in the sequence parameter set."""
    return f"{entry.type}.{_configuration(entry, 'avcC', _VIDEO_ENTRY_BYTES, 4)[1:4].hex()}"


def _hevc(entry: Box) -> str:
    """ISO/IEC 14496-15, annex E.3."""
    record = _configuration(entry, "hvcC", _VIDEO_ENTRY_BYTES, 13)
    space = ("", "A", "B", "C")[record[1] >> 6]
    tier = "H" if record[1] & 0x20 else "L"
    compatible = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)
    constraints = "".join(f".{byte:X}" for byte in record[6:12].rstrip(b"\x00"))
    return f"{entry.type}.{space}{record[1] & 0x1F}.{compatible:X}.{tier}{record[12]}{constraints}"


def _av1(entry: Box) -> str:
    """AV1 Codec ISO Media File Format Binding, section 5, without the optional fields."""
    record = _configuration(entry, "av1C", _VIDEO_ENTRY_BYTES, 4)
    tier = "H" if record[2] & 0x80 else "M"
    depth = 8 if not record[2] & 0x40 else 12 if record[2] & 0x20 else 10
    return f"av01.{record[1] >> 5}.{record[1] & 0x1F:02d}{tier}.{depth:02d}"


def _vp(entry: Box) -> str:
    """VP Codec ISO Media File Format Binding, "Codecs Parameter String"."""
    record = _configuration(entry, "vpcC", _VIDEO_ENTRY_BYTES, 7)
    return f"{entry.type}.{record[4]:02d}.{record[5]:02d}.{record[6] >> 4:02d}"


def _mp3(entry: Box) -> str:
    return "mp3"


def _mp4a(entry: Box) -> str:
    """RFC 6381, section 3.3: object type indication, and for MPEG-4 audio the audio object type."""
    kind, specific = _decoder_config(_configuration(entry, "esds", _AUDIO_ENTRY_BYTES, 4)[4:])
    if kind != 0x40:
        return f"mp4a.{kind:02x}"
    return f"mp4a.40.{parse_aac_config(specific).object_type}"


def _decoder_config(descriptors: bytes) -> tuple[int, bytes]:
    """Return object type indication and DecoderSpecificInfo (ISO/IEC 14496-1, 7.2.6.5 to 7.2.6.7)."""
    stream = _descriptor(descriptors, 0x03)
    if len(stream) < 3:
        raise BoxError("esds ends too early")
    flags = stream[2]
    skip = 3 + (2 if flags & 0x80 else 0) + (2 if flags & 0x20 else 0)
    if flags & 0x40:
        skip += 1 + stream[skip] if skip < len(stream) else 1
    config = _descriptor(stream[skip:], 0x04)
    if len(config) < 13:
        raise BoxError("esds ends too early")
    return config[0], _descriptor(config[13:], 0x05) if len(config) > 13 else b""


def _descriptor(data: bytes, tag: int) -> bytes:
    """Return the contents of the descriptor that `data` begins with (8.3.3: seven bits of length a byte)."""
    if not data or data[0] != tag:
        raise BoxError(f"esds without descriptor {tag}")
    length, at = 0, 1
    while at < min(5, len(data)):
        length = length << 7 | data[at] & 0x7F
        at += 1
        if not data[at - 1] & 0x80:
            break
    if at + length > len(data):
        raise BoxError(f"descriptor {tag} claims {length} bytes, {len(data) - at} are there")
    return data[at : at + length]
