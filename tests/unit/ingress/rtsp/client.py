"""Requests as publishers send them."""

from __future__ import annotations

import base64
import hashlib
import re

URL = "rtsp://127.0.0.1:8554/live/cam1"

SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=No Name\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=tool:libavformat\r\n"
    b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    b"a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==\r\n"
    b"a=control:streamid=0\r\n"
    b"m=audio 0 RTP/AVP 97\r\nb=AS:64\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\n"
    b"a=fmtp:97 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3; config=1190\r\n"
    b"a=control:streamid=1\r\n"
)


def request(method: str, url: str = URL, cseq: int = 1, body: bytes = b"", **headers: str) -> bytes:
    """Return a request; headers are named with `_` for `-`."""
    lines = [f"{method} {url} RTSP/1.0", f"CSeq: {cseq}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def announce(url: str = URL, sdp: bytes = SDP, **headers: str) -> bytes:
    """Return an ANNOUNCE."""
    return request("ANNOUNCE", url, 2, sdp, Content_Type="application/sdp", **headers)


def setup(track: int, url: str = URL, transport: str = "") -> bytes:
    """Return a SETUP of a track of `SDP`, interleaved unless another transport is asked for."""
    chosen = transport or f"RTP/AVP/TCP;unicast;interleaved={2 * track}-{2 * track + 1};mode=record"
    return request("SETUP", f"{url}/streamid={track}", 3 + track, Transport=chosen)


def record(url: str = URL) -> bytes:
    """Return a RECORD."""
    return request("RECORD", url, 5, Range="npt=0.000-")


def frame(channel: int, payload: bytes) -> bytes:
    """Return an interleaved packet."""
    return b"$" + bytes([channel]) + len(payload).to_bytes(2, "big") + payload


def basic(key: str) -> str:
    """Return Basic credentials."""
    return "Basic " + base64.b64encode(f"anybody:{key}".encode()).decode()


def digest(
    key: str, nonce: str, method: str = "ANNOUNCE", uri: str = URL, algorithm: str = "MD5", qop: str = ""
) -> str:
    """Return Digest credentials, of RFC 2069's kind unless a quality of protection is given."""

    def hashed(text: str) -> str:
        return hashlib.new({"MD5": "md5", "SHA-256": "sha256"}[algorithm], text.encode()).hexdigest()

    first, second = hashed(f"anybody:headrace:{key}"), hashed(f"{method}:{uri}")
    middle = f"{nonce}:00000001:abc:{qop}" if qop else nonce
    extra = f', qop={qop}, nc=00000001, cnonce="abc"' if qop else ""
    return (
        f'Digest username="anybody", realm="headrace", nonce="{nonce}", uri="{uri}", algorithm={algorithm}, '
        f'response="{hashed(f"{first}:{middle}:{second}")}"{extra}'
    )


def statuses(answers: bytes) -> list[int]:
    """Return the statuses of responses, in order."""
    return [int(found) for found in re.findall(rb"^RTSP/1\.0 ([0-9]{3}) ", answers, re.MULTILINE)]
