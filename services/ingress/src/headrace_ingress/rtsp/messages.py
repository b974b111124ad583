"""RTSP's messages, and the media between them (RFC 2326: 4 to 7, 10.12; RFC 7826: 5, 14, 20)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from headrace_ingress.rtsp.errors import RtspError

HEAD_MAX_BYTES: Final = 16 * 1024
"""Longest request line with headers: real ones have less than a thousand bytes."""

HEADERS_MAX: Final = 64
"""Most headers of a request: real ones have about six."""

BODY_MAX_BYTES: Final = 64 * 1024
"""Longest body: descriptions of cameras have two or three thousand bytes."""

FRAME: Final = 0x24
"""`$`, which a piece of media begins with."""

FRAME_HEAD_BYTES: Final = 4

VERSION: Final = "RTSP/1.0"

_START = re.compile(r"([A-Z_]{1,32}) ([!-~]{1,4096}) (RTSP/[0-9]{1,2}\.[0-9]{1,2})")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64})[ \t]*:[ \t]*(.*?)[ \t]*")

_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    415: "Unsupported Media Type",
    454: "Session Not Found",
    455: "Method Not Valid In This State",
    459: "Aggregate Operation Not Allowed",
    461: "Unsupported Transport",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "RTSP Version Not Supported",
    551: "Option Not Supported",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        method: in capital letters.
        url: as it came, with a key in it perhaps: not for logs.
        version: for example `RTSP/1.0`.
        headers: by name in small letters; of several of one name the first.
        body: its bytes.
    """

    method: str
    url: str = field(repr=False)
    version: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Frame:
    """A packet of RTP or RTCP between messages.

    Attributes:
        channel: whose, from 0 to 255.
        payload: the packet.
    """

    channel: int
    payload: bytes


def next_message(buffer: bytearray) -> Request | Frame | None:
    """Take one request or frame off the front of `buffer`; `None` when more bytes are needed.

    Raises:
        RtspError: when it breaks a rule or a limit; nothing may be read after it.
    """
    while buffer[:2] == b"\r\n":  # some send an empty line as a sign of life
        del buffer[:2]
    if not buffer:
        return None
    if buffer[0] == FRAME:
        return _frame(buffer)
    end = buffer.find(b"\r\n\r\n")
    if end < 0 and len(buffer) <= HEAD_MAX_BYTES:
        return None
    if end < 0 or end > HEAD_MAX_BYTES:
        raise RtspError("too_large", f"a request of more than {HEAD_MAX_BYTES} bytes without its body")
    method, url, version, headers = _head(bytes(buffer[:end]))
    length = _length(headers.get("content-length", "0"))
    begin = end + 4
    if len(buffer) < begin + length:
        return None
    body = bytes(buffer[begin : begin + length])
    del buffer[: begin + length]
    return Request(method, url, version, headers, body)


def write_frame(channel: int, payload: bytes) -> bytes:
    """Return a packet of at most 65535 bytes as it stands between messages."""
    return bytes((FRAME, channel)) + len(payload).to_bytes(2, "big") + payload


def write_response(
    status: int, cseq: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", phrase: str = ""
) -> bytes:
    """Return a response; a phrase of our own may stand for the usual one."""
    lines = [f"{VERSION} {status} {phrase or _PHRASES[status]}"]
    lines += [f"CSeq: {cseq}"] if cseq else []
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def _frame(buffer: bytearray) -> Frame | None:
    if len(buffer) < FRAME_HEAD_BYTES:
        return None
    end = FRAME_HEAD_BYTES + int.from_bytes(buffer[2:4], "big")
    if len(buffer) < end:
        return None
    frame = Frame(buffer[1], bytes(buffer[FRAME_HEAD_BYTES:end]))
    del buffer[:end]
    return frame


def _head(data: bytes) -> tuple[str, str, str, dict[str, str]]:
    first, *lines = data.decode("utf-8", "replace").split("\r\n")
    start = _START.fullmatch(first)
    if start is None:
        raise RtspError("request", "what came is no request of RTSP")
    if len(lines) > HEADERS_MAX:
        raise RtspError("too_large", f"a request with more than {HEADERS_MAX} headers")
    headers: dict[str, str] = {}
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None:
            raise RtspError("request", "a line among the headers that is none")
        headers.setdefault(found[1].lower(), found[2])
    return start[1], start[2], start[3], headers


def _length(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise RtspError("request", "a length that is no number")
    if int(text) > BODY_MAX_BYTES:
        raise RtspError("too_large", f"a body of more than {BODY_MAX_BYTES} bytes")
    return int(text)
