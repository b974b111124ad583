"""A publisher's connection from C0 to its end."""

from __future__ import annotations

import pytest
from hypothesis import event, given
from hypothesis import strategies as some

from headrace_ingress.rtmp.amf import Value, decode, encode
from headrace_ingress.rtmp.chunks import ChunkReader, Message, write_message
from headrace_ingress.rtmp.errors import RtmpError
from headrace_ingress.rtmp.handshake import BLOCK_BYTES
from headrace_ingress.rtmp.protocol import (
    OUT_CHUNK_BYTES,
    Media,
    MediaKind,
    Metadata,
    PublishAsked,
    PublishEnded,
    RtmpConnection,
    RtmpEvent,
    State,
)
from unit.ingress.rtmp.client import AVC_CONFIG, C2, SIMPLE, audio, command, connect, publish, video


def opened(*sent: bytes) -> RtmpConnection:
    """Return a connection past its handshake that was sent more."""
    connection = RtmpConnection(bytes(BLOCK_BYTES))
    connection.receive(SIMPLE + C2 + b"".join(sent))
    return connection


def publishing() -> RtmpConnection:
    """Return a connection that publishes."""
    connection = opened(connect(), publish("cam1"))
    connection.accept()
    connection.data_to_send()
    return connection


def told(connection: RtmpConnection) -> list[Message]:
    """Return the messages that are sent now, those after a handshake."""
    buffer = bytearray(connection.data_to_send())
    if len(buffer) > 2 * BLOCK_BYTES:
        del buffer[: 1 + 2 * BLOCK_BYTES]
    reader, messages = ChunkReader(), []
    while (message := reader.next(buffer)) is not None:
        messages.append(message)
        if message.kind == 1:
            reader.chunk_bytes = int.from_bytes(message.payload, "big")
    return messages


def commands(connection: RtmpConnection) -> list[list[Value]]:
    """Return the commands that are sent now."""
    return [decode(message.payload) for message in told(connection) if message.kind == 20]


def status(code: str, values: list[Value]) -> bool:
    """Whether a command tells a status."""
    return values[0] == "onStatus" and isinstance(values[3], dict) and values[3]["code"] == code


def test_the_way_to_publishing() -> None:
    """connect, releaseStream, FCPublish, createStream, publish: each is answered, and the question is asked once."""
    connection = RtmpConnection(bytes(BLOCK_BYTES))
    assert connection.receive(SIMPLE + C2 + connect()) == []
    messages = told(connection)
    assert [message.kind for message in messages] == [5, 6, 1, 20]
    assert messages[2].payload == OUT_CHUNK_BYTES.to_bytes(4, "big")
    answer = decode(messages[3].payload)
    assert answer[:2] == ["_result", 1.0]
    assert isinstance(answer[3], dict)
    assert answer[3]["code"] == "NetConnection.Connect.Success"
    assert connection.receive(publish("cam1?key=secret")) == [PublishAsked("live", "cam1?key=secret")]
    assert commands(connection) == [
        ["_result", 2.0, None, None],
        ["_result", 3.0, None, None],
        ["_result", 4.0, None, 1.0],
    ]
    connection.accept()
    assert status("NetStream.Publish.Start", commands(connection)[0])


def test_enhanced_codecs_are_told_to_who_asks() -> None:
    """Enhanced RTMP's list of codecs is answered with ours, and nobody else is bothered with it."""
    connection = opened(connect(fourCcList=["av01", "hvc1"]))
    answer = commands(connection)[0][3]
    assert isinstance(answer, dict)
    assert "hvc1" in (answer["fourCcList"] if isinstance(answer["fourCcList"], list) else [])
    plain = commands(opened(connect()))[0][3]
    assert isinstance(plain, dict)
    assert "fourCcList" not in plain


def test_a_key_is_in_no_repr() -> None:
    """What may hold a key is not shown."""
    assert "secret" not in repr(PublishAsked("live", "cam1?key=secret"))


def test_media_and_metadata() -> None:
    """They come out as they went in, times too; an empty message is none."""
    connection = publishing()
    metadata = encode("@setDataFrame", "onMetaData", {"framerate": 25.0})
    events = connection.receive(
        write_message(4, Message(18, 1, 0, metadata), 128)
        + video(AVC_CONFIG * 30, 40)
        + audio(b"\xaf\x01x", 45)
        + video(b"", 80)
    )
    assert events == [
        Metadata({"framerate": 25.0}),
        Media(MediaKind.VIDEO, 40, AVC_CONFIG * 30),
        Media(MediaKind.AUDIO, 45, b"\xaf\x01x"),
    ]


def test_media_that_did_not_wait_for_the_answer() -> None:
    """What follows the question is taken after the answer."""
    connection = opened(connect())
    assert connection.receive(publish("cam1") + video(b"\x17x")) == [PublishAsked("live", "cam1")]
    connection.accept()
    assert connection.receive(b"") == [Media(MediaKind.VIDEO, 0, b"\x17x")]


@pytest.mark.parametrize("end", ["FCUnpublish", "closeStream", "deleteStream"])
def test_the_end_is_told_once(end: str) -> None:
    """Each of the ways to say so, once; media that is on its way is let fall; another stream may follow."""
    connection = publishing()
    assert connection.receive(command(end, 6.0, None, 1.0)) == [PublishEnded()]
    assert connection.receive(command("deleteStream", 7.0, None, 1.0) + video(b"\x17x")) == []
    assert connection.receive(publish("cam2")) == [PublishAsked("live", "cam2")]


def test_refused() -> None:
    """The peer is told why, and may ask for another."""
    connection = opened(connect(), publish("cam1"))
    connection.data_to_send()
    connection.refuse("the key is wrong")
    answer = commands(connection)[0]
    assert status("NetStream.Publish.BadName", answer)
    assert isinstance(answer[3], dict)
    assert answer[3]["description"] == "the key is wrong"
    assert connection.receive(publish("cam2")) == [PublishAsked("live", "cam2")]


def test_who_wants_to_play_is_told() -> None:
    """This door gives nothing out."""
    connection = opened(connect())
    connection.data_to_send()
    connection.receive(command("createStream", 2.0, None) + command("play", 0.0, None, "cam1", stream=1))
    assert status("NetStream.Play.Failed", commands(connection)[-1])


def test_pings_and_acknowledgements() -> None:
    """A ping is answered, and every window of bytes acknowledged."""
    connection = publishing()
    connection.receive(write_message(2, Message(4, 0, 0, bytes.fromhex("0006 01020304")), 128))
    assert [message.payload.hex() for message in told(connection)] == ["000701020304"]
    connection.receive(write_message(2, Message(5, 0, 0, (1000).to_bytes(4, "big")), 128) + video(bytes([23]) * 2000))
    assert [message.kind for message in told(connection)] == [3]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (connect() + connect(), "command"),
        (publish("cam1"), "command"),
        (video(b"\x17x"), "command"),
        (connect("a" * 2000), "too_large"),
        (connect() + publish("a" * 2000), "too_large"),
        (write_message(3, Message(20, 0, 0, bytes(65537)), 128), "too_large"),
        (write_message(3, Message(20, 0, 0, b"\x00"), 128), "amf"),
        (write_message(2, Message(1, 0, 0, bytes(4)), 128), "chunk"),
        (write_message(2, Message(1, 0, 0, b"\x00"), 128), "chunk"),
        (write_message(2, Message(5, 0, 0, bytes(4)), 128), "chunk"),
        (write_message(4, Message(9, 0, 0, bytes(65537)), 128), "too_large"),
        (connect() + command("releaseStream", 2.0) * 10_000, "command"),
        (connect() + write_message(4, Message(8, 0, 0, b""), 128) * 10_000, "command"),
    ],
)
def test_broken_rules(sent: bytes, code: str) -> None:
    """Commands out of order, names and messages too long, values out of range, too many messages of a stranger."""
    with pytest.raises(RtmpError) as error:
        opened(sent)
    assert error.value.code == code


def test_questions_without_end() -> None:
    """Who publishes, asks and asks and takes no answer is given up."""
    with pytest.raises(RtmpError, match="more questions"):
        publishing().receive(command("releaseStream", 2.0) * 10_000)


def test_a_publisher_may_send_much() -> None:
    """What holds for strangers does not for who was let in, nor for what is under way when its stream ends."""
    connection = publishing()
    assert len(connection.receive(video(bytes([23]) * 100_000) + video(b"\x17x") * 1000)) == 1001
    assert connection.receive(command("FCUnpublish", 6.0, None, "cam1")) == [PublishEnded()]
    assert connection.receive(video(bytes([23]) * 100_000) * 2) == []


def test_unknown_commands_are_let_be() -> None:
    """What somebody's encoder says besides does no harm."""
    connection = publishing()
    assert connection.receive(command("onFCPublish", 0.0, None) + command("setBufferTime", 9.0, None)) == []
    assert connection.state is State.PUBLISHING


pieces = some.sampled_from(
    [connect(), publish("cam1"), video(AVC_CONFIG), audio(b"\xaf\x00x"), command("deleteStream", 6.0, None, 1.0)]
)


@given(some.lists(pieces | some.binary(max_size=60), max_size=6), some.integers(1, 400))
def test_anything_else(sent: list[bytes], cut: int) -> None:
    """Whatever comes in whatever pieces is events or an error with a code."""
    connection, data = RtmpConnection(bytes(BLOCK_BYTES)), SIMPLE + C2 + b"".join(sent)
    try:
        for begin in range(0, len(data), cut):
            feed(connection, data[begin : begin + cut])
    except RtmpError:
        event("refused")


def feed(connection: RtmpConnection, data: bytes) -> list[RtmpEvent]:
    """Feed a connection whose every question is answered with yes."""
    seen = []
    while events := connection.receive(data):
        data = b""
        seen += events
        if connection.state is State.ASKED:
            connection.accept()
    return seen
