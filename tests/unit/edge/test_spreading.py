"""The same bytes to many sockets, by calls and by whatever this system has."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from headrace_edge.ring import ENTRIES, NOT_ASKED, Ring
from headrace_edge.sender import SocketSender
from headrace_edge.spreading import BROKEN, CallSpreader, RingSpreader, Spreader, make_spreader, send_each
from unit.edge.reading import FakeSender

CROWD = 100


@pytest.fixture(params=[CallSpreader, make_spreader])
def spreader(request: pytest.FixtureRequest) -> Iterator[Spreader]:
    made: Spreader = request.param()
    yield made
    made.close()


class Crowd:
    """Many senders, and the viewers' ends of their connections."""

    def __init__(self, stack: ExitStack, count: int = CROWD) -> None:
        pairs = [socket.socketpair() for _ in range(count)]
        for own, other in pairs:
            stack.enter_context(own)
            stack.enter_context(other)
            own.setblocking(False)
            other.setblocking(False)
        self.senders = [SocketSender(own) for own, _ in pairs]
        self.viewers = [other for _, other in pairs]

    def read(self, count: int) -> list[bytes]:
        return [viewer.recv(count) for viewer in self.viewers]


async def test_everybody_gets_everything(spreader: Spreader) -> None:
    """Batch after batch, more than a ring has entries."""
    with ExitStack() as stack:
        crowd = Crowd(stack)
        spread = spreader.spread(crowd.senders)
        for number in range(3 * ENTRIES // CROWD):
            batch = f"batch {number}".encode()
            assert spread(batch) == []
            assert crowd.read(100) == [batch] * CROWD


async def test_those_who_do_not_take_it_all(spreader: Spreader) -> None:
    """Full connections, closed ones and partial writes are told by place; the others get theirs."""
    with ExitStack() as stack:
        crowd = Crowd(stack)
        spread = spreader.spread(crowd.senders)
        crowd.viewers[7].close()
        with pytest.raises(BlockingIOError):
            while True:
                crowd.senders[3].send(bytes(1000))
        late = dict(spread(b"x" * 1000))
        assert late == {3: 0, 7: BROKEN}
        assert crowd.viewers[50].recv(2000) == b"x" * 1000
        large = bytes(1 << 22)
        late = dict(spread(large))
        assert late.keys() == set(range(CROWD))
        assert 0 < late[50] < len(large)
        assert late[3] == 0
        assert late[7] == BROKEN


async def test_another_crowd(spreader: Spreader) -> None:
    """A spread is for those it was made for."""
    with ExitStack() as stack:
        crowd = Crowd(stack)
        assert spreader.spread(crowd.senders[:50])(b"some") == []
        assert spreader.spread(crowd.senders[50:])(b"others") == []
        assert crowd.read(100) == [b"some"] * 50 + [b"others"] * 50


async def test_those_without_a_socket(spreader: Spreader) -> None:
    """A transport in the crowd is sent to like any other."""
    with ExitStack() as stack:
        crowd, other = Crowd(stack, 20), FakeSender()
        assert spreader.spread([*crowd.senders, other])(b"x") == []
        assert (crowd.read(9), other.writes) == ([b"x"] * 20, [b"x"])


async def test_nobody(spreader: Spreader) -> None:
    """An empty crowd takes nothing."""
    assert spreader.spread([])(b"x") == []


class BrokenRing(Ring):
    """A ring that the kernel answers for some only; without a kernel."""

    def __init__(self) -> None:
        self.is_broken = False

    def entry(self, descriptor: int) -> bytes:
        return bytes(64)

    def send(self, blocks: object, data: bytes) -> dict[int, int]:
        self.is_broken = True
        return {self.silent: NOT_ASKED, self.full: -errno.EAGAIN}

    silent = full = -1


async def test_a_broken_ring() -> None:
    """Who was not answered for is let go, for nobody knows what it got; from then on calls do it."""
    with ExitStack() as stack:
        crowd, ring = Crowd(stack), BrokenRing()
        ring.silent, ring.full = (crowd.senders[place].descriptor or 0 for place in (5, 6))
        spread = RingSpreader(ring).spread(crowd.senders)
        assert dict(spread(b"x")) == {5: BROKEN, 6: 0}
        assert spread(b"y") == []
        assert crowd.read(9) == [b"y"] * CROWD


def test_by_calls() -> None:
    """Only those that did not take everything are told, each with what it took."""

    def taking(count: int | OSError) -> object:
        def send(data: bytes) -> int:
            if isinstance(count, OSError):
                raise count
            return count

        return send

    sends = [taking(4), taking(BlockingIOError()), taking(2), taking(BrokenPipeError()), taking(4)]
    assert send_each(sends, b"data") == [(1, 0), (2, 2), (3, BROKEN)]  # type: ignore[arg-type]
