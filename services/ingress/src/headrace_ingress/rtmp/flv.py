"""RTMP's media messages as an FLV file, which is what libav reads them as ("Video File Format Specification 10", E).

Theory of operation
-------------------
A file has the tracks that its header promises, each in one codec with one configuration. So a `Section` is begun with
what the publisher said or sent first, takes what fits, leaves out the rest, and says when it is over since a codec or a
configuration changed: then another begins. Enhanced RTMP's tags are FLV tags too; several tracks of one kind in a tag
are not read, the first of each kind is what is carried.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headrace_ingress.rtmp.amf import Value, encode
from headrace_ingress.rtmp.protocol import Media, MediaKind

OPENING_MS: Final = 500
"""How long the other kind of media is waited for where metadata does not say whether it will come."""

OPENING_MAX_BYTES: Final = 2 * 1024 * 1024
"""Most that is held meanwhile."""

ORIGIN_MS: Final = 10_000
"""The time that a section begins at: what comes a little out of order is not before it."""

RATE_MAX: Final = 300.0
"""Frames per second above which what metadata says is not believed."""

_AAC: Final = 10
_ENHANCED_AUDIO: Final = 9
_AVC: Final = 7
_HEVC_LEGACY: Final = 12
_SEQUENCE_START: Final = 0
_MULTITRACK_AUDIO, _MULTITRACK_VIDEO = 5, 6
_MOD_EX: Final = 7
_COMMAND_FRAME: Final = 5
_EMPTY = (0).to_bytes(4, "big")


class Section:
    """One FLV file of a publisher's stream.

    Attributes:
        is_open: whether the header was written: before it, everything is held.
    """

    def __init__(self, metadata: Mapping[str, Value]) -> None:
        self.is_open = False
        self._metadata = metadata
        self._kinds = {kind for kind, name in _CODEC_IDS.items() if metadata.get(name)}
        self._told = bool(self._kinds)
        self._held: list[Media] = []
        self._codecs: dict[MediaKind, bytes] = {}
        self._configurations: dict[MediaKind, bytes] = {}
        self._started: int | None = None

    def fits(self, media: Media) -> bool:
        """Return whether a message belongs to this section; otherwise finish it and begin another with it."""
        codec = codec_of(media)
        if codec is None:
            return True
        known = self._codecs.get(media.kind)
        if known is not None and codec != known:
            return False
        configuration = configuration_of(media)
        had = self._configurations.get(media.kind)
        return not (configuration and had and configuration != had)

    def push(self, media: Media) -> bytes:
        """Take a message that fits; return what is to be written."""
        codec = codec_of(media)
        if codec is None:
            return b""
        self._codecs.setdefault(media.kind, codec)
        if configuration := configuration_of(media):
            if self._configurations.get(media.kind) == configuration:
                return b""  # repeated with each keyframe by some
            self._configurations[media.kind] = configuration
        if self._started is None:
            self._started = media.timestamp
        if self.is_open:
            return self._tag(media)
        self._held.append(media)
        return self.open() if self._is_complete(media) else b""

    def open(self) -> bytes:
        """Write the header, whatever came, and all that was held."""
        self.is_open = True
        kinds = set(self._codecs)
        if self._told:
            kinds |= self._kinds
        self._kinds = kinds
        flags = (4 if MediaKind.AUDIO in kinds else 0) | (1 if MediaKind.VIDEO in kinds else 0)
        out = [b"FLV\x01", bytes([flags]), (9).to_bytes(4, "big"), _EMPTY, self._about()]
        held, self._held = self._held, []
        return b"".join([*out, *(self._tag(media) for media in held)])

    def continued(self) -> list[Media]:
        """Return the configurations that the next section begins with: they are sent once, and hold on."""
        started = self._started or 0
        return [Media(kind, started, data) for kind, data in self._configurations.items()]

    def _is_complete(self, media: Media) -> bool:
        if set(self._codecs) >= (self._kinds if self._told else set(MediaKind)):
            return True
        assert self._started is not None
        waited = (media.timestamp - self._started) % (1 << 32)
        return waited > OPENING_MS or sum(len(one.payload) for one in self._held) > OPENING_MAX_BYTES

    def _about(self) -> bytes:
        """Return a script tag with the frame rate, the one thing that media do not say themselves."""
        rate = self._metadata.get("framerate", self._metadata.get("videoframerate"))
        if not isinstance(rate, float) or not 0 < rate <= RATE_MAX:
            return b""
        return tag(18, 0, encode("onMetaData", {"framerate": rate}))

    def _tag(self, media: Media) -> bytes:
        if media.kind not in self._kinds:
            return b""
        # Times of our own: a publisher's may be near the end of their 32 bits.
        time = (media.timestamp - (self._started or 0) + ORIGIN_MS) % (1 << 32)
        return tag(media.kind.value, time, media.payload)


_CODEC_IDS: Final = {MediaKind.AUDIO: "audiocodecid", MediaKind.VIDEO: "videocodecid"}


def tag(kind: int, timestamp: int, payload: bytes) -> bytes:
    """Return an FLV tag with the size that follows it (E.4.1)."""
    time = (timestamp & 0xFFFFFF).to_bytes(3, "big") + bytes([timestamp >> 24])
    head = bytes([kind]) + len(payload).to_bytes(3, "big") + time + bytes(3)
    return b"".join((head, payload, (len(payload) + 11).to_bytes(4, "big")))


def codec_of(media: Media) -> bytes | None:
    """Return what tells a message's codec, `None` for one that holds no media of a first track."""
    first, payload = media.payload[0], media.payload
    if media.kind is MediaKind.AUDIO:
        if first >> 4 != _ENHANCED_AUDIO:
            return bytes([first >> 4])
        return payload[1:5] if first & 0x0F not in {_MULTITRACK_AUDIO, _MOD_EX} and len(payload) >= 5 else None
    if not first & 0x80:
        return bytes([first & 0x0F]) if first >> 4 != _COMMAND_FRAME else None
    packet = first & 0x0F
    if packet in {_MULTITRACK_VIDEO, _MOD_EX} or first >> 4 & 7 == _COMMAND_FRAME or len(payload) < 5:
        return None
    return payload[1:5]


def configuration_of(media: Media) -> bytes:
    """Return a message that holds a decoder's configuration, empty for any other."""
    first, payload = media.payload[0], media.payload
    if media.kind is MediaKind.AUDIO:
        if first >> 4 == _ENHANCED_AUDIO:
            return payload if first & 0x0F == _SEQUENCE_START else b""
        return payload if first >> 4 == _AAC and payload[1:2] == b"\x00" else b""
    if first & 0x80:
        return payload if first & 0x0F == _SEQUENCE_START else b""
    return payload if first & 0x0F in {_AVC, _HEVC_LEGACY} and payload[1:2] == b"\x00" else b""
