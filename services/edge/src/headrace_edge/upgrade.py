"""The answer to a WebSocket handshake (RFC 6455, section 4.2). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""What the key is hashed with (section 1.3)."""

KEY_BYTES = 16
VERSION = "13"


class BadHandshake(Exception):
    """A request that asks for a WebSocket in a way that is none; the message is for people."""


def is_upgrade(headers: Mapping[str, str]) -> bool:
    """Return whether a request asks for a WebSocket."""
    return headers.get("Upgrade", "").strip().lower() == "websocket"


def answer(headers: Mapping[str, str], protocols: Iterable[str] = ()) -> dict[str, str]:
    """Return the headers that accept the handshake, with the first of our `protocols` that is offered, if any.

    Args:
        headers: of the request; their names are looked up regardless of case by the mapping itself.
        protocols: subprotocols we speak, the best first.

    Raises:
        BadHandshake: when it is none.
    """
    if not is_upgrade(headers) or "upgrade" not in _words(headers.get("Connection", "").lower()):
        raise BadHandshake("no WebSocket is asked for by Upgrade and Connection")
    if headers.get("Sec-WebSocket-Version", "").strip() != VERSION:
        raise BadHandshake(f"version {VERSION} of the protocol is needed")
    key = headers.get("Sec-WebSocket-Key", "").strip()
    try:
        is_key = len(base64.b64decode(key, validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        is_key = False
    if not is_key:
        raise BadHandshake(f"the key must be {KEY_BYTES} bytes in base64")
    accept = base64.b64encode(hashlib.sha1(key.encode() + MAGIC, usedforsecurity=False).digest()).decode()
    answered = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
    offered = _words(headers.get("Sec-WebSocket-Protocol", ""))
    if chosen := next((name for name in protocols if name in offered), None):
        answered["Sec-WebSocket-Protocol"] = chosen
    return answered


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",")]
