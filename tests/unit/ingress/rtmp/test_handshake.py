"""Both handshakes, byte by byte."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from headrace_ingress.rtmp.errors import RtmpError
from headrace_ingress.rtmp.handshake import BLOCK_BYTES, Handshake, digest_of, digest_place
from unit.ingress.rtmp.client import C2, SIMPLE, digested

CHANCE = bytes(n * 31 % 256 for n in range(BLOCK_BYTES))
SERVER_KEY = b"Genuine Adobe Flash Media Server 001"
TAIL = bytes.fromhex("f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae")


def answer(first: bytes) -> bytes:
    """Return what is answered to C0 and C1."""
    buffer = bytearray(first)
    answered = Handshake(CHANCE).receive(buffer)
    assert not buffer
    return answered


def test_simple() -> None:
    """S2 echoes C1, S1's second four bytes are zero (5.2.3)."""
    answered = answer(SIMPLE)
    assert len(answered) == 1 + 2 * BLOCK_BYTES
    assert answered[0] == 3
    assert answered[5:9] == bytes(4)
    assert answered[1 + BLOCK_BYTES :] == SIMPLE[1:]


@pytest.mark.parametrize("scheme", [772, 8])
def test_with_digests(scheme: int) -> None:
    """S1 carries a digest in the layout that C1 has, S2 proves that C1's was read; as librtmp checks it."""
    first = digested(scheme)
    answered = answer(first)
    s1, s2 = answered[1 : 1 + BLOCK_BYTES], answered[1 + BLOCK_BYTES :]
    place = digest_place(s1, scheme)
    assert s1[place : place + 32] == digest_of(s1, place, SERVER_KEY)
    client = digest_place(first[1:], scheme)
    key = hmac.digest(SERVER_KEY + TAIL, first[1 + client : 33 + client], hashlib.sha256)
    assert s2[-32:] == hmac.digest(key, s2[:-32], hashlib.sha256)


def test_a_version_without_a_digest_is_simple() -> None:
    """OBS's default claims a version and has no digest: it gets its own bytes back."""
    first = b"\x03" + bytes(4) + b"\x09\x00\x7c\x02" + b"\x11" * (BLOCK_BYTES - 8)
    assert answer(first)[1 + BLOCK_BYTES :] == first[1:]


@pytest.mark.parametrize("first", [SIMPLE, digested(8), digested(772)])
def test_byte_by_byte(first: bytes) -> None:
    """However the bytes arrive the answer is the same, and what follows C2 is left alone."""
    handshake, buffer, out = Handshake(CHANCE), bytearray(), b""
    for byte in first + C2 + b"more":
        assert not handshake.done or bytes(buffer) in b"more"
        buffer.append(byte)
        if not handshake.done:
            out += handshake.receive(buffer)
    assert handshake.done
    assert bytes(buffer) == b"more"
    assert out == answer(first)


@pytest.mark.parametrize("first", [b"\x06", b"GET / HTTP/1.1", b"\x16\x03\x01"])
def test_something_else(first: bytes) -> None:
    """Encrypted RTMP, HTTP and TLS are told apart by the first byte."""
    with pytest.raises(RtmpError, match="no plain RTMP"):
        Handshake(CHANCE).receive(bytearray(first))
