"""Bytes from a publisher's connection to the reader: bounded, in order, and a writer that waits is woken."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from headrace.testing import wait_until
from headrace_ingress.pipe import BARREN_READS, PIPE_MAX_BYTES, BytePipe, PipeBarren, PipeReader, PipeStalled

STALL_SECONDS = 5.0


def reading(
    pipe: BytePipe, stopping: threading.Event | None = None, stall_seconds: float = STALL_SECONDS
) -> PipeReader:
    """Return the reading end of a pipe as a file."""
    return PipeReader(pipe.take_reading_end(), stopping or threading.Event(), stall_seconds)


async def take_all(file: PipeReader) -> bytes:
    """Read to the end, in a thread as readers do."""

    def read() -> bytes:
        taken = bytearray()
        while data := file.read(65536):
            taken += data
        return bytes(taken)

    return await asyncio.to_thread(read)


async def test_all_of_it_comes_in_order() -> None:
    """What was written before the end is read, also what the system's pipe did not take at once."""
    pipe = BytePipe("flv")
    sent = os.urandom(500_000)
    for begin in range(0, len(sent), 70_000):
        assert pipe.write(sent[begin : begin + 70_000])
    pipe.end()
    assert not pipe.is_closed
    file = reading(pipe)
    assert await take_all(file) == sent
    assert pipe.is_closed
    assert pipe.waiting_bytes == 0
    file.close()


async def test_a_full_pipe_says_so_until_half_of_it_was_read() -> None:
    """Whoever was told to write no more is told once when there is room, and not for each piece that is read."""
    room: list[None] = []
    pipe = BytePipe("flv", lambda: room.append(None))
    assert pipe.write(bytes(PIPE_MAX_BYTES - 1))
    assert not pipe.write(bytes(200_000))
    assert PIPE_MAX_BYTES <= pipe.waiting_bytes < PIPE_MAX_BYTES + 200_000
    pipe.end()
    file = reading(pipe)
    assert len(await take_all(file)) == PIPE_MAX_BYTES - 1 + 200_000
    assert len(room) == 1
    file.close()


async def test_who_writes_on_into_a_full_pipe_is_woken_all_the_same() -> None:
    """A door writes what it had read from its socket already, while the reader takes some: its wait still ends."""
    room: list[None] = []
    pipe = BytePipe("flv", lambda: room.append(None))
    assert not pipe.write(bytes(PIPE_MAX_BYTES + 200_000))
    file = reading(pipe)
    taken = 0
    while pipe.waiting_bytes >= PIPE_MAX_BYTES:
        taken += len(file.read(10_000))
        await asyncio.sleep(0)
    assert not pipe.write(b"x")
    assert not room
    pipe.end()
    assert taken + len(await take_all(file)) == PIPE_MAX_BYTES + 200_001
    assert len(room) == 1
    file.close()


async def test_a_reader_that_goes_lets_the_writer_go_on() -> None:
    """What nobody reads is dropped, and the writer is told that there is room."""
    room: list[None] = []
    pipe = BytePipe("flv", lambda: room.append(None))
    assert not pipe.write(bytes(PIPE_MAX_BYTES + 200_000))
    reading(pipe).close()
    await wait_until(lambda: len(room) == 1)
    assert pipe.write(b"more")
    assert pipe.waiting_bytes == 0
    assert pipe.is_closed


async def test_dropped() -> None:
    """A pipe that nobody took leaves no descriptor open."""
    before = len(os.listdir("/proc/self/fd"))
    pipe = BytePipe("flv")
    pipe.write(bytes(200_000))
    pipe.drop()
    pipe.drop()
    pipe.end()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_silence_is_waited_for_once() -> None:
    """libav asks again after a silence, which for MP4 took three stall times: then it is the end, and told apart."""
    pipe = BytePipe("flv")
    file = PipeReader(pipe.take_reading_end(), threading.Event(), 0.1)
    with pytest.raises(PipeStalled):
        await asyncio.to_thread(file.read, 10)
    pipe.write(b"late")
    assert file.has_stalled
    assert file.read(10) == b""
    file.close()
    pipe.drop()


async def test_waits_end() -> None:
    """By the stall time, or as soon as it is time to stop."""
    pipe, stopping = BytePipe("flv"), threading.Event()
    descriptor = pipe.take_reading_end()
    patient = PipeReader(os.dup(descriptor), stopping, 60.0)
    file = PipeReader(descriptor, stopping, 0.3)
    with pytest.raises(PipeStalled):
        await asyncio.to_thread(file.read, 10)
    began = time.monotonic()
    waiting = asyncio.create_task(asyncio.to_thread(patient.read, 10))
    await asyncio.sleep(0)
    stopping.set()
    assert await waiting == b""
    assert time.monotonic() - began < 10
    file.close()
    patient.close()
    pipe.drop()


async def test_closed_while_it_is_read() -> None:
    """A thread that waits sees the end, and reads of no descriptor that has the number next."""
    pipe = BytePipe("rtsp")
    file = reading(pipe)
    waiting = asyncio.create_task(asyncio.to_thread(file.read, 10))
    await asyncio.sleep(0)
    file.close()
    other = BytePipe("flv")
    other.write(b"another's")
    assert await waiting == b""
    for one in (pipe, other):
        one.drop()


async def test_what_is_no_media_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes alone are no sign of life: media must be found in them now and then."""
    monkeypatch.setattr("headrace_ingress.pipe.BARREN_SECONDS", 0.0)
    pipe = BytePipe("mpegts")
    pipe.write(bytes(4 * BARREN_READS))
    file = reading(pipe)
    for _ in range(2):
        assert all(file.read(1) for _ in range(BARREN_READS))
        file.found_media()
    assert all(file.read(1) for _ in range(BARREN_READS))
    with pytest.raises(PipeBarren):
        file.read(1)
    file.close()
    pipe.end()
