"""Answers of HTTP: whole bodies with entity tags, ranges and compression (RFC 9110)."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import hdrs, web

IMMUTABLE = "public, max-age=31536000, immutable"
"""A name stands for the same bytes for ever."""

NO_STORE = "no-store"

GZIP_LEVEL = 6
GZIP_LEAST_BYTES = 256
"""Shortest text that is worth compressing: under it a packet is a packet."""

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Text:
    """A text made once for everybody who asks for it.

    Attributes:
        body: as it is.
        packed: compressed, `None` when that is not worth it.
        etag: of the plain body, quotes included; the packed one has its own.
        content_type: of both.
    """

    body: bytes
    packed: bytes | None
    etag: str
    content_type: str

    @staticmethod
    def make(text: str, content_type: str) -> Text:
        """Return `text` ready to be sent."""
        body = text.encode()
        packed = gzip.compress(body, GZIP_LEVEL, mtime=0) if len(body) >= GZIP_LEAST_BYTES else None
        return Text(body, packed, hashlib.sha256(body).hexdigest()[:24], content_type)


def answer_text(request: web.Request, text: Text, cache_control: str) -> web.Response:
    """Answer with a text, compressed for who takes that; 304 to who has it."""
    packed = text.packed is not None and takes_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, ""))
    etag = f'"{text.etag}{"-gz" if packed else ""}"'
    headers: dict[str, str] = {hdrs.CACHE_CONTROL: cache_control, hdrs.ETAG: etag, hdrs.VARY: hdrs.ACCEPT_ENCODING}
    if early := answer_conditions(request, etag, headers):
        return early
    headers[hdrs.CONTENT_TYPE] = text.content_type
    if packed:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    return web.Response(body=text.packed if packed else text.body, headers=headers)


def answer_media(request: web.Request, body: bytes, etag: str, content_type: str = "video/mp4") -> web.Response:
    """Answer with immutable bytes, or the range of them that is asked for.

    A range that makes no sense and several ranges at once are ignored, as RFC 9110, 14.2 allows, and so is any of a
    request that is no GET, as it demands; one that lies beyond the end is 416.
    """
    headers = media_headers(etag, content_type)
    if early := answer_conditions(request, etag, headers):
        return early
    wanted = request.headers.get(hdrs.RANGE) if request.method == hdrs.METH_GET else None
    if wanted is None or request.headers.get(hdrs.IF_RANGE, etag) != etag:
        return web.Response(body=body, headers=headers)
    found = _range(wanted, len(body))
    if found is None:
        return web.Response(body=body, headers=headers)
    first, end = found
    if first >= end:
        headers[hdrs.CONTENT_RANGE] = f"bytes */{len(body)}"
        headers[hdrs.CACHE_CONTROL] = NO_STORE
        return web.Response(status=416, headers=headers)
    headers[hdrs.CONTENT_RANGE] = f"bytes {first}-{end - 1}/{len(body)}"
    return web.Response(status=206, body=body[first:end], headers=headers)


def media_headers(etag: str, content_type: str) -> dict[str, str]:
    """Return the headers of immutable bytes."""
    return {
        hdrs.CACHE_CONTROL: IMMUTABLE,
        hdrs.ETAG: etag,
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CONTENT_TYPE: content_type,
    }


def refuse(status: int, reason: str, retry_seconds: int | None = None) -> web.Response:
    """Answer with an error that no cache keeps, and one sentence for people."""
    headers = {hdrs.CACHE_CONTROL: NO_STORE}
    if retry_seconds is not None:
        headers[hdrs.RETRY_AFTER] = str(retry_seconds)
    return web.Response(status=status, text=f"{reason}\n", headers=headers)


def answer_conditions(request: web.Request, etag: str, headers: Mapping[str, str]) -> web.Response | None:
    """Return what the conditions of a request ask for instead of the body (RFC 9110, 13.2.2); `None` for the body.

    Conditions on dates do not count, for nothing here has a date of its last modification (13.1.3, 13.1.4).
    """
    only, known = request.headers.get(hdrs.IF_MATCH), request.headers.get(hdrs.IF_NONE_MATCH)
    if only is not None and etag not in (named := _tags(only)) and "*" not in named:
        return refuse(412, "it has another tag")
    if known is not None and {etag, f"W/{etag}", "*"} & _tags(known):
        return web.Response(status=304, headers=headers)
    return None


def _tags(condition: str) -> set[str]:
    return {tag.strip() for tag in condition.split(",")}


def takes_gzip(accepted: str) -> bool:
    """Return whether `Accept-Encoding` has gzip."""
    for item in accepted.lower().split(","):
        coding, _, parameters = item.partition(";")
        if coding.strip() in {"gzip", "*"}:
            return not re.fullmatch(r"\s*q=0(\.0*)?\s*", parameters)
    return False


def _range(wanted: str, length: int) -> tuple[int, int] | None:
    """Return first and end of a range, an empty one when it cannot be satisfied; `None` when it is to be ignored."""
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if not match[1]:  # the last so many bytes
        count = min(int(match[2]), length)
        return (length - count, length)
    first = int(match[1])
    last = int(match[2]) if match[2] else length - 1
    if match[2] and last < first:
        return None
    return (first, max(first, min(last + 1, length))) if first < length else (length, length)
