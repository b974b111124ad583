"""What counts as a redirection of an RTSP server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from headrace_ingress.rtsp_guard import LINE_MAX_BYTES, Statuses


def leads_away(said: bytes, cut: int) -> bool:
    """Return whether it is seen in what a server said, as it comes in pieces of `cut` bytes."""
    statuses = Statuses()
    return any(statuses.lead_away(said[begin : begin + cut]) for begin in range(0, len(said), cut))


@pytest.mark.parametrize(
    "said",
    [
        b"RTSP/1.0 302 Found\r\nCSeq: 1\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\nRTSP/1.0 301 Moved\r\n",
        b"RTSP/2.0  305 Use Proxy\n",
        b"RTSP/RTP 303\n",
        b"RT\rSP/1.0 3\r02 Found\r\n",
        b"RTSP/1.0 \v+302\n",
        b"RTSP/1.0 0302\n",
        b"RTSP/1.0 4294967598\n",
        b"$\x00\x00\x04RTSPRTSP/1.0 302 Found\r\n",
        b"RTSP/" + b"x" * 4000 + b"\t302\n",
        b"RTSP/1.0 302" + b"x" * LINE_MAX_BYTES * 4 + b"\n",
        b"a=" + b"x" * LINE_MAX_BYTES * 4 + b"RTSP/1.0 302 Found\n",
        b"RTSP/1.0 200 " + b"x" * LINE_MAX_BYTES * 2 + b"RTSP/1.0 302 Found\n",
    ],
)
@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8, 13, 1000])
def test_what_libav_would_follow(said: bytes, cut: int) -> None:
    """A status of 300 to 399, wherever a line may begin and however the number is written, in pieces of any size."""
    assert leads_away(said, cut)


@pytest.mark.parametrize(
    "said",
    [
        b"RTSP/1.0 200 OK\r\nCSeq: 302\r\nServer: RTSP/RTP 1\r\n\r\n".replace(b" 1", b" one"),
        b"RTSP/1.0 401 Unauthorized\r\n\r\nRTSP/1.0 500 Fault\r\n\r\n",
        b"s=RTSP/RTP stream 1 from IPNC\r\nRTSP/1.0 454 Session Not Found\r\n",
        b"302 RTSP/ RTSP/1.0\r\n302 Found\r\n",
        b"RTSP/",
        b"RTSP/" + b"x" * LINE_MAX_BYTES * 2 + b"\n302 Found\n",
    ],
)
@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8, 13, 1000])
def test_what_is_none(said: bytes, cut: int) -> None:
    """Other statuses, and names of sessions that begin like one."""
    assert not leads_away(said, cut)


@given(some.binary(max_size=200), some.integers(1, 50))
def test_little_is_remembered(said: bytes, cut: int) -> None:
    """Whatever comes, what is looked at again is short."""
    statuses = Statuses()
    for begin in range(0, len(said), cut):
        statuses.lead_away(said[begin : begin + cut])
        assert len(statuses._line) <= LINE_MAX_BYTES
