"""The server's side of an RTMP connection that publishes.

Theory of operation
-------------------
The shell feeds what it receives and sends what `data_to_send` has. After the handshake come messages; commands among
them lead to at most one stream that is published:

| state | left by | to |
|---|---|---|
| HANDSHAKE | C2 | CONNECTING |
| CONNECTING | `connect` | READY |
| READY | `publish`: the event `PublishAsked` | ASKED |
| ASKED | `accept` | PUBLISHING |
| ASKED | `refuse` | READY |
| PUBLISHING | `FCUnpublish`, `closeStream`, `deleteStream`: the event `PublishEnded` | READY |

Media before `accept` is a broken rule. Until the first one a peer is a stranger: its messages are as short as commands
are, and few, for each takes time and memory that others want. Whoever wants to play is told that it cannot. A peer that
breaks a rule ends the connection by `RtmpError`, out of `receive`; nothing may be fed after it.

Sources: "Adobe's Real Time Messaging Protocol" (RTMP), "Enhanced RTMP" versions 1 and 2 (Veovera), of which only the
lists of codecs in `connect` and its answer matter here; media travel on unread.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from headrace_ingress.rtmp.amf import Value, decode, encode, split_string
from headrace_ingress.rtmp.chunks import CHUNK_MAX_BYTES, MESSAGE_MAX_BYTES, ChunkReader, Message, write_message
from headrace_ingress.rtmp.errors import RtmpError
from headrace_ingress.rtmp.handshake import Handshake

OUT_CHUNK_BYTES: Final = 65536
"""Chunk size told to the peer; ffmpeg takes it over for its own direction, where it saves it hundreds of headers."""

WINDOW_BYTES: Final = 2_500_000
"""Window told to the peer, and the one taken for it until it tells its own."""

COMMAND_MAX_BYTES: Final = 64 * 1024
"""Longest command or metadata: real ones have less than two thousand bytes."""

STRANGER_MESSAGES_MAX: Final = 100
"""Most messages of a peer that was never let in: publishers send about ten until they are."""

NAME_MAX_CHARACTERS: Final = 1024
"""Longest application or stream name, key included."""

OUT_MAX_BYTES: Final = 256 * 1024
"""Most bytes that wait to be sent: who asks without reading the answers ends."""

STREAM: Final = 1
"""The one message stream that `createStream` gives."""

_CONTROL, _COMMANDS = 2, 3
"""Chunk streams of ours."""

_SET_CHUNK, _ABORT, _ACK, _USER, _WINDOW, _BANDWIDTH = 1, 2, 3, 4, 5, 6
_AUDIO, _VIDEO, _DATA3, _COMMAND3, _DATA, _COMMAND = 8, 9, 15, 17, 18, 20
_STREAM_BEGIN, _PING, _PONG = 0, 6, 7

FOURCCS: Final = ("avc1", "hvc1", "av01", "vp09", "mp4a", "Opus", ".mp3", "fLaC")
"""What is taken by enhanced RTMP, told in the answer to `connect`."""


class State(enum.Enum):
    """Where the connection is."""

    HANDSHAKE = enum.auto()
    CONNECTING = enum.auto()
    READY = enum.auto()
    ASKED = enum.auto()
    PUBLISHING = enum.auto()


class MediaKind(enum.Enum):
    """What a media message holds."""

    AUDIO = _AUDIO
    VIDEO = _VIDEO


@dataclass(frozen=True, slots=True)
class PublishAsked:
    """The peer wants to publish: answer with `accept` or `refuse`.

    Attributes:
        app: the application of the URL, for example `live`.
        name: the stream's name as it was given, with a key in it perhaps: not for logs.
    """

    app: str
    name: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Media:
    """A message of sound or picture, as FLV has it."""

    kind: MediaKind
    timestamp: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the publisher says about its stream."""

    values: dict[str, Value]


@dataclass(frozen=True, slots=True)
class PublishEnded:
    """The peer said that it publishes no more."""


RtmpEvent = PublishAsked | Media | Metadata | PublishEnded


class RtmpConnection:
    """One connection.

    Args:
        chance: 1536 bytes of randomness for the handshake.

    Attributes:
        state: where it is.
    """

    def __init__(self, chance: bytes) -> None:
        self.state = State.HANDSHAKE
        self._handshake = Handshake(chance)
        self._reader = ChunkReader(COMMAND_MAX_BYTES)
        self._stranger_messages = 0
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._events: list[RtmpEvent] = []
        self._app = ""
        self._window = WINDOW_BYTES
        self._received = self._acknowledged = 0

    def receive(self, data: bytes) -> list[RtmpEvent]:
        """Take bytes; return what came of them. After an answer to `PublishAsked`, call it again with none.

        Raises:
            RtmpError: when the peer broke a rule; what is to be sent may still be sent, then close.
        """
        self._buffer += data
        self._received += len(data)
        if self.state is State.HANDSHAKE:
            self._send(self._handshake.receive(self._buffer))
            if not self._handshake.done:
                return []
            self.state = State.CONNECTING
        # What follows a question waits for its answer: some do not.
        while self.state is not State.ASKED and (message := self._reader.next(self._buffer)) is not None:
            self._take(message)
        if self._received - self._acknowledged >= self._window:
            self._acknowledged = self._received
            self._control(_ACK, (self._received % (1 << 32)).to_bytes(4, "big"))
        events, self._events = self._events, []
        return events

    def data_to_send(self) -> bytes:
        """Return what is to be sent now."""
        out, self._out, self._out_bytes = b"".join(self._out), [], 0
        return out

    def accept(self) -> None:
        """Let the peer publish what it asked for."""
        self.state = State.PUBLISHING
        self._reader.message_max_bytes = MESSAGE_MAX_BYTES
        self._control(_USER, _STREAM_BEGIN.to_bytes(2, "big") + STREAM.to_bytes(4, "big"))
        self._status("NetStream.Publish.Start", "status", "publishing")

    def refuse(self, why: str) -> None:
        """Tell the peer that it may not."""
        self.state = State.READY
        self._status("NetStream.Publish.BadName", "error", why)

    def end(self, why: str) -> None:
        """Tell a peer that publishes that its stream is over; close then."""
        if self.state is State.PUBLISHING:
            self._status("NetStream.Unpublish.Success", "status", why)

    # -- messages -------------------------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        self._count(message)
        kind, payload = message.kind, message.payload
        if kind in {_AUDIO, _VIDEO}:
            self._media(message)
        elif kind in {_COMMAND, _COMMAND3}:
            self._command(_short(payload[1:] if kind == _COMMAND3 else payload))
        elif kind == _DATA:
            self._data(_short(payload))
        elif kind == _SET_CHUNK:
            self._reader.chunk_bytes = _number(payload, 1, CHUNK_MAX_BYTES)
        elif kind == _ABORT:
            self._reader.abort(_number(payload, 0, 0xFFFFFFFF))
        elif kind == _WINDOW:
            self._window = _number(payload, 1, 0xFFFFFFFF)
        elif kind == _USER and payload[:2] == _PING.to_bytes(2, "big"):
            self._control(_USER, _PONG.to_bytes(2, "big") + payload[2:6])

    def _count(self, message: Message) -> None:
        if self._reader.message_max_bytes < MESSAGE_MAX_BYTES:
            self._stranger_messages += 1
            if self._stranger_messages > STRANGER_MESSAGES_MAX:
                raise RtmpError("command", f"more than {STRANGER_MESSAGES_MAX} messages before anything is published")

    def _media(self, message: Message) -> None:
        if self.state is not State.PUBLISHING:
            if self.state is State.READY:
                return  # on its way when the stream was ended or refused
            raise RtmpError("command", "media before anything is published")
        if message.payload:
            self._events.append(Media(MediaKind(message.kind), message.timestamp, message.payload))

    def _data(self, payload: bytes) -> None:
        if self.state is not State.PUBLISHING:
            return
        name, rest = split_string(payload)
        if name == "@setDataFrame":
            name, rest = split_string(rest)
        if name == "onMetaData" and isinstance(values := next(iter(decode(rest)), None), dict):
            self._events.append(Metadata(values))

    def _command(self, payload: bytes) -> None:
        name, rest = split_string(payload)
        arguments = decode(rest)
        number = arguments[0] if arguments and isinstance(arguments[0], float) else 0.0
        match name:
            case "connect":
                self._connect(number, arguments)
            case "createStream":
                self._require_connected()
                self._answer(number, None, float(STREAM))
            case "releaseStream" | "FCPublish" | "_checkbw":
                self._answer(number, None, None)
            case "publish":
                self._publish(arguments)
            case "FCUnpublish" | "closeStream" | "deleteStream":
                self._unpublish()
            case "play" | "play2":
                self._status("NetStream.Play.Failed", "error", "this door takes streams, edges play them")

    def _connect(self, number: float, arguments: list[Value]) -> None:
        if self.state is not State.CONNECTING:
            raise RtmpError("command", "a second connect")
        told = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], dict) else {}
        self._app = _text(told.get("app")).strip("/")
        self.state = State.READY
        self._control(_WINDOW, WINDOW_BYTES.to_bytes(4, "big"))
        self._control(_BANDWIDTH, WINDOW_BYTES.to_bytes(4, "big") + b"\x02")  # 2: the peer may choose (5.4.5)
        self._control(_SET_CHUNK, OUT_CHUNK_BYTES.to_bytes(4, "big"))
        server: dict[str, Value] = {"fmsVer": "FMS/3,5,7,7009", "capabilities": 31.0}
        status: dict[str, Value] = {
            "level": "status",
            "code": "NetConnection.Connect.Success",
            "description": "connected",
            "objectEncoding": 0.0,
        }
        if "fourCcList" in told or "videoFourCcInfoMap" in told:
            status["fourCcList"] = list(FOURCCS)
        self._answer(number, server, status)

    def _publish(self, arguments: list[Value]) -> None:
        self._require_connected()
        if self.state is not State.READY:
            raise RtmpError("command", "a second stream on one connection")
        name = _text(arguments[2] if len(arguments) > 2 else None)
        self.state = State.ASKED
        self._events.append(PublishAsked(self._app, name))

    def _unpublish(self) -> None:
        if self.state is State.PUBLISHING:
            self.state = State.READY
            self._events.append(PublishEnded())

    def _require_connected(self) -> None:
        if self.state is State.CONNECTING:
            raise RtmpError("command", "a command before connect")

    # -- out ------------------------------------------------------------------------------------------------------

    def _answer(self, number: float, *values: Value) -> None:
        if number:
            self._write(_COMMANDS, Message(_COMMAND, 0, 0, encode("_result", number, *values)))

    def _status(self, code: str, level: str, description: str) -> None:
        information: dict[str, Value] = {"level": level, "code": code, "description": description}
        self._write(_COMMANDS, Message(_COMMAND, STREAM, 0, encode("onStatus", 0.0, None, information)))

    def _control(self, kind: int, payload: bytes) -> None:
        self._write(_CONTROL, Message(kind, 0, 0, payload))

    def _write(self, number: int, message: Message) -> None:
        # Ours is told before any message that is longer than 128 bytes, so all go by it.
        self._send(write_message(number, message, OUT_CHUNK_BYTES))

    def _send(self, data: bytes) -> None:
        self._out_bytes += len(data)
        if self._out_bytes > OUT_MAX_BYTES:
            raise RtmpError("too_large", "more questions than answers can be sent")
        self._out.append(data)


def _short(payload: bytes) -> bytes:
    if len(payload) > COMMAND_MAX_BYTES:
        raise RtmpError("too_large", f"a command of {len(payload)} bytes: at most {COMMAND_MAX_BYTES} are allowed")
    return payload


def _number(payload: bytes, least: int, most: int) -> int:
    number = int.from_bytes(payload[:4], "big")
    if len(payload) < 4 or not least <= number <= most:
        raise RtmpError("chunk", "a control message with a value out of range")
    return number


def _text(value: Value) -> str:
    text = value if isinstance(value, str) else ""
    if len(text) > NAME_MAX_CHARACTERS:
        raise RtmpError("too_large", f"a name of {len(text)} characters: at most {NAME_MAX_CHARACTERS} are allowed")
    return text
