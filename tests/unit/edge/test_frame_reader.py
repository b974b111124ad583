"""Frames of viewers: whole, in pieces, split, wrong."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.frames import Opcode as Code

from headrace.wire.errors import WireError
from headrace_edge.frame_reader import FrameReader, Message
from headrace_edge.frames import Opcode

MAX_BYTES = 70_000


def client_frame(code: int, payload: bytes, fin: bool = True) -> bytes:
    """Return a frame as the websockets library makes it for a client."""
    return Frame(Code(code), payload, fin).serialize(mask=True)


@pytest.mark.parametrize("size", [0, 1, 3, 125, 126, 127, 65_535, 65_536, MAX_BYTES])
def test_messages_of_every_size(size: int) -> None:
    """Each of the three ways to write a length is read, and the mask is taken off."""
    payload = bytes(range(256)) * (size // 256 + 1)
    assert FrameReader(MAX_BYTES).feed(client_frame(2, payload[:size])) == [Message(Opcode.BINARY, payload[:size])]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 8, 9, 10]), st.text(max_size=40))), st.lists(st.integers(1, 9)))
def test_bytes_come_in_any_pieces(said: list[tuple[int, str]], pieces: list[int]) -> None:
    """What is read does not depend on how the network cut it."""
    stream = b"".join(client_frame(code, text.encode()[:120]) for code, text in said if text.isascii())
    wanted = [Message(Opcode(code | 0x80), text.encode()) for code, text in said if text.isascii()]
    reader, found, sizes = FrameReader(MAX_BYTES), [], itertools.cycle(pieces or [3])
    while stream:
        size = next(sizes)
        found += reader.feed(stream[:size])
        stream = stream[size:]
    assert found == wanted


def test_split_messages() -> None:
    """A message of several frames is told once, with control frames in between told at once."""
    frames = [client_frame(1, b"one ", False), client_frame(0, b"two ", False), client_frame(9, b"?")]
    reader = FrameReader(MAX_BYTES)
    assert reader.feed(b"".join(frames)) == [None, None, Message(Opcode.PING, b"?")]
    assert reader.feed(client_frame(0, b"three")) == [Message(Opcode.TEXT, b"one two three")]
    assert reader.feed(client_frame(2, b"next")) == [Message(Opcode.BINARY, b"next")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (Frame(Code.TEXT, b"x").serialize(mask=False), "bad_frame"),
        (b"\xff" * 10, "bad_frame"),
        (b"\xc1\x80" + bytes(4), "bad_frame"),
        (b"\x83\x80" + bytes(4), "bad_frame"),
        (b"\x80\x80" + bytes(4), "bad_frame"),
        (client_frame(1, b"x", False) + client_frame(1, b"x"), "bad_frame"),
        (b"\x09\x80" + bytes(4), "bad_frame"),
        (b"\x89\xfe" + bytes(6), "bad_frame"),
        (client_frame(1, b"\xff\xfe"), "bad_frame"),
        (b"\x82\xff" + (MAX_BYTES + 1).to_bytes(8, "big"), "too_large"),
        (b"\x82\xff" + b"\xff" * 8, "too_large"),
        (client_frame(2, bytes(MAX_BYTES), False) + client_frame(0, b"x"), "too_large"),
    ],
)
def test_what_is_no_frame_of_a_client(data: bytes, code: str) -> None:
    """Unmasked, unknown, out of order, too long: refused as soon as it can be known."""
    with pytest.raises(WireError) as refused:
        FrameReader(MAX_BYTES).feed(data)
    assert refused.value.code == code


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Nothing that a viewer sends raises anything else."""
    with contextlib.suppress(WireError):
        FrameReader(64).feed(data)
