"""Chunk streams: every form of header, every cut, every limit."""

from __future__ import annotations

import pytest
from hypothesis import event, given
from hypothesis import strategies as some

from headrace_ingress.rtmp.chunks import CHUNK_BYTES, STREAMS_MAX, ChunkReader, Message, write_message
from headrace_ingress.rtmp.errors import RtmpError

EMPTY = "000000 000000 09 01000000"
"""The message header of an empty message."""


def read(data: bytes, chunk_bytes: int = CHUNK_BYTES) -> list[Message]:
    """Return the messages in `data`."""
    reader, buffer = ChunkReader(), bytearray(data)
    reader.chunk_bytes = chunk_bytes
    return read_on(reader, buffer)


def read_on(reader: ChunkReader, buffer: bytearray) -> list[Message]:
    """Return what can be read of a buffer."""
    messages = []
    while (message := reader.next(buffer)) is not None:
        messages.append(message)
    return messages


@given(
    some.lists(some.tuples(some.integers(2, 63), some.integers(0, 0xFFFFFE), some.binary(max_size=400)), max_size=6),
    some.integers(1, 300),
    some.integers(1, 97),
)
def test_what_is_written_is_read(sent: list[tuple[int, int, bytes]], chunk_bytes: int, cut: int) -> None:
    """Messages of any size come back, at any chunk size, in pieces of any size."""
    data = b"".join(write_message(number, Message(9, 1, time, body), chunk_bytes) for number, time, body in sent)
    reader, buffer, got = ChunkReader(), bytearray(), []
    reader.chunk_bytes = chunk_bytes
    for begin in range(0, len(data), cut):
        buffer += data[begin : begin + cut]
        got += read_on(reader, buffer)
    assert got == [Message(9, 1, time, body) for _, time, body in sent]
    assert not buffer


def test_every_form_of_header() -> None:
    """Forms 0 to 3: what a header leaves out is as before, times add up, as the specification's examples (5.3.2)."""
    data = bytes.fromhex(
        "04 0003e8 000001 08 01000000 aa"  # form 0: 1000
        "44 000014 000002 08 bbbb"  # form 1: +20, another length
        "84 000015 cccc"  # form 2: +21
        "c4 dddd"  # form 3: +21 again
    )
    assert [(message.timestamp, message.payload.hex()) for message in read(data)] == [
        (1000, "aa"),
        (1020, "bbbb"),
        (1041, "cccc"),
        (1062, "dddd"),
    ]


def test_form_3_after_form_0_adds_its_time() -> None:
    """Its delta is the time of the one before (5.3.1.2.4), which ffmpeg relies on."""
    data = bytes.fromhex("04 000017 000001 08 01000000 aa c4 bb")
    assert [message.timestamp for message in read(data)] == [23, 46]


@pytest.mark.parametrize("repeated", [True, False])
def test_long_times(repeated: bool) -> None:
    """Times of four bytes; later chunks of the message repeat them or, with some publishers, do not."""
    again = "01000000" if repeated else ""
    data = bytes.fromhex(f"04 ffffff 000003 09 01000000 01000000 aaaa c4 {again} bb 84 000001 dddd")
    assert read(data, 2)[:1] == [Message(9, 1, 0x01000000, b"\xaa\xaa\xbb")]


def test_times_wrap() -> None:
    """After 2^32 milliseconds comes 0."""
    data = bytes.fromhex("04 ffffff 000001 09 01000000 fffffff0 aa 84 000020 bb")
    assert [message.timestamp for message in read(data)] == [0xFFFFFFF0, 0x10]


def test_interleaved() -> None:
    """Chunks of several chunk streams, with one, two and three bytes of number, mix as they like."""
    data = bytes.fromhex("04 000001 000002 09 01000000 aa 00 08 000002 000002 08 01000000 bb c4 ab 01 0801 000003")
    data += bytes.fromhex("000001 08 01000000 cc c0 08 bc")
    assert [message.payload.hex() for message in read(data, 1)] == ["aaab", "cc", "bbbc"]


def test_an_aborted_message_is_dropped() -> None:
    """What was not whole is gone, and the chunk stream goes on (5.4.2)."""
    reader, buffer = ChunkReader(), bytearray(bytes.fromhex("04 000001 000002 09 01000000 aa"))
    reader.chunk_bytes = 1
    assert read_on(reader, buffer) == []
    reader.abort(4)
    reader.abort(9)
    buffer += bytes.fromhex("44 000001 000001 09 bb")
    assert [message.payload for message in read_on(reader, buffer)] == [b"\xbb"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (bytes.fromhex("44 000001 000001 09 aa"), "chunk"),
        (bytes.fromhex("c4 aa"), "chunk"),
        (bytes.fromhex("04 000000 ffffff 09 01000000"), "too_large"),
        (bytes.fromhex("04 000001 0000ff 09 01000000") + bytes(128) + bytes.fromhex(f"04{EMPTY}"), "chunk"),
        (b"".join(bytes.fromhex(f"00 {number:02x} {EMPTY}") for number in range(STREAMS_MAX + 1)), "chunk"),
    ],
)
def test_what_is_wrong(data: bytes, code: str) -> None:
    """No first header, a length beyond the limit, a message within a message, too many chunk streams."""
    with pytest.raises(RtmpError) as error:
        read(data)
    assert error.value.code == code


def test_what_is_not_whole_is_bounded() -> None:
    """Many long messages that never end are given up before they fill the memory."""
    reader, buffer = ChunkReader(), bytearray()
    reader.chunk_bytes = 1024 * 1024
    head = bytes.fromhex("000001 3fffff 09 01000000")
    with pytest.raises(RtmpError, match="not whole"):
        for number in range(2, 40):
            buffer += bytes([number]) + head + bytes(1024 * 1024)
            read_on(reader, buffer)


@given(some.binary(max_size=300), some.integers(1, 200))
def test_anything_else(data: bytes, chunk_bytes: int) -> None:
    """Whatever comes is messages or an error, and the buffer never grows."""
    try:
        read(data, chunk_bytes)
    except RtmpError:
        event("refused")
