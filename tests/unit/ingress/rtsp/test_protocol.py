"""A publisher's connection from its first request to its last."""

from __future__ import annotations

import pytest

from headrace_ingress.rtsp.authorization import Password
from headrace_ingress.rtsp.errors import RtspError
from headrace_ingress.rtsp.protocol import (
    STRANGER_MESSAGES_MAX,
    AnnounceAsked,
    Ended,
    Packet,
    PortsAsked,
    RecordAsked,
    RtspConnection,
    State,
)
from headrace_ingress.rtsp.sdp import parse_sdp
from unit.ingress.rtsp.client import SDP, URL, announce, basic, frame, record, request, setup, statuses


def connection(*, may_use_udp: bool = True) -> RtspConnection:
    """Return a new connection."""
    return RtspConnection("5e55", "n0nce", may_use_udp=may_use_udp)


def announced(sdp: bytes = SDP) -> RtspConnection:
    """Return one whose ANNOUNCE was accepted."""
    made = connection()
    made.receive(announce(sdp=sdp))
    made.accept_announce()
    made.data_to_send()
    return made


def recording() -> RtspConnection:
    """Return one that publishes both tracks."""
    made = announced()
    made.receive(setup(0) + setup(1) + record())
    made.accept_record()
    made.data_to_send()
    return made


def test_a_publisher() -> None:
    """All requests, in order, with packets at the end."""
    made = connection()
    assert made.receive(request("OPTIONS")) == []
    assert made.receive(announce(Authorization=basic("correct-horse"))) == [
        AnnounceAsked(URL, Password("correct-horse"))
    ]
    made.accept_announce()
    (asked,) = made.receive(setup(0) + setup(1) + record() + frame(0, b"rtp") + frame(3, b"rtcp"))
    assert isinstance(asked, RecordAsked)
    assert [media.mapping for media in parse_sdp(asked.description)] == ["H264/90000", "MPEG4-GENERIC/48000/2"]
    made.accept_record()
    assert made.receive(b"") == [Packet(frame(0, b"rtp")), Packet(frame(3, b"rtcp"))]
    assert made.receive(request("GET_PARAMETER", Session="5e55")) == []
    assert made.receive(request("TEARDOWN", Session="5e55;timeout=60")) == [Ended()]
    answers = made.data_to_send()
    assert statuses(answers) == [200] * 7
    assert b"interleaved=2-3;mode=record\r\nSession: 5e55;timeout=60\r\n" in answers


def test_channels_of_its_own() -> None:
    """A publisher's channels become those that the description means; unknown ones say nothing."""
    made = announced()
    made.receive(setup(1, transport="RTP/AVP/TCP;interleaved=0-1") + record())
    made.accept_record()
    assert made.receive(frame(0, b"a") + frame(1, b"b") + frame(9, b"c")) == [
        Packet(frame(2, b"a")),
        Packet(frame(3, b"b")),
    ]


def test_udp() -> None:
    """A track by UDP asks for ports; refused, it may be set up otherwise."""
    made = announced()
    (asked,) = made.receive(setup(0, transport="RTP/AVP;unicast;client_port=5000-5001"))
    assert asked == PortsAsked(0, (5000, 5001))
    made.give_ports((6000, 6001))
    assert b"client_port=5000-5001;server_port=6000-6001" in made.data_to_send()
    made.receive(setup(1, transport="RTP/AVP;unicast;client_port=5002-5003"))
    made.refuse(503, "no ports")
    made.receive(setup(1))
    assert statuses(made.data_to_send()) == [503, 200]


def test_media_that_are_not_carried() -> None:
    """A camera's metadata are set up and left out."""
    made = announced(SDP + b"m=application 0 RTP/AVP 98\r\na=control:streamid=2\r\n")
    (asked,) = made.receive(setup(0) + setup(2) + record())
    assert isinstance(asked, RecordAsked)
    assert b"application" not in asked.description
    made.accept_record()
    assert made.receive(frame(4, b"meta") + frame(0, b"a")) == [Packet(frame(0, b"a"))]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("DESCRIBE"), 405),
        (request("PLAY"), 405),
        (request("FETCH"), 501),
        (request("OPTIONS").replace(b"RTSP/1.0", b"RTSP/2.0"), 505),
        (request("OPTIONS").replace(b"CSeq: 1", b"CSeq: one"), 400),
        (request("OPTIONS", Require="play.basic"), 551),
        (request("OPTIONS", Session="another"), 454),
        (setup(0), 455),
        (record(), 455),
        (request("TEARDOWN"), 200),
        (request("ANNOUNCE", body=SDP), 415),
        (announce(sdp=b"v=0\r\n"), 400),
    ],
)
def test_what_a_new_connection_is_answered(sent: bytes, status: int) -> None:
    """What cannot be met is answered, and the connection goes on."""
    made = connection()
    made.receive(sent)
    assert statuses(made.data_to_send()) == [status]
    assert made.state is State.READY
    assert made.receive(announce())


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (announce(), 455),
        (request("SETUP", f"{URL}/streamid=7", Transport="RTP/AVP/TCP;interleaved=0-1"), 404),
        (setup(0, transport="RTP/AVP;multicast"), 461),
        (record(), 455),
    ],
)
def test_what_an_announced_one_is_answered(sent: bytes, status: int) -> None:
    """The same after ANNOUNCE."""
    made = announced()
    made.receive(sent)
    assert statuses(made.data_to_send()) == [status]
    assert made.state is State.ANNOUNCED


def test_a_track_or_channel_twice() -> None:
    """Is refused."""
    made = announced()
    made.receive(setup(0) + setup(0) + setup(1, transport="RTP/AVP/TCP;interleaved=1-2"))
    assert statuses(made.data_to_send()) == [200, 455, 461]


def test_a_key_behind_the_url() -> None:
    """Controls are found behind a query, or before it."""
    for url in (f"{URL}?key=x/streamid=1", f"{URL}/streamid=1?key=x", "streamid=1"):
        made = announced()
        made.receive(request("SETUP", url, Transport="RTP/AVP/TCP;interleaved=0-1"))
        assert statuses(made.data_to_send()) == [200], url


def test_one_track_without_control() -> None:
    """Where there is one track only, every URL means it."""
    made = announced(b"m=audio 0 RTP/AVP 0\r\n")
    made.receive(request("SETUP", URL, Transport="RTP/AVP/TCP;interleaved=0-1"))
    assert statuses(made.data_to_send()) == [200]


def test_a_challenge() -> None:
    """Both ways to prove a key are offered; what follows waits for the answer."""
    made = connection()
    assert len(made.receive(announce() + announce())) == 1
    made.challenge()
    answer = made.data_to_send()
    assert statuses(answer) == [401]
    assert b'Digest realm="headrace", nonce="n0nce"' in answer
    assert b'Basic realm="headrace"' in answer
    assert isinstance(made.receive(b"")[0], AnnounceAsked)


def test_strangers() -> None:
    """Until it is let in, a peer may send few requests and no media; later it may ask as long as it listens."""
    with pytest.raises(RtspError):
        connection().receive(frame(0, b"x"))
    with pytest.raises(RtspError):
        connection().receive(request("OPTIONS") * (STRANGER_MESSAGES_MAX + 1))
    made = recording()
    made.receive(request("OPTIONS") * 200)
    assert len(statuses(made.data_to_send())) == 200
    with pytest.raises(RtspError):
        made.receive(request("OPTIONS") * 2000)


def test_a_refusal_at_record() -> None:
    """Somebody else came first: it may announce again."""
    made = announced()
    made.receive(setup(0) + record())
    made.refuse(403, "somebody publishes this stream already")
    assert b"403 somebody publishes" in made.data_to_send()
    assert made.state is State.READY
