"""The server's side of an RTSP connection that publishes.

Theory of operation
-------------------
The shell feeds what it receives and sends what `data_to_send` has. What needs an answer that is not to be found here is
an event; until it is answered nothing more is taken:

| state | left by | to |
|---|---|---|
| READY | ANNOUNCE: the event `AnnounceAsked` | ASKED |
| ASKED | `accept_announce` | ANNOUNCED |
| ASKED | `challenge`, `refuse` | READY |
| ANNOUNCED | SETUP of a track by UDP: the event `PortsAsked`, answered by `give_ports` or `refuse` | ANNOUNCED |
| ANNOUNCED | RECORD: the event `RecordAsked` | RECORD_ASKED |
| RECORD_ASKED | `accept_record` | RECORDING |
| RECORD_ASKED | `refuse` | READY |
| RECORDING, ANNOUNCED | TEARDOWN: the event `Ended` | READY |

Until its first ANNOUNCE is accepted a peer is a stranger: it may send few requests and no media. A request that cannot
be met is answered with its status; a peer that breaks the rules of messages ends the connection by `RtspError`, out of
`receive`; nothing may be fed after it.

Sources: RFC 2326 (RTSP 1.0), which has ANNOUNCE and RECORD; RFC 7826 (RTSP 2.0) dropped them, and its wording is taken
where it is the clearer one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from headrace_ingress.rtsp.authorization import Credentials, challenges, parse_authorization
from headrace_ingress.rtsp.errors import RtspError
from headrace_ingress.rtsp.messages import VERSION, Frame, Request, next_message, write_frame, write_response
from headrace_ingress.rtsp.sdp import Media, parse_sdp, write_sdp
from headrace_ingress.rtsp.transport import Datagrams, Interleaved, choose_way

METHODS: Final = ("OPTIONS", "ANNOUNCE", "SETUP", "RECORD", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER")

OUT_MAX_BYTES: Final = 64 * 1024
"""Most bytes that wait to be sent: who asks without reading the answers ends."""

STRANGER_MESSAGES_MAX: Final = 32
"""Most requests of a peer that was never let in: publishers send three."""

TIMEOUT_SECONDS: Final = 60
"""Told to publishers, which send a sign of life more often than that; nobody is sent away by it."""


class State(enum.Enum):
    """Where the connection is."""

    READY = enum.auto()
    ASKED = enum.auto()
    ANNOUNCED = enum.auto()
    RECORD_ASKED = enum.auto()
    RECORDING = enum.auto()


@dataclass(frozen=True, slots=True)
class AnnounceAsked:
    """The peer wants to publish: answer with `accept_announce`, `challenge` or `refuse`.

    Attributes:
        url: of the stream, with a key in it perhaps: not for logs.
        credentials: that came with it.
    """

    url: str = field(repr=False)
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class PortsAsked:
    """The peer sends a track by UDP: answer with `give_ports` or `refuse`.

    Attributes:
        track: its number.
        ports: that it sends RTP and RTCP from.
    """

    track: int
    ports: tuple[int, int]


@dataclass(frozen=True, slots=True)
class RecordAsked:
    """The peer begins: answer with `accept_record` or `refuse`.

    Attributes:
        description: of the tracks, for libav.
    """

    description: bytes


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of a track.

    Attributes:
        framed: as it stands between messages, on the channel that `description` means.
    """

    framed: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The peer said that it publishes no more."""


RtspEvent = AnnounceAsked | PortsAsked | RecordAsked | Packet | Ended


class RtspConnection:
    """One connection.

    Args:
        session: a name for its session that nobody guesses.
        nonce: for the proof of a key.
        may_use_udp: whether media may travel beside the connection: not where that is encrypted.

    Attributes:
        state: where it is.
    """

    def __init__(self, session: str, nonce: str, *, may_use_udp: bool) -> None:
        self.state = State.READY
        self.nonce = nonce
        self._session = session
        self._may_use_udp = may_use_udp
        self._buffer = bytearray()
        self._out = bytearray()
        self._events: list[RtspEvent] = []
        self._asked: Request | None = None
        self._medias: tuple[Media, ...] = ()
        self._set_up: set[int] = set()
        self._channels: dict[int, int] = {}
        self._last_track = 0
        self._is_stranger = True
        self._messages = 0

    def receive(self, data: bytes) -> list[RtspEvent]:
        """Take bytes; return what came of them. After an answer to an event, call it again with none.

        Raises:
            RtspError: when the peer broke a rule; what is to be sent may still be sent, then close.
        """
        self._buffer += data
        while self._asked is None and (message := next_message(self._buffer)) is not None:
            self._messages += 1
            if self._is_stranger and (isinstance(message, Frame) or self._messages > STRANGER_MESSAGES_MAX):
                raise RtspError("request", "media, or too many requests, before anything is published")
            if isinstance(message, Frame):
                self._frame(message)
            else:
                self._request(message)
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> bytes:
        """Return what is to be sent now."""
        out, self._out = bytes(self._out), bytearray()
        return out

    # -- answers --------------------------------------------------------------------------------------------------

    def accept_announce(self) -> None:
        """Let the peer set up what it announced."""
        self.state = State.ANNOUNCED
        self._is_stranger = False
        self._answer(200)

    def accept_record(self) -> None:
        """Let the peer send."""
        self.state = State.RECORDING
        self._answer(200, [("Session", self._session)])

    def give_ports(self, ports: tuple[int, int]) -> None:
        """Tell the peer where a track of UDP is received."""
        request = self._asked
        assert request is not None
        theirs = choose_way(request.headers["transport"], may_use_udp=True)
        assert isinstance(theirs, Datagrams)
        client = f"{theirs.ports[0]}-{theirs.ports[1]}"
        self._answer_setup(f"RTP/AVP/UDP;unicast;client_port={client};server_port={ports[0]}-{ports[1]}")

    def challenge(self) -> None:
        """Ask for a proof of the key."""
        self.state = State.READY
        self._answer(401, challenges(self.nonce))

    def refuse(self, status: int, why: str) -> None:
        """Tell the peer that it may not."""
        if self.state is State.ANNOUNCED:
            self._set_up.discard(self._last_track)
        else:
            self.state = State.READY
        self._answer(status, challenges(self.nonce) if status == 401 else [], phrase=why)

    # -- requests -------------------------------------------------------------------------------------------------

    def _request(self, request: Request) -> None:
        self._asked = request
        if request.version != VERSION:
            self._answer(505)
        elif not request.headers.get("cseq", "").isdecimal() or len(request.headers["cseq"]) > 10:
            self._answer(400)
        elif "require" in request.headers:
            self._answer(551, [("Unsupported", request.headers["require"][:256])])
        elif request.headers.get("session", self._session).partition(";")[0].strip() != self._session:
            self._answer(454)
        else:
            self._method(request)

    def _method(self, request: Request) -> None:
        match request.method:
            case "OPTIONS":
                self._answer(200, [("Public", ", ".join(METHODS))])
            case "GET_PARAMETER" | "SET_PARAMETER":
                self._answer(200, [("Session", self._session)])
            case "ANNOUNCE":
                self._announce(request)
            case "SETUP":
                self._setup(request)
            case "RECORD":
                self._record()
            case "TEARDOWN":
                self._teardown()
            case "DESCRIBE" | "PLAY" | "PAUSE" | "REDIRECT":
                self._answer(405, [("Allow", ", ".join(METHODS))], phrase="This door takes streams, edges play them")
            case _:
                self._answer(501)

    def _announce(self, request: Request) -> None:
        if self.state is not State.READY:
            self._answer(455)
            return
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/sdp":
            self._answer(415)
            return
        try:
            self._medias = parse_sdp(request.body)
        except RtspError as error:
            self._answer(400, phrase=str(error))
            return
        self._set_up.clear()
        self._channels.clear()
        self.state = State.ASKED
        credentials = parse_authorization(request.headers.get("authorization", ""))
        self._events.append(AnnounceAsked(request.url, credentials))

    def _setup(self, request: Request) -> None:
        if self.state is not State.ANNOUNCED:
            self._answer(455)
            return
        track = self._track(request.url)
        way = choose_way(request.headers.get("transport", ""), may_use_udp=self._may_use_udp)
        if track is None or track in self._set_up:
            self._answer(404 if track is None else 455)
        elif isinstance(way, Datagrams):
            self._set_up.add(track)
            self._last_track = track
            self._events.append(PortsAsked(track, way.ports))
        elif isinstance(way, Interleaved):
            channels = way.channels or (2 * track, 2 * track + 1)
            if not self._channels.keys().isdisjoint(channels):
                self._answer(461)
                return
            self._set_up.add(track)
            self._channels |= {channels[0]: 2 * track, channels[1]: 2 * track + 1}
            self._answer_setup(f"RTP/AVP/TCP;unicast;interleaved={channels[0]}-{channels[1]}")
        else:
            self._answer(461)

    def _record(self) -> None:
        if self.state is not State.ANNOUNCED or not self._carried():
            self._answer(455)
            return
        self.state = State.RECORD_ASKED
        self._events.append(RecordAsked(write_sdp(self._carried())))

    def _teardown(self) -> None:
        if self.state in {State.ANNOUNCED, State.RECORDING}:
            self._events.append(Ended())
        self.state = State.READY
        self._answer(200)

    # -- media ----------------------------------------------------------------------------------------------------

    def is_carried(self, track: int) -> bool:
        """Return whether a track's packets are passed on."""
        return self._medias[track].is_carried

    def _frame(self, frame: Frame) -> None:
        channel = self._channels.get(frame.channel)
        if self.state is State.RECORDING and channel is not None and self.is_carried(channel // 2):
            self._events.append(Packet(write_frame(channel, frame.payload)))

    def _carried(self) -> list[tuple[int, Media]]:
        numbered = enumerate(self._medias)
        return [(number, media) for number, media in numbered if media.is_carried and number in self._set_up]

    def _track(self, url: str) -> int | None:
        """Return which track a URL means: some put its control behind a query, some before one."""
        for number, media in enumerate(self._medias):
            control = media.control
            if control and (url == control or url.endswith(f"/{control}") or f"/{control}?" in url):
                return number
        is_only = len(self._medias) == 1 and self._medias[0].control in {"", "*"}
        return 0 if is_only else None

    # -- out ------------------------------------------------------------------------------------------------------

    def _answer_setup(self, transport: str) -> None:
        session = f"{self._session};timeout={TIMEOUT_SECONDS}"
        self._answer(200, [("Transport", f"{transport};mode=record"), ("Session", session)])

    def _answer(self, status: int, headers: list[tuple[str, str]] | None = None, phrase: str = "") -> None:
        request, self._asked = self._asked, None
        assert request is not None
        cseq = request.headers.get("cseq", "")
        cseq = cseq if cseq.isdecimal() and cseq.isascii() and len(cseq) <= 10 else ""
        self._out += write_response(status, cseq, headers or [], phrase=phrase)
        if len(self._out) > OUT_MAX_BYTES:
            raise RtspError("too_large", "more questions than answers can be sent")
