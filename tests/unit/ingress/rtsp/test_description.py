"""Descriptions of streams, ways to travel, and proofs of keys."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_ingress.rtsp.authorization import Digest, Password, parse_authorization, proves
from headrace_ingress.rtsp.errors import RtspError
from headrace_ingress.rtsp.sdp import LINE_MAX_CHARACTERS, LINES_MAX, MEDIA_MAX, Media, parse_sdp, write_sdp
from headrace_ingress.rtsp.transport import Datagrams, Interleaved, Way, choose_way
from unit.ingress.rtsp.client import SDP, basic, digest

KEY = "correct-horse"


def test_a_description() -> None:
    """What is known of each kind of media; what is written for libav holds just that."""
    video, audio = parse_sdp(SDP)
    assert (video.kind, video.payload_type, video.mapping, video.control) == ("video", 96, "H264/90000", "streamid=0")
    assert audio.format.endswith("config=1190")
    again = parse_sdp(write_sdp([(0, video), (5, audio)]))
    assert [media.control for media in again] == ["track0", "track5"]
    assert [(media.mapping, media.format) for media in again] == [
        (media.mapping, media.format) for media in (video, audio)
    ]


def test_nothing_else_gets_through() -> None:
    """Addresses, keys, controls and attributes of others are not for libav."""
    evil = SDP + b"a=control:rtsp://10.0.0.1/x\r\na=crypto:1 x inline:k\r\nc=IN IP4 10.0.0.1\r\na=fmtp:97 a\x00b\r\n"
    written = write_sdp(list(enumerate(parse_sdp(evil))))
    assert b"10.0.0.1" not in written
    assert b"crypto" not in written
    assert b"\x00" not in written


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "sdp"),
        (b"m=application 0 RTP/AVP 98\r\n", "sdp"),
        (b"m=video 0 RTP/SAVP 98\r\n", "sdp"),
        (b"m=video\r\n", "sdp"),
        (b"m=video 0 RTP/AVP 200\r\n", "sdp"),
        (b"m=video 0 RTP/AVP 96\r\n" * (MEDIA_MAX + 1), "too_large"),
        (b"a=x\r\n" * (LINES_MAX + 1), "too_large"),
        (b"a=" + b"x" * LINE_MAX_CHARACTERS, "too_large"),
    ],
)
def test_descriptions_that_are_refused(body: bytes, code: str) -> None:
    """None at all, or too much."""
    with pytest.raises(RtspError) as refused:
        parse_sdp(body)
    assert refused.value.code == code


@given(st.text(max_size=200).map(lambda text: SDP + text.encode()))
def test_any_description(body: bytes) -> None:
    """Whatever is described, what is written has the lines that are known and is read back as the same."""
    with contextlib.suppress(RtspError):
        medias = [media for media in parse_sdp(body) if media.is_carried]
        written = parse_sdp(write_sdp(list(enumerate(medias))))
        bare = [Media(one.kind, one.payload_type, one.mapping, one.format, "") for one in medias]
        assert [Media(one.kind, one.payload_type, one.mapping, one.format, "") for one in written] == bare


@pytest.mark.parametrize(
    ("header", "way"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=0-1;mode=record", Interleaved((0, 1))),
        ('RTP/AVP/TCP;unicast;interleaved=2;mode="RECORD"', Interleaved((2, 3))),
        ("RTP/AVP/TCP;unicast;mode=receive", Interleaved(None)),
        ("RTP/AVP;unicast;client_port=5000-5001;mode=record", Datagrams((5000, 5001))),
        ("RTP/AVP/UDP;unicast;client_port=5000-5001", Datagrams((5000, 5001))),
        ("RTP/SAVP;unicast;client_port=1-2, RTP/AVP/TCP;interleaved=4-5", Interleaved((4, 5))),
        ("RTP/AVP;multicast;client_port=5000-5001", None),
        ("RTP/AVP/TCP;unicast;interleaved=0-1;mode=play", None),
        ("RTP/AVP/TCP;unicast;interleaved=300-301", None),
        ("RTP/AVP;unicast;client_port=0-1", None),
        ("RTP/AVP;unicast", None),
        ("", None),
    ],
)
def test_ways(header: str, way: Way | None) -> None:
    """The first that can be gone with a publisher."""
    assert choose_way(header, may_use_udp=True) == way


def test_nothing_beside_an_encrypted_connection() -> None:
    """Where UDP would be readable, only the connection is taken."""
    both = "RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast;interleaved=0-1"
    assert choose_way(both, may_use_udp=False) == Interleaved((0, 1))


@given(st.text(max_size=80))
def test_any_way_and_credentials(text: str) -> None:
    """No text is an error."""
    choose_way(text, may_use_udp=True)
    choose_way(f"RTP/AVP;{text}", may_use_udp=True)
    parse_authorization(text)
    found = parse_authorization(f"Digest {text}")
    assert isinstance(found, Digest)
    assert not proves(found, KEY, "ANNOUNCE", "nonce")


def test_basic() -> None:
    """The password is the key; it is not shown."""
    found = parse_authorization(basic(KEY))
    assert found == Password(KEY)
    assert KEY not in repr(found)
    assert parse_authorization("Basic ***") is None
    assert parse_authorization("Basic ü") is None
    assert parse_authorization("Bearer x") is None


@pytest.mark.parametrize(("algorithm", "qop"), [("MD5", ""), ("MD5", "auth"), ("SHA-256", "auth"), ("SHA-256", "")])
def test_digest(algorithm: str, qop: str) -> None:
    """The key is proved for one method and one connection's nonce."""
    found = parse_authorization(digest(KEY, "n1", algorithm=algorithm, qop=qop))
    assert isinstance(found, Digest)
    assert proves(found, KEY, "ANNOUNCE", "n1")
    assert not proves(found, "wrong-horse", "ANNOUNCE", "n1")
    assert not proves(found, KEY, "RECORD", "n1")
    assert not proves(found, KEY, "ANNOUNCE", "n2")
