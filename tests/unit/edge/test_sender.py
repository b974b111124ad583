"""The sender on a plain socket, with the kernel in between."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from headrace.testing import wait_until
from headrace_edge.frames import CloseCode, close_frame
from headrace_edge.sender import SocketSender

MEGABYTE = bytes(range(256)) * 4096


class Ends:
    """Notes what a sender tells its listener and its hearer."""

    def __init__(self, sender: SocketSender) -> None:
        self.told: list[str] = []
        self.data = b""
        sender.listener = self
        sender.hearer = self

    def paused(self) -> None:
        self.told.append("paused")

    def resumed(self) -> None:
        self.told.append("resumed")

    def lost(self) -> None:
        self.told.append("lost")

    def heard(self, data: bytes) -> None:
        self.data += data

    def gone(self) -> None:
        self.told.append("gone")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection: the sender's, and the viewer's."""
    own, other = socket.socketpair()
    own.setblocking(False)
    other.settimeout(5)
    yield own, other
    own.close()
    other.close()


def read_all(viewer: socket.socket) -> bytes:
    data = b""
    while piece := viewer.recv(1 << 20):
        data += piece
    return data


async def test_what_is_taken_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    """What the kernel takes leaves nothing behind and tells nobody."""
    sender = SocketSender(pair[0])
    ends = Ends(sender)
    assert sender.send(b"one") == 3
    sender.write(b"two")
    assert pair[1].recv(100) == b"onetwo"
    assert (sender.unsent(), sender.is_paused, ends.told) == (0, False, [])


async def test_what_is_not_taken_is_kept_in_order(pair: tuple[socket.socket, socket.socket]) -> None:
    """The rest goes out as the viewer reads, before anything that was written later; the listener waits meanwhile."""
    sender = SocketSender(pair[0])
    ends = Ends(sender)
    sender.write(MEGABYTE)
    assert ends.told == ["paused"]
    sender.write(b"later")
    assert 0 < sender.unsent() <= len(MEGABYTE) + 5
    reading = asyncio.create_task(asyncio.to_thread(read_all, pair[1]))
    await wait_until(lambda: not sender.is_paused)
    sender.abort()
    assert await reading == MEGABYTE + b"later"
    assert ends.told == ["paused", "resumed", "lost", "gone"]


async def test_keeping_the_rest_of_a_send(pair: tuple[socket.socket, socket.socket]) -> None:
    """Who called `send` gives back what was not taken, and nothing of it is copied."""
    sender = SocketSender(pair[0])
    taken = sender.send(MEGABYTE)
    assert taken < len(MEGABYTE)
    sender.keep(MEGABYTE, taken)
    assert sender.unsent() == len(MEGABYTE) - taken
    assert sender._rest[0].obj is MEGABYTE


async def test_finishing(pair: tuple[socket.socket, socket.socket]) -> None:
    """A close frame is the last thing sent, once, behind what is unsent; the listener writes no more."""
    sender = SocketSender(pair[0])
    ends = Ends(sender)
    sender.write(MEGABYTE)
    sender.finish(CloseCode.GOING_AWAY, "bye")
    sender.finish(CloseCode.DONE)
    sender.write(b"more")
    assert ends.told == ["paused", "lost"]
    reading = asyncio.create_task(asyncio.to_thread(read_all, pair[1]))
    await wait_until(lambda: not sender.unsent())
    sender.close()
    assert await reading == MEGABYTE + close_frame(CloseCode.GOING_AWAY, "bye")


async def test_closing_waits_for_what_is_unsent(pair: tuple[socket.socket, socket.socket]) -> None:
    """The connection ends once the viewer has read everything."""
    sender = SocketSender(pair[0])
    ends = Ends(sender)
    sender.write(MEGABYTE)
    sender.close()
    assert await asyncio.to_thread(read_all, pair[1]) == MEGABYTE
    await wait_until(lambda: ends.told[-1] == "gone")


@pytest.mark.parametrize("closes", ["finish", "close"])
async def test_who_does_not_read_is_cut(
    pair: tuple[socket.socket, socket.socket], closes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A viewer that takes nothing does not keep its connection for long."""
    monkeypatch.setattr("headrace_edge.sender.CLOSE_SECONDS", 0.05)
    sender = SocketSender(pair[0])
    ends = Ends(sender)
    sender.write(MEGABYTE)
    sender.finish(CloseCode.DONE) if closes == "finish" else sender.close()
    await wait_until(lambda: ends.told[-1] == "gone")
    assert sender.unsent() == 0


async def test_hearing(pair: tuple[socket.socket, socket.socket]) -> None:
    """What the viewer sends is passed on; its end is told to both."""
    ends = Ends(SocketSender(pair[0]))
    pair[1].sendall(b"hello")
    await wait_until(lambda: ends.data == b"hello")
    pair[1].close()
    await wait_until(lambda: ends.told == ["lost", "gone"])


async def test_a_broken_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    """A write into it tells the same; later calls do nothing."""
    sender = SocketSender(pair[0])
    ends = Ends(sender)
    pair[1].close()
    sender.write(b"x")
    assert ends.told == ["lost", "gone"]
    sender.write(b"x")
    sender.finish(CloseCode.DONE)
    sender.close()
    sender.abort()
    assert ends.told == ["lost", "gone"]
