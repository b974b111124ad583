"""What a publisher describes of its stream (SDP: RFC 8866; in RTSP: RFC 2326, C).

What libav gets to see is written anew from the few lines that matter for media, so that nothing else gets through:
addresses, keys and controls of others above all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace_ingress.rtsp.errors import RtspError

LINES_MAX: Final = 512
"""Most lines: real descriptions have about thirty."""

LINE_MAX_CHARACTERS: Final = 8192
"""Longest line: parameter sets of H.265 in Base64 have some hundred."""

MEDIA_MAX: Final = 8
"""Most kinds of media in a description: cameras have three or four."""

_MEDIA = re.compile(r"([a-z]{1,16}) [0-9]{1,5}(?:/[0-9]{1,3})? ([A-Z/]{1,16}) ([0-9]{1,3})(?: .*)?")
_MAPPING = re.compile(r"rtpmap:([0-9]{1,3}) +([A-Za-z0-9._-]{1,40}/[0-9]{1,7}(?:/[0-9]{1,2})?) *")
_FORMAT = re.compile(r"fmtp:([0-9]{1,3}) ([ -~]{1,8192})")
_CONTROL = re.compile(r"control:([!-~]{1,1024})")

_CARRIED: Final = frozenset({"video", "audio"})
_PROFILES: Final = frozenset({"RTP/AVP", "RTP/AVPF"})


@dataclass(frozen=True, slots=True)
class Media:
    """One kind of media in a description.

    Attributes:
        kind: `video`, `audio`, or another that is not carried.
        payload_type: of its RTP packets.
        mapping: codec and clock rate, for example `H264/90000`; empty for a static payload type.
        format: parameters of its codec, empty for none.
        control: what the URLs end with that set it up, or all of such a URL.
    """

    kind: str
    payload_type: int
    mapping: str
    format: str
    control: str

    @property
    def is_carried(self) -> bool:
        """Whether it is passed on."""
        return self.kind in _CARRIED


def parse_sdp(body: bytes) -> tuple[Media, ...]:
    """Return the media of a description, in order.

    Raises:
        RtspError: when it is none, has too much, or neither picture nor sound.
    """
    lines = body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    if len(lines) > LINES_MAX or any(len(line) > LINE_MAX_CHARACTERS for line in lines):
        raise RtspError("too_large", f"a description of more than {LINES_MAX} lines, or one that is too long")
    parts: list[list[str]] = []
    for line in lines:
        if line.startswith("m="):
            parts.append([line[2:]])
        elif parts and line.startswith("a="):
            parts[-1].append(line[2:])
    if len(parts) > MEDIA_MAX:
        raise RtspError("too_large", f"a description with more than {MEDIA_MAX} kinds of media")
    medias = tuple(_media(first.strip(), rest) for first, *rest in parts)
    if not any(media.is_carried for media in medias):
        raise RtspError("sdp", "a description without picture and sound")
    return medias


def write_sdp(medias: Sequence[tuple[int, Media]]) -> bytes:
    """Return a description for libav of media with their track numbers; `control_of` names their tracks."""
    lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
    for number, media in medias:
        lines.append(f"m={media.kind} 0 RTP/AVP {media.payload_type}")
        lines += [f"a=rtpmap:{media.payload_type} {media.mapping}"] if media.mapping else []
        lines += [f"a=fmtp:{media.payload_type} {media.format}"] if media.format else []
        lines.append(f"a=control:{control_of(number)}")
    return "\r\n".join([*lines, ""]).encode()


def control_of(number: int) -> str:
    """Return how a track is called in the descriptions that are ours."""
    return f"track{number}"


def _media(first: str, attributes: Sequence[str]) -> Media:
    found = _MEDIA.fullmatch(first)
    if found is None or int(found[3]) > 127:
        raise RtspError("sdp", "a description with a line of media that is none")
    kind = found[1] if found[2] in _PROFILES else "other"
    payload_type = int(found[3])
    mapping, format, control = "", "", ""
    for attribute in attributes:
        if (match := _MAPPING.fullmatch(attribute)) and int(match[1]) == payload_type:
            mapping = match[2]
        elif (match := _FORMAT.fullmatch(attribute)) and int(match[1]) == payload_type:
            format = match[2]
        elif match := _CONTROL.fullmatch(attribute.strip()):
            control = match[1]
    return Media(kind, payload_type, mapping, format, control)
