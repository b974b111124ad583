"""RTSP's messages: whole, cut anywhere, and none at all."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_ingress.rtsp.errors import RtspError
from headrace_ingress.rtsp.messages import (
    BODY_MAX_BYTES,
    HEAD_MAX_BYTES,
    HEADERS_MAX,
    Frame,
    Request,
    next_message,
    write_frame,
    write_response,
)
from unit.ingress.rtsp.client import SDP, announce, frame, record, request, setup


def read_all(data: bytes) -> list[Request | Frame]:
    """Return every message of `data`."""
    buffer = bytearray(data)
    found = []
    while (message := next_message(buffer)) is not None:
        found.append(message)
    return found


def test_a_request() -> None:
    """Its parts, names of headers in small letters, the first of several."""
    first, second = read_all(announce(Session="1") + b"\r\n" + record())
    assert isinstance(first, Request)
    assert (first.method, first.body, first.headers["session"]) == ("ANNOUNCE", SDP, "1")
    assert isinstance(second, Request)
    assert second.headers["range"] == "npt=0.000-"
    assert "cam1" not in repr(first)


def test_frames_between() -> None:
    """Media and messages in any order."""
    data = frame(0, b"abc") + request("OPTIONS") + frame(255, b"")
    one, two, three = read_all(data)
    assert (one, three) == (Frame(0, b"abc"), Frame(255, b""))
    assert isinstance(two, Request)
    assert write_frame(0, b"abc") == frame(0, b"abc")


@given(st.lists(st.integers(1, 60), min_size=1))
def test_any_pieces(sizes: list[int]) -> None:
    """However the network cuts it, the same comes out."""
    data = announce() + setup(0) + frame(1, b"x" * 90) + record()
    buffer, found = bytearray(), []
    for number in range(len(data)):
        size = sizes[number % len(sizes)]
        buffer += data[:size]
        data = data[size:]
        while (message := next_message(buffer)) is not None:
            found.append(message)
    assert found == read_all(announce() + setup(0) + frame(1, b"x" * 90) + record())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "request"),
        (b"OPTIONS * RTSP/1.0\r\nno header\r\n\r\n", "request"),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n", "request"),
        (b"OPTIONS " + b"x" * 5000 + b" RTSP/1.0\r\n\r\n", "request"),
        (request("ANNOUNCE", Content_Length=str(BODY_MAX_BYTES + 1)), "too_large"),
        (request("OPTIONS").replace(b"CSeq", b"X: 1\r\n" * HEADERS_MAX + b"CSeq"), "too_large"),
        (b"OPTIONS * RTSP/1.0\r\n" + b"x" * (HEAD_MAX_BYTES + 1), "too_large"),
    ],
)
def test_what_is_refused(data: bytes, code: str) -> None:
    """Another protocol, or more than is allowed."""
    with pytest.raises(RtspError) as refused:
        read_all(data)
    assert refused.value.code == code


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    """Messages come out, or the one documented error."""
    with contextlib.suppress(RtspError):
        read_all(data)


def test_a_response() -> None:
    """With a phrase of ours, and a body."""
    assert write_response(403, "7", phrase="no") == b"RTSP/1.0 403 no\r\nCSeq: 7\r\n\r\n"
    assert write_response(200, "7", [("A", "b")], b"xy") == (
        b"RTSP/1.0 200 OK\r\nCSeq: 7\r\nA: b\r\nContent-Length: 2\r\n\r\nxy"
    )
