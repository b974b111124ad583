"""Bytes from a publisher's connection to the reader's thread: bounded, and a writer that waits is woken."""

from __future__ import annotations

import threading

from headrace_ingress.pipe import PIPE_MAX_BYTES, BytePipe

STALL_SECONDS = 5.0


def take_all(pipe: BytePipe, most: int) -> int:
    """Take what waits and return how many bytes that were."""
    pipe.end()
    taken = 0
    while data := pipe.take(most, threading.Event(), STALL_SECONDS):
        taken += len(data)
    return taken


def test_a_full_pipe_says_so_until_half_of_it_was_read() -> None:
    """Whoever was told to write no more is told once when there is room, and not for each piece that is read."""
    room: list[None] = []
    pipe = BytePipe("flv", lambda: room.append(None))
    assert pipe.write(bytes(PIPE_MAX_BYTES - 1))
    assert not pipe.write(b"x")
    assert take_all(pipe, PIPE_MAX_BYTES // 8) == PIPE_MAX_BYTES
    assert len(room) == 1


def test_who_writes_on_into_a_full_pipe_is_woken_all_the_same() -> None:
    """A door writes what it had read from its socket already, while the reader takes some: its wait still ends."""
    room: list[None] = []
    pipe = BytePipe("flv", lambda: room.append(None))
    assert not pipe.write(bytes(PIPE_MAX_BYTES))
    pipe.take(1000, threading.Event(), STALL_SECONDS)
    assert not pipe.write(b"x")
    take_all(pipe, PIPE_MAX_BYTES)
    assert len(room) == 1
