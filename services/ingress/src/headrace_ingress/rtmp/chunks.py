"""RTMP's chunk streams: messages cut into interleaved pieces ("Real Time Messaging Protocol", 5.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from headrace_ingress.rtmp.errors import RtmpError

CHUNK_BYTES: Final = 128
"""Chunk size until it is set."""

CHUNK_MAX_BYTES: Final = 0xFFFFFF
"""Largest chunk size; a message is never longer (5.4.1)."""

MESSAGE_MAX_BYTES: Final = 4 * 1024 * 1024
"""Longest message: a keyframe of 4K video has one million bytes."""

WAITING_MESSAGES: Final = 2
"""How many messages of the longest kind may be not whole yet, of one connection: sound and picture."""

WAITING_MAX_BYTES: Final = WAITING_MESSAGES * MESSAGE_MAX_BYTES
"""Most bytes of messages that are not whole yet, of one connection."""

STREAMS_MAX: Final = 64
"""Most chunk streams of one connection: publishers use four or five."""

SKIP_DELTA: Final = 0xFFFFFF
"""A timestamp of three bytes that says: four bytes follow."""

_HEADER_BYTES: Final = (11, 7, 3, 0)
"""Length of a message header, by its format (5.3.1.2)."""

_WRAP: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Message:
    """One RTMP message.

    Attributes:
        kind: its type (5.4, 7.1).
        stream: the message stream it belongs to, 0 for the connection itself.
        timestamp: in milliseconds, 32 bits, wrapping.
        payload: its bytes.
    """

    kind: int
    stream: int
    timestamp: int
    payload: bytes


@dataclass(slots=True)
class _ChunkStream:
    timestamp: int = 0
    delta: int = 0
    extended: int | None = None
    length: int = 0
    kind: int = 0
    stream: int = 0
    known: bool = False
    payload: bytearray = field(default_factory=bytearray)
    open: bool = False


class ChunkReader:
    """Puts messages together.

    Attributes:
        chunk_bytes: what the peer set its chunk size to.
        message_max_bytes: longest message that is taken; twice as much of what is not whole yet is held.
    """

    def __init__(self, message_max_bytes: int = MESSAGE_MAX_BYTES) -> None:
        self.chunk_bytes = CHUNK_BYTES
        self.message_max_bytes = message_max_bytes
        self._streams: dict[int, _ChunkStream] = {}
        self._waiting = 0

    def next(self, buffer: bytearray) -> Message | None:
        """Take chunks off the front of `buffer` until a message is whole; `None` when more bytes are needed.

        Raises:
            RtmpError: when they break a rule or a limit.
        """
        at = 0
        try:
            while (taken := self._chunk(buffer, at)) is not None:
                at, message = taken
                if message is not None:
                    return message
            return None
        finally:
            del buffer[:at]

    def abort(self, number: int) -> None:
        """Drop the message that is not whole yet of a chunk stream (5.4.2)."""
        if (stream := self._streams.get(number)) is not None and stream.open:
            self._waiting -= len(stream.payload)
            stream.payload, stream.open = bytearray(), False

    def _chunk(self, buffer: bytearray, at: int) -> tuple[int, Message | None] | None:
        """Take the chunk at `at`; return where the next begins and what became whole, `None` when it is cut off."""
        basic = _basic_header(buffer, at)
        if basic is None:
            return None
        form, number, at = basic
        stream = self._streams.get(number)
        if stream is None:
            if len(self._streams) >= STREAMS_MAX:
                raise RtmpError("chunk", f"more than {STREAMS_MAX} chunk streams")
            stream = _ChunkStream()
        end = at + _HEADER_BYTES[form]
        if len(buffer) < end:
            return None
        head = bytes(buffer[at:end])
        extended, at = self._extended(buffer, end, form, head, stream)
        if at < 0:
            return None
        size = self._size(form, head, stream)
        if len(buffer) < at + size:
            return None
        self._streams[number] = stream
        self._begin(form, head, extended, stream)
        stream.payload += buffer[at : at + size]
        self._waiting += size
        if self._waiting > (most := WAITING_MESSAGES * self.message_max_bytes):
            raise RtmpError("too_large", f"more than {most} bytes of messages that are not whole")
        return at + size, self._whole(stream)

    def _extended(
        self, buffer: bytearray, at: int, form: int, head: bytes, stream: _ChunkStream
    ) -> tuple[int | None, int]:
        """Return the timestamp of four bytes, if there is one, and where the payload begins, -1 when it is cut off."""
        if form == 3:
            if stream.extended is None:
                return None, at
            if len(buffer) < at + 4:
                return None, -1
            # Repeated in every chunk of its message by most publishers (5.3.1.3), by some not.
            repeated = int.from_bytes(buffer[at : at + 4], "big") == stream.extended
            return stream.extended, at + 4 if repeated else at
        if int.from_bytes(head[:3], "big") != SKIP_DELTA:
            return None, at
        if len(buffer) < at + 4:
            return None, -1
        return int.from_bytes(buffer[at : at + 4], "big"), at + 4

    def _size(self, form: int, head: bytes, stream: _ChunkStream) -> int:
        """Return how many bytes of payload the chunk has.

        Raises:
            RtmpError: when its header cannot stand here.
        """
        if form != 0 and not stream.known:
            raise RtmpError("chunk", "a chunk stream that does not begin with a whole header")
        if form < 3 and stream.open:
            raise RtmpError("chunk", "a message begins before the last one of its chunk stream is whole")
        length = int.from_bytes(head[3:6], "big") if form < 2 else stream.length
        if length > (most := self.message_max_bytes):
            raise RtmpError("too_large", f"a message of {length} bytes: at most {most} are allowed")
        return min(self.chunk_bytes, length - len(stream.payload))

    def _begin(self, form: int, head: bytes, extended: int | None, stream: _ChunkStream) -> None:
        if stream.open:
            return
        stream.open = True
        if form < 3:
            time = int.from_bytes(head[:3], "big") if extended is None else extended
            stream.delta, stream.extended = time, extended
        if form < 2:
            stream.length, stream.kind = int.from_bytes(head[3:6], "big"), head[6]
        if form == 0:
            stream.stream, stream.timestamp, stream.known = int.from_bytes(head[7:11], "little"), stream.delta, True
        else:
            stream.timestamp = (stream.timestamp + stream.delta) % _WRAP

    def _whole(self, stream: _ChunkStream) -> Message | None:
        if len(stream.payload) < stream.length:
            return None
        payload = bytes(stream.payload)
        self._waiting -= len(payload)
        stream.payload, stream.open = bytearray(), False
        return Message(stream.kind, stream.stream, stream.timestamp, payload)


def _basic_header(buffer: bytearray, at: int) -> tuple[int, int, int] | None:
    """Return format, chunk stream and where the message header begins (5.3.1.1), `None` when it is cut off."""
    if at >= len(buffer):
        return None
    form, number = buffer[at] >> 6, buffer[at] & 0x3F
    if number > 1:
        return form, number, at + 1
    end = at + 2 + number
    if len(buffer) < end:
        return None
    return form, 64 + int.from_bytes(buffer[at + 1 : end], "little"), end


def write_message(number: int, message: Message, chunk_bytes: int) -> bytes:
    """Return a message as chunks of a chunk stream from 2 to 63; its timestamp has three bytes."""
    head = bytes([number]) + message.timestamp.to_bytes(3, "big") + len(message.payload).to_bytes(3, "big")
    out = bytearray(head + bytes([message.kind]) + message.stream.to_bytes(4, "little"))
    for begin in range(0, len(message.payload), chunk_bytes):
        if begin:
            out.append(0xC0 | number)
        out += message.payload[begin : begin + chunk_bytes]
    return bytes(out)
