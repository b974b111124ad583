"""Turns of the event loop that stay short."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from selectors import EVENT_READ, EVENT_WRITE

import pytest

from headrace.transport import turns
from headrace.transport.turns import HELD_MOST, LEAST, MOST, TURN_SECONDS, TurnLoop, TurnSelector, make_loop, prefer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")


class Crowd:
    """A selector with many sockets that have something to say, and time that stands still."""

    def __init__(self, size: int) -> None:
        self.now = 0.0
        self.selector = TurnSelector(lambda: self.now)
        self.pairs = [socket.socketpair() for _ in range(size)]
        for number, (here, there) in enumerate(self.pairs):
            there.send(b"x")
            self.selector.register(here, EVENT_READ, number)

    def turn(self, lasts: float = TURN_SECONDS / 2) -> list[int]:
        """Return who is taken up in a turn, which lasts so long."""
        found = [key.data for key, _ in self.selector.select(0)]
        self.now += lasts
        return found

    def close(self) -> None:
        self.selector.close()
        for pair in self.pairs:
            for each in pair:
                each.close()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    made = Crowd(4 * MOST)
    yield made
    made.close()


def test_a_turn_takes_up_few_and_the_next_ones_the_others(crowd: Crowd) -> None:
    """Nobody is taken up twice before everybody was once."""
    found = [crowd.turn() for _ in range(4)]
    assert [len(turn) for turn in found] == [MOST] * 4
    assert sorted(number for turn in found for number in turn) == list(range(4 * MOST))


def test_turns_that_last_too_long_take_up_fewer(crowd: Crowd) -> None:
    """Half as many after each long turn, down to a least number; one more at a time when turns are short."""
    sizes = [len(crowd.turn(2 * TURN_SECONDS)) for _ in range(6)]
    assert sizes[:3] == [MOST, MOST // 2, MOST // 4]
    assert sizes[-1] == LEAST
    crowd.turn(0.0)
    assert len(crowd.turn(0.0)) == LEAST + 1


def test_a_preferred_connection_is_taken_up_first_in_every_turn(crowd: Crowd) -> None:
    """However many others wait."""
    crowd.selector.prefer(crowd.pairs[7][0])
    found = [crowd.turn() for _ in range(20)]
    assert all(turn[0] == 7 for turn in found)
    assert {len(turn) for turn in found} == {1, 1 + MOST}, "others wait, but not for ever"
    assert sum(len(turn) > 1 for turn in found) == 20 // (HELD_MOST + 1)


def test_nobody_else_is_heard_before_what_came_was_handed_out(crowd: Crowd) -> None:
    """The turn after it is for that; if nothing is to be done in it, the others' time has come."""
    own = crowd.pairs[7][0]
    crowd.selector.prefer(own)
    assert crowd.turn() == [7]
    own.recv(1)
    assert crowd.turn() == []
    assert len(crowd.turn()) == MOST
    crowd.pairs[7][1].send(b"x")
    assert crowd.turn() == [7]
    own.recv(1)
    assert len(crowd.selector.select(1.0)) == MOST


def test_a_preferred_connection_stays_so_while_it_is_not_read(crowd: Crowd) -> None:
    """Its transport may pause; whoever gets its number later is somebody else."""
    own = crowd.pairs[7][0]
    crowd.selector.prefer(own)
    crowd.selector.unregister(own)
    assert 7 not in crowd.turn()
    crowd.selector.register(own, EVENT_READ, 7)
    assert crowd.turn()[0] == 7
    crowd.selector.unregister(own)
    other = crowd.pairs[8][0]
    crowd.selector.unregister(other)
    os.dup2(other.fileno(), own.fileno())
    crowd.selector.register(own, EVENT_READ, -1)
    found = [crowd.turn() for _ in range(5)]
    assert sum(-1 in turn for turn in found) <= 2, "it has its turn like everybody else"


def test_what_is_asked_for_can_be_changed_and_taken_back() -> None:
    """Reading and writing are told apart, and a connection that was closed is forgotten without complaint."""
    selector = TurnSelector()
    here, there = socket.socketpair()
    selector.register(here, EVENT_READ, "data")
    assert selector.select(0) == []
    selector.modify(here, EVENT_READ | EVENT_WRITE, "more")
    ((key, events),) = selector.select(0)
    assert (key.data, events) == ("more", EVENT_WRITE)
    there.send(b"x")
    ((_, events),) = selector.select(0)
    assert events == EVENT_READ | EVENT_WRITE
    assert selector.get_key(here).data == "more"
    assert here.fileno() in selector.get_map()
    with pytest.raises(KeyError):
        selector.register(here, EVENT_READ)
    number = here.fileno()
    here.close()
    selector.unregister(number)
    with pytest.raises(KeyError):
        selector.get_key(number)
    there.close()
    selector.close()


def test_the_loop_runs_what_asyncio_runs_and_prefers_transports() -> None:
    """A connection over it, preferred in the middle of it."""

    async def talk() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read(100))
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        prefer(writer.transport)
        writer.write(b"hello")
        said = await reader.read()
        writer.close()
        prefer(writer.transport)  # closed: nothing to prefer
        server.close()
        return said

    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert isinstance(runner.get_loop(), TurnLoop)
        assert runner.run(talk()) == b"hello"


def test_other_loops_know_no_preference() -> None:
    """Nothing happens there."""

    async def try_it() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        turns.prefer(writer.transport)
        writer.close()
        server.close()

    asyncio.run(try_it())
