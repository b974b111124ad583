"""RTMP's handshake, the server's side: the simple one of the specification and Flash's with digests.

Simple ("Adobe's Real Time Messaging Protocol", 5.2): C0 and C1 are answered by S0, S1 and S2, which echoes C1; C2 is
not looked at, since many publishers fill it as they like. With digests (never specified by Adobe, as librtmp and
everybody after it do it): 32 of C1's bytes, whose place follows from four others, are an HMAC of the rest, and S1 and
S2 answer in kind. Whose C1 has no valid digest gets the simple one, whatever version it claims.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from headrace_ingress.rtmp.errors import RtmpError

BLOCK_BYTES: Final = 1536
"""Length of C1, C2, S1 and S2."""

VERSION: Final = 3

_TAIL: Final = bytes.fromhex("f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae")
_PLAYER_KEY: Final = b"Genuine Adobe Flash Player 001"
_SERVER_KEY: Final = b"Genuine Adobe Flash Media Server 001"
_SERVER_VERSION: Final = b"\x04\x05\x00\x01"
"""What S1 claims to be, so that clients look for its digest: any version from 3 on does."""

_DIGEST_BYTES: Final = 32
_SCHEMES: Final = (772, 8)
"""Where the four bytes stand that say where the digest does, in either of the two layouts."""


class Handshake:
    """The server's side of one connection's handshake.

    Args:
        chance: `BLOCK_BYTES` of randomness.

    Attributes:
        done: whether C2 has come.
    """

    def __init__(self, chance: bytes) -> None:
        self._chance = chance
        self._answered = False
        self.done = False

    def receive(self, buffer: bytearray) -> bytes:
        """Take what can be taken off the front of `buffer`; return what to send.

        Raises:
            RtmpError: when the peer does not speak RTMP.
        """
        if buffer and not self._answered and buffer[0] != VERSION:
            raise RtmpError("handshake", f"version {buffer[0]} is no plain RTMP")
        answer = b""
        if not self._answered and len(buffer) > BLOCK_BYTES:
            block = bytes(buffer[1 : 1 + BLOCK_BYTES])
            del buffer[: 1 + BLOCK_BYTES]
            self._answered = True
            answer = self._answer(block)
        if self._answered and len(buffer) >= BLOCK_BYTES:
            del buffer[:BLOCK_BYTES]
            self.done = True
        return answer

    def _answer(self, client: bytes) -> bytes:
        version = bytes([VERSION])
        for scheme in _SCHEMES:
            place = digest_place(client, scheme)
            digest = client[place : place + _DIGEST_BYTES]
            if hmac.compare_digest(digest, digest_of(client, place, _PLAYER_KEY)):
                return version + self._signed(scheme) + self._proof(digest)
        return version + bytes(8) + self._chance[8:] + client

    def _signed(self, scheme: int) -> bytes:
        block = bytes(4) + _SERVER_VERSION + self._chance[8:]
        place = digest_place(block, scheme)
        return block[:place] + digest_of(block, place, _SERVER_KEY) + block[place + _DIGEST_BYTES :]

    def _proof(self, digest: bytes) -> bytes:
        key = hmac.digest(_SERVER_KEY + _TAIL, digest, hashlib.sha256)
        block = self._chance[: BLOCK_BYTES - _DIGEST_BYTES]
        return block + hmac.digest(key, block, hashlib.sha256)


def digest_place(block: bytes, scheme: int) -> int:
    """Return where a block's digest stands."""
    return sum(block[scheme : scheme + 4]) % 728 + scheme + 4


def digest_of(block: bytes, place: int, key: bytes) -> bytes:
    """Return the digest of a block but for the digest's own place."""
    return hmac.digest(key, block[:place] + block[place + _DIGEST_BYTES :], hashlib.sha256)
