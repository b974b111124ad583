"""WebSocket frames as a server sends them (RFC 6455, section 5.2): unmasked, so the same bytes serve every viewer."""

from __future__ import annotations

import enum
import struct

CLOSE_REASON_MAX_BYTES = 123
"""Longest reason in a close frame: control frames carry at most 125 bytes, two of them the code (section 5.5)."""


class Opcode(enum.IntEnum):
    """What a frame carries, with the FIN bit set: no message is ever split."""

    TEXT = 0x81
    BINARY = 0x82
    CLOSE = 0x88
    PING = 0x89
    PONG = 0x8A


class CloseCode(enum.IntEnum):
    """Why a WebSocket ends (RFC 6455, section 7.4.1; docs/protocol.md, section 3.3)."""

    DONE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    REFUSED = 1008
    TOO_LARGE = 1009
    TRY_LATER = 1013


def frame(opcode: Opcode, *parts: bytes | memoryview) -> bytes:
    """Return one whole frame around the joined `parts`."""
    size = sum(map(len, parts))
    if size < 126:
        header = struct.pack(">BB", opcode, size)
    elif size < 65536:
        header = struct.pack(">BBH", opcode, 126, size)
    else:
        header = struct.pack(">BBQ", opcode, 127, size)
    return b"".join((header, *parts))


def close_frame(code: CloseCode, reason: str = "") -> bytes:
    """Return a close frame; a reason that is too long is cut, at a character."""
    cut = reason.encode()[:CLOSE_REASON_MAX_BYTES].decode(errors="ignore").encode()
    return frame(Opcode.CLOSE, struct.pack(">H", code), cut)
