"""A channel on a transport that only remembers what was written."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterable

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from headrace.transport.channel import JOIN_MAX_BYTES, Channel, frame_header

URI = parse_uri("ws://127.0.0.1/relay")


class Written(asyncio.Transport):
    """A transport that takes everything."""

    def __init__(self, peer: str = "127.0.0.1", own: str = "127.0.0.1") -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False
        self.aborted = False
        self.paused = False
        self._names = {"peername": (peer, 1), "sockname": (own, 2)}

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._names.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.writes))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True


class Heard:
    """A receiver that remembers."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.bytes = 0
        self.writable = 0
        self.end: tuple[int, str] | None = None
        self.by_peer: bool | None = None

    def message_received(self, message: bytes) -> None:
        self.messages.append(message)

    def bytes_received(self) -> None:
        self.bytes += 1

    def became_writable(self) -> None:
        self.writable += 1

    def channel_closed(self, code: int, reason: str, by_peer: bool) -> None:
        assert self.end is None
        self.end = (code, reason)
        self.by_peer = by_peer


def accepted(max_size: int = 100_000) -> tuple[Channel, Written, Heard]:
    """Return an open channel of the server's side, its transport and its receiver."""
    return _open(Channel(ServerProtocol(state=State.OPEN, max_size=max_size), 1000))


def dialled() -> tuple[Channel, Written, Heard]:
    """Return an open channel of the client's side, its transport and its receiver."""
    return _open(Channel(ClientProtocol(URI, state=State.OPEN, max_size=100_000), 1000))


def _open(channel: Channel) -> tuple[Channel, Written, Heard]:
    transport, heard = Written(), Heard()
    channel.connection_made(transport)
    channel.attach(heard)
    return channel, transport, heard


def carry(transport: Written, to: Channel) -> None:
    """Hand everything written to the other side, in one piece."""
    data = b"".join(transport.writes)
    transport.writes.clear()
    to.data_received(data)


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536, 1_000_000])
def test_prebuilt_frames_are_those_of_the_library(length: int) -> None:
    """Unmasked, final, binary, with the shortest form of the length."""
    body = bytes(length)
    assert frame_header(length) + body == Frame(2, body).serialize(mask=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 100, JOIN_MAX_BYTES, JOIN_MAX_BYTES + 1, 200_000])
async def test_shared_messages_arrive_whole_from_either_side(size: int) -> None:
    """Prefix and body are one message; small ones leave in one write, large bodies are not joined."""
    parts = [(b"prefix1", b"a" * size), (b"prefix2", b"b" * 10)]
    for sender, receiver in ((accepted(), dialled()), (dialled(), accepted(10**6))):
        channel, transport, _ = sender
        other, _, heard = receiver
        other._protocol.max_message_size = 10**6
        channel.send_shared(parts)
        assert len(transport.writes) <= (3 if size > JOIN_MAX_BYTES else 1)
        carry(transport, other)
        assert heard.messages == [prefix + body for prefix, body in parts]


async def test_control_messages_that_are_due_together_leave_in_one_write() -> None:
    """One system call."""
    channel, transport, _ = accepted()
    other, _, heard = dialled()
    channel.send([b"one", b"two", b"three"])
    assert len(transport.writes) == 1
    carry(transport, other)
    assert heard.messages == [b"one", b"two", b"three"]


async def test_messages_byte_by_byte_and_in_fragments() -> None:
    """A message is handed on when its last byte is there; every byte is a sign of life."""
    channel, _, heard = dialled()
    frames = Frame(2, b"ab", fin=False).serialize(mask=False)  # type: ignore[arg-type]
    frames += Frame(0, b"cd", fin=True).serialize(mask=False)  # type: ignore[arg-type]
    for byte in frames:
        channel.data_received(bytes((byte,)))
    assert heard.messages == [b"abcd"]
    assert heard.bytes == len(frames)


async def test_what_came_before_the_receiver_is_kept_for_it() -> None:
    """The peer's hello may be faster than we are."""
    channel = Channel(ClientProtocol(URI, state=State.OPEN), 1000)
    channel.connection_made(Written())
    channel.data_received(frame_header(5) + b"hello")
    heard = Heard()
    channel.attach(heard)
    assert heard.messages == [b"hello"]


async def test_a_channel_that_ended_before_its_receiver_came_tells_it() -> None:
    """Nobody waits for an end that was."""
    channel = Channel(ClientProtocol(URI, state=State.OPEN), 1000)
    channel.connection_made(Written())
    channel.connection_lost(None)
    heard = Heard()
    channel.attach(heard)
    assert heard.end == (1006, "connection lost")


async def test_text_is_refused() -> None:
    """Nodes speak binary; each side knows who closed."""
    channel, transport, heard = dialled()
    other, _, said = accepted()
    other._protocol.send_text(b"hello")
    other._flush()
    written = other._transport
    assert isinstance(written, Written)
    carry(written, channel)
    assert heard.messages == []
    assert channel.closing
    carry(transport, other)
    other.connection_lost(None)
    channel.connection_lost(None)
    assert (said.end, said.by_peer) == ((1002, "text_message"), True)
    assert (heard.end, heard.by_peer) == ((1002, "text_message"), False)


@pytest.mark.parametrize("frames", ["messages", "pings of the WebSocket itself"])
async def test_who_asks_without_reading_is_cut_off(frames: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is bounded, whoever wrote it; it is we who ended it."""
    monkeypatch.setattr("headrace.transport.channel.BACKLOG_MAX_BYTES", 1000)
    channel, transport, heard = accepted()
    ping = Frame(9, b"p" * 100).serialize(mask=True)  # type: ignore[arg-type]
    for _ in range(30):
        if transport.aborted:
            break  # it takes nothing more
        if frames == "messages":
            channel.send([b"a" * 100])
        else:
            channel.data_received(ping)
    assert transport.aborted
    assert len(b"".join(transport.writes)) < 3000
    channel.connection_lost(None)
    assert (heard.end, heard.by_peer) == ((1008, "too_slow"), False)


async def test_who_sends_more_than_it_may_is_not_read_any_more() -> None:
    """Else the time until it is cut off is its own."""
    channel, transport, _ = accepted()
    channel.close(1008, "flood", reads=False)
    assert transport.paused
    other, _, heard = dialled()
    carry(transport, other)
    other.connection_lost(None)
    assert heard.end == (1008, "flood")


async def test_back_pressure_is_told_and_asked() -> None:
    """The limit is the transport's high-water mark."""
    channel, transport, heard = accepted()
    assert transport.high == 1000
    channel.pause_writing()
    assert not channel.writable
    channel.resume_writing()
    assert channel.writable
    assert heard.writable == 1


async def test_closing_says_why_and_is_cut_if_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that is gone does not hold us up."""
    monkeypatch.setattr("headrace.transport.channel.CLOSE_SECONDS", 0.01)
    channel, transport, _ = accepted()
    channel.close(1008, "bad_proof")
    channel.close(1000, "again does nothing")
    channel.send([b"late"])
    assert channel.send_shared([(b"late", b"")]) == 0
    other, _, heard = dialled()
    carry(transport, other)
    assert heard.messages == []
    other.connection_lost(None)
    assert heard.end == (1008, "bad_proof")
    await asyncio.sleep(0.05)
    assert transport.aborted


async def test_what_follows_a_close_in_the_same_bytes_is_not_answered() -> None:
    """The user may still want to send when the end was read already."""
    channel, transport, heard = accepted()
    other, peer, _ = dialled()
    other.send([b"question"])
    other.close(1000, "bye")
    data = b"".join(peer.writes)

    def answer(message: bytes) -> None:
        channel.send([b"answer"])

    heard.message_received = answer  # type: ignore[method-assign]
    channel.data_received(data)
    channel.connection_lost(None)
    assert heard.end == (1000, "bye")
    assert transport.closed


async def test_a_message_beyond_the_limit_ends_the_channel() -> None:
    """Its length alone is enough; 1009."""
    channel, transport, heard = accepted(max_size=1000)
    other, peer, said = dialled()
    other.send([bytes(1001)])
    carry(peer, channel)
    carry(transport, other)
    other.connection_lost(None)
    channel.connection_lost(None)
    assert heard.messages == []
    assert said.end is not None
    assert said.end[0] == 1009
    assert heard.end is not None
    assert (heard.end[0], heard.by_peer) == (1009, False)


@pytest.mark.parametrize(
    ("peer", "own", "loopback"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::1", True),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", True),
        ("10.0.0.7", "127.0.0.1", False),
        ("127.0.0.1", "10.0.0.7", False),
        ("::ffff:10.0.0.7", "::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", False),
    ],
)
async def test_loopback_means_both_ends(peer: str, own: str, loopback: bool) -> None:
    """An empty secret depends on it."""
    channel = Channel(ServerProtocol(state=State.OPEN), 1000)
    channel.connection_made(Written(peer, own))
    assert channel.is_loopback is loopback


async def test_fragments_of_nothing_are_not_kept() -> None:
    """A peer may send as many as it likes: they cost no memory, and the message comes out whole."""
    channel, _, heard = dialled()
    begin = Frame(2, b"ab", fin=False).serialize(mask=False)  # type: ignore[arg-type]
    end = Frame(0, b"ab", fin=True).serialize(mask=False)  # type: ignore[arg-type]
    nothing = Frame(0, b"", fin=False).serialize(mask=False) * 1000  # type: ignore[arg-type]
    channel.data_received(begin + nothing)
    tracemalloc.start()
    try:
        for _ in range(50):
            channel.data_received(nothing)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 100_000
    channel.data_received(end)
    assert heard.messages == [b"abab"]
