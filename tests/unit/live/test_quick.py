"""What may be answered without aiohttp, and what is kept ready for that."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry, Counter

from headrace_edge.live.quick import Kind, kind_of
from headrace_edge.live.ready import READY_MAX, Answer, Shelf, answer_head, is_plain_query

COUNTER = Counter("requests", "For answers of tests.", registry=CollectorRegistry())


@dataclass
class Stream:
    """What answers are of."""

    used_at: float = 0.0
    turns: int = 1


def answer(source: Stream, body: bytes = b"media") -> Answer:
    return Answer(source, None, b"HTTP/1.1 200 OK\r\n", body, COUNTER, None)


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        (b"Host: a\r\n\r\n", Kind.PLAIN),
        (b"host:a\r\nAccept-Encoding: br, gzip\r\nUser-Agent: x (y; z)\r\n\r\n", Kind.PACKED),
        (b"Host: a\r\nConnection: keep-alive\r\nAccept-Encoding: gzip;q=0\r\n\r\n", Kind.PLAIN),
        (b"Host: a\r\nConnection: close\r\n\r\n", Kind.SLOW),
        (b"Host: a\r\nRange: bytes=0-1\r\n\r\n", Kind.SLOW),
        (b'Host: a\r\nIf-None-Match: "1"\r\n\r\n', Kind.SLOW),
        (b"", Kind.STRANGE),
        (b"\r\n\r\n", Kind.STRANGE),
        (b"Host: a\r\n", Kind.STRANGE),
        (b"Accept: */*\r\n\r\n", Kind.STRANGE),
        (b"Host: a\r\nHost: b\r\n\r\n", Kind.STRANGE),
        (b"Host : a\r\n\r\n", Kind.STRANGE),
        (b"Host: a\r\n folded\r\n\r\n", Kind.STRANGE),
        (b"Host: a\r\nX: \x00\r\n\r\n", Kind.STRANGE),
        (b"Host: a\r\nContent-Length: 3\r\n\r\n", Kind.STRANGE),
        (b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n", Kind.STRANGE),
        (b"Host: a\r\nUpgrade: websocket\r\n\r\n", Kind.STRANGE),
        (b"Host: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Kind.STRANGE),
        (b"Host: a\r\nX: " + b"x" * 5000 + b"\r\n\r\n", Kind.STRANGE),
    ],
)
def test_what_headers_allow(headers: bytes, kind: Kind) -> None:
    """Only a whole request without conditions, ranges or a body is quick; what is odd is not judged here."""
    assert kind_of(headers) is kind


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        ("", True),
        ("_HLS_msn=5", True),
        ("_HLS_msn=5&_HLS_part=3", True),
        ("_HLS_skip=YES", True),
        ("token=abc", False),
        ("_HLS_msn=5&x=1", False),
        ("_HLS_part=1&_HLS_msn=5", False),
    ],
)
def test_only_the_usual_queries_are_kept(query: str, plain: bool) -> None:
    """Nobody fills the shelf with spellings, and a token never gets there."""
    assert is_plain_query(query) is plain


def test_an_answer_has_the_date_of_its_second() -> None:
    """Headers as they left once, the date as it is now."""
    kept = answer(Stream(), b"body")
    kept.head = answer_head("HTTP/1.1 200 OK", [("ETag", '"1"'), ("Date", "then"), ("Content-Length", "4")])
    assert kept.bytes_at(0.9) == (
        b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 4\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nbody'
    )
    assert b"00:00:07 GMT" in kept.bytes_at(7.0)
    assert kept.bytes_at(7.0) is kept.bytes_at(7.9)


def test_a_stream_keeps_so_many_answers() -> None:
    """The oldest goes first, others' stay, and all of a stream can be forgotten."""
    shelf, one, other = Shelf(), Stream(), Stream()
    shelf.put(b"/other", answer(other), plain=True, packed=True)
    for number in range(READY_MAX + 10):
        shelf.put(b"/%d" % number, answer(one), plain=True, packed=number % 2 == 0)
    assert len(shelf.plain) == READY_MAX + 1
    assert b"/9" not in shelf.plain
    assert b"/10" in shelf.packed
    shelf.forget(one)
    assert list(shelf.plain) == list(shelf.packed) == [b"/other"]


def test_a_stream_keeps_so_many_bytes() -> None:
    """What would be too much pushes out what is older, however large."""
    shelf, stream = Shelf(), Stream()
    for number in range(20):
        shelf.put(b"/%d" % number, answer(stream, bytes(2_000_000)), plain=True, packed=False)
    assert len(shelf.plain) == 4
    shelf.put(b"/19", answer(stream, b"again"), plain=True, packed=False)
    assert len(shelf.plain) == 4
