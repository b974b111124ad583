"""A caller of SRT that is told why it is refused, straight on libsrt."""

from __future__ import annotations

import ctypes
import socket
import time
from typing import Any

from headrace.transport.libsrt import NAMES, pack_address

_STREAMID, _PASSPHRASE = 46, 26
_MESSAGE_BYTES = 1316


def _library() -> Any:
    for name in NAMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise AssertionError("libsrt is missing: see scripts/test-deps.sh")


class SrtCaller:
    """Calls when made; every call blocks.

    Attributes:
        reason: why it was refused, 0 when it is connected: libsrt's own, or access control's from 1000 on.
    """

    def __init__(self, port: int, streamid: str, passphrase: str = "") -> None:
        self._srt = _library()
        self._srt.srt_startup()
        self._socket = self._srt.srt_create_socket()
        for option, text in ((_STREAMID, streamid), (_PASSPHRASE, passphrase)):
            if text:
                data = text.encode()
                assert self._srt.srt_setsockflag(self._socket, option, data, len(data)) == 0
        place = pack_address(socket.AF_INET, ("127.0.0.1", port))
        connected = self._srt.srt_connect(self._socket, place, len(place)) >= 0
        self.reason = 0 if connected else int(self._srt.srt_getrejectreason(self._socket))

    def close(self) -> None:
        """Say goodbye."""
        self._srt.srt_close(self._socket)
        self._srt.srt_cleanup()

    def send(self, data: bytes) -> bool:
        """Send bytes in messages; return whether all of them could be."""
        pieces = (data[at : at + _MESSAGE_BYTES] for at in range(0, len(data), _MESSAGE_BYTES))
        return all(self._srt.srt_sendmsg(self._socket, piece, len(piece), -1, 1) >= 0 for piece in pieces)

    def send_until_closed(self, data: bytes, seconds: float) -> bool:
        """Send the same again and again; return whether the listener closed the connection in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self.send(data):
                return True
            time.sleep(0.02)
        return False
