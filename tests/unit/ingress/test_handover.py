"""The border between a reader's thread and the loop."""

from __future__ import annotations

import asyncio
import threading

from headrace.identifiers import ChunkId, Epoch
from headrace.testing import wait_until
from headrace.wire.chunk import Flag, make_chunk
from headrace_ingress.events import Chunks, Event, Noted, Numbers
from headrace_ingress.handover import HANDOVER_MAX_BYTES, Handover

NUMBERS = Numbers(Epoch(1), 1, 0.0)


def big(number: int) -> Chunks:
    id = ChunkId(Epoch(1), 1, 1, number)
    return Chunks((make_chunk(id, Flag(0), 0, 1, 0, 1, 0, bytes(HANDOVER_MAX_BYTES // 2)),), NUMBERS)


async def test_events_come_in_order_and_together() -> None:
    """Whatever waits is given in one go, in the order it was put."""
    taken: list[list[Event]] = []
    handover = Handover(asyncio.get_running_loop(), taken.append, threading.Event())
    for number in range(100):
        handover.put(Noted(str(number)))
    await wait_until(lambda: taken)
    assert [[event.text for event in events if isinstance(event, Noted)] for events in taken] == [
        [str(number) for number in range(100)]
    ]
    handover.put(Noted("later"))
    await wait_until(lambda: len(taken) == 2)


async def test_a_reader_waits_for_a_stuck_loop() -> None:
    """Beyond its bytes the box blocks the reader, and lets it go on once the loop has emptied it."""
    taken: list[Event] = []
    handover = Handover(asyncio.get_running_loop(), taken.extend, threading.Event())
    put = threading.Semaphore(0)

    def fill() -> None:
        for number in range(4):
            handover.put(big(number))
            put.release()

    thread = threading.Thread(target=fill)
    thread.start()
    for _ in range(2):
        assert put.acquire(timeout=10)
    assert not put.acquire(timeout=0.05)
    await wait_until(lambda: len(taken) == 4)
    thread.join(10)


async def test_a_stop_ends_the_wait() -> None:
    """A reader that waits for a stuck loop ends when it is told to stop."""
    stopping = threading.Event()
    handover = Handover(asyncio.get_running_loop(), lambda events: None, stopping)

    def fill() -> None:
        for number in range(8):
            handover.put(big(number))

    thread = threading.Thread(target=fill)
    thread.start()
    stopping.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_closed_loop_stops_the_reader() -> None:
    """When the loop is gone nobody is told, and the reader is to stop."""
    loop = asyncio.new_event_loop()
    loop.close()
    stopping = threading.Event()
    Handover(loop, lambda events: None, stopping).put(Noted("x"))
    assert stopping.is_set()
