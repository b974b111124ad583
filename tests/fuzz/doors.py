"""Mutated publishers by RTSP and SRT, for `feeds.py`."""

from __future__ import annotations

import random
from ipaddress import ip_address

from fuzz.mutating import mutated
from headrace.identifiers import InvalidName, stream_name
from headrace.transport.libsrt import unpack_address
from headrace_ingress.admission import PublishRefused
from headrace_ingress.rtsp.authorization import Digest, parse_authorization, proves
from headrace_ingress.rtsp.errors import RtspError
from headrace_ingress.rtsp.messages import BODY_MAX_BYTES, Request, next_message
from headrace_ingress.rtsp.protocol import (
    OUT_MAX_BYTES,
    AnnounceAsked,
    Packet,
    PortsAsked,
    RecordAsked,
    RtspConnection,
    State,
)
from headrace_ingress.rtsp.sdp import parse_sdp, write_sdp
from headrace_ingress.rtsp.transport import choose_way
from headrace_ingress.rtsp_door import announced_target
from headrace_ingress.rtsp_replay import answer
from headrace_ingress.streamid import parse_streamid
from unit.ingress.rtsp.client import SDP, URL, announce, basic, digest, frame, record, request, setup

DOOR_ERRORS = (RtspError, PublishRefused, InvalidName)
"""What an input may end in."""

ANSWER_MAX_BYTES = 8192
"""More than any single answer."""

REQUESTS = [
    request("OPTIONS"),
    announce(),
    announce(Authorization=basic("correct-horse")),
    setup(0),
    setup(1, transport="RTP/AVP/UDP;unicast;client_port=5000-5001;mode=record"),
    record(),
    frame(0, b"\x80\x60" + bytes(60)),
    frame(3, b"\x80\xc8" + bytes(24)),
    request("GET_PARAMETER", Session="5e55"),
    request("TEARDOWN"),
]
CREDENTIALS = [basic("correct-horse").encode(), digest("correct-horse", "n0nce", qop="auth").encode()]
WAYS = [
    b"RTP/AVP/TCP;unicast;interleaved=0-1;mode=record",
    b"RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;interleaved=2-3",
]
STREAMIDS = [b"cam1?key=correct-horse", b"#!::r=site/cam1,m=publish,s=correct-horse,u=x,t=stream", b"#!:{r=cam1}"]


def rtsp(chance: random.Random) -> None:
    """One publisher's connection, answered one way or another."""
    connection = RtspConnection("5e55", "n0nce", may_use_udp=chance.random() < 0.5)
    sent = REQUESTS[1:6] if chance.random() < 0.6 else []
    data = b"".join(sent) + b"".join(mutated(chance.choice(REQUESTS), chance, REQUESTS) for _ in range(6))
    while data:
        size = chance.choice((1, 7, 128, len(data)))
        piece, data = data[:size], data[size:]
        while events := connection.receive(piece):
            piece = b""
            for event in events:
                _reply(connection, event, chance)
        assert len(connection.data_to_send()) <= OUT_MAX_BYTES + ANSWER_MAX_BYTES


def _reply(connection: RtspConnection, event: object, chance: random.Random) -> None:
    match event:
        case AnnounceAsked():
            chance.choice((connection.accept_announce, connection.challenge, lambda: connection.refuse(403, "no")))()
        case PortsAsked():
            connection.is_carried(event.track)
            chance.choice((lambda: connection.give_ports((6000, 6001)), lambda: connection.refuse(503, "no")))()
        case RecordAsked():
            parse_sdp(event.description)
            chance.choice((connection.accept_record, lambda: connection.refuse(403, "no")))()
        case Packet():
            assert connection.state in State
            assert next_message(bytearray(event.framed)) is not None


def rtsp_messages(chance: random.Random) -> None:
    """Requests and packets alone, and what libav would be answered."""
    buffer = bytearray(mutated(chance.choice(REQUESTS) + chance.choice(REQUESTS), chance, REQUESTS))
    while (message := next_message(buffer)) is not None:
        if isinstance(message, Request):
            assert len(message.body) <= BODY_MAX_BYTES
            answer(message, SDP)


def descriptions(chance: random.Random) -> None:
    """Descriptions, which are written anew without anything that is not known."""
    medias = [media for media in parse_sdp(mutated(SDP, chance)) if media.is_carried]
    written = parse_sdp(write_sdp(list(enumerate(medias))))
    assert [(one.kind, one.mapping, one.format) for one in written] == [
        (one.kind, one.mapping, one.format) for one in medias
    ]


def rtsp_headers(chance: random.Random) -> None:
    """Ways to travel, credentials, and URLs."""
    choose_way(mutated(chance.choice(WAYS), chance, WAYS).decode("latin-1"), may_use_udp=True)
    found = parse_authorization(mutated(chance.choice(CREDENTIALS), chance, CREDENTIALS).decode("utf-8", "replace"))
    if isinstance(found, Digest):
        proves(found, "another-horse", "ANNOUNCE", "n0nce")
    announced_target(mutated(f"{URL}?key=x".encode(), chance).decode("latin-1"))


def streamids(chance: random.Random) -> None:
    """SRT's stream ids, and addresses as libsrt gives them."""
    if address := unpack_address(chance.randbytes(28)):
        ip_address(address)
    target = parse_streamid(mutated(chance.choice(STREAMIDS), chance, STREAMIDS).decode("utf-8", "replace"))
    assert stream_name(target.stream) == target.stream
