"""WebSocket frames as viewers send them (RFC 6455, section 5): masked, small and rare. Pure: bytes in, messages out.

Ten thousand viewers have a reader each, so one that waits for the next frame holds nothing but a few numbers.
"""

from __future__ import annotations

from typing import NamedTuple

from headrace.wire.errors import WireError
from headrace_edge.frames import Opcode

CONTROL_MAX_BYTES = 125
"""Longest payload of a control frame (section 5.5)."""

_FIN, _RESERVED, _CODE, _MASKED = 0x80, 0x70, 0x0F, 0x80
_CONTINUATION = 0x00
_DATA = (Opcode.TEXT & _CODE, Opcode.BINARY & _CODE)
_CONTROL = (Opcode.CLOSE & _CODE, Opcode.PING & _CODE, Opcode.PONG & _CODE)
_HEAD_BYTES = 2
_MASK_BYTES = 4


class Message(NamedTuple):
    """One whole message.

    Attributes:
        opcode: text, binary, or one of the control frames.
        data: what it carries, unmasked; text is valid UTF-8.
    """

    opcode: Opcode
    data: bytes


class FrameReader:
    """Reads what one viewer sends.

    Args:
        max_bytes: longest message, all its frames together.
    """

    __slots__ = ("_begun", "_max_bytes", "_opcode", "_unread")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._unread = b""
        self._opcode = _CONTINUATION
        self._begun = b""

    def feed(self, data: bytes) -> list[Message | None]:
        """Return what `data` completes, `None` for each frame that is a part of a message only.

        Raises:
            WireError: `too_large` for a message beyond the limit, `bad_frame` for what is no frame of a client. What
                came before it is lost: nobody talks on with a viewer of that kind.
        """
        unread, at = self._unread + data, 0
        found = []
        while (whole := self._next(unread, at)) is not None:
            at, message = whole
            found.append(message)
        self._unread = unread[at:]
        return found

    def _next(self, data: bytes, at: int) -> tuple[int, Message | None] | None:
        """Return where the frame at `at` ends and what it completes, `None` when it has not all come yet."""
        if len(data) - at < _HEAD_BYTES:
            return None
        first, second = data[at], data[at + 1]
        code, size = first & _CODE, second & ~_MASKED
        self._check(first, second, size)
        at += _HEAD_BYTES
        wide = {126: 2, 127: 8}.get(size, 0)
        if len(data) - at < wide:
            return None
        if wide:
            size = int.from_bytes(data[at : at + wide], "big")
            at += wide
        if size + len(self._begun) > self._max_bytes and code not in _CONTROL:
            raise WireError("too_large", f"message of more than {self._max_bytes} bytes")
        begin, end = at + _MASK_BYTES, at + _MASK_BYTES + size
        if len(data) < end:
            return None
        payload = _unmask(data[at:begin], data[begin:end])
        return end, self._complete(code, bool(first & _FIN), payload)

    def _check(self, first: int, second: int, size: int) -> None:
        code = first & _CODE
        if first & _RESERVED:
            raise WireError("bad_frame", "reserved bits are set, and no extension was agreed on")
        if not second & _MASKED:
            raise WireError("bad_frame", "frames of clients are masked")
        if code in _CONTROL:
            if size > CONTROL_MAX_BYTES or not first & _FIN:
                raise WireError("bad_frame", "control frames are short and whole")
        elif code == _CONTINUATION:
            if not self._opcode:
                raise WireError("bad_frame", "a message begins with what it is")
        elif code not in _DATA:
            raise WireError("bad_frame", f"there is no opcode {code}")
        elif self._opcode:
            raise WireError("bad_frame", "a message begins inside another one")

    def _complete(self, code: int, is_last: bool, payload: bytes) -> Message | None:
        if code in _CONTROL:
            return Message(Opcode(code | _FIN), payload)
        code, payload = code or self._opcode, self._begun + payload
        self._opcode, self._begun = (_CONTINUATION, b"") if is_last else (code, payload)
        if not is_last:
            return None
        opcode = Opcode(code | _FIN)
        if opcode is Opcode.TEXT and not _is_text(payload):
            raise WireError("bad_frame", "text that is not UTF-8")
        return Message(opcode, payload)


def _unmask(mask: bytes, payload: bytes) -> bytes:
    """Return the payload without its mask (section 5.3)."""
    size = len(payload)
    whole = (mask * (size // _MASK_BYTES + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
