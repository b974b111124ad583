"""An attempt that a worker reads: what it tells is believed if it can be true, and where the numbers stand is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.wire.chunk import Chunk, Flag, make_chunk
from headrace.wire.stream import Track
from headrace_ingress.events import Chunks, Closed, EpochOpened, Event, Held, Noted, Numbers
from headrace_ingress.jobs import Job
from headrace_ingress.workers.attempt import LOAD_SECONDS, Load, WorkerReading, append
from headrace_ingress.workers.messages import MessageError

ONE, TWO = Epoch(1000), Epoch(2000)
VIDEO = Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=b"header")
BEGIN = Numbers(Epoch(0), 7, 5.0, 3)


def chunk(epoch: Epoch = ONE, track: int = 1) -> Chunk:
    return make_chunk(ChunkId(epoch, track, 7, 0), Flag(0), 0, 9000, 0, 2, 17, b"media")


@dataclass
class Host:
    """Workers that read nothing.

    Attributes:
        orders: how many frames were sent.
        over_: whether the attempt was told to be over.
    """

    orders: list[bytes] = field(default_factory=list)
    over_: int = 0

    def begin(self, reading: WorkerReading, numbers: Numbers) -> tuple[Any, int]:
        return self, 1

    def over(self, worker: Any, number: int) -> None:
        self.over_ += 1

    def order(self, frame: bytes, descriptor: int = -1) -> None:
        self.orders.append(frame)


def started() -> tuple[WorkerReading, Host, list[Event]]:
    """Return an attempt, its host, and what it delivers."""
    host, told = Host(), list[Event]()
    reading = WorkerReading(host, Job(StreamName("cam1")))
    reading.start(BEGIN, told.extend)
    return reading, host, told


def test_it_is_closed_where_its_numbers_stood() -> None:
    """As of the last chunks; an epoch without any counts for nothing but its number."""
    reading, host, told = started()
    reading.check(EpochOpened(ONE, (VIDEO,)))
    reading.check(Chunks((chunk(),), Numbers(ONE, 8, 7.5, 4)))
    reading.check(EpochOpened(TWO, (VIDEO,)))
    reading.lost("it is gone", "worker")
    reading.lost("it is gone again", "worker")
    assert told == [Closed("it is gone", False, Numbers(TWO, 8, 7.5, 4), "worker")]
    assert host.over_ == 1
    reading.stop()
    assert host.orders == []


def test_before_anything_came() -> None:
    """The numbers are those it began with."""
    reading, _, told = started()
    reading.lost("gone", "worker")
    assert told == [Closed("gone", False, BEGIN, "worker")]


@pytest.mark.parametrize(
    "event",
    [
        EpochOpened(ONE, (VIDEO,)),
        EpochOpened(Epoch(999), (VIDEO,)),
        Chunks((chunk(TWO),), Numbers(TWO, 7, 6.0, 4)),
        Chunks((chunk(track=2),), Numbers(ONE, 7, 6.0, 4)),
        Chunks((chunk(),), Numbers(TWO, 7, 6.0, 4)),
        Chunks((chunk(),), Numbers(ONE, 6, 6.0, 4)),
        Chunks((chunk(),), Numbers(ONE, 2**60, 6.0, 4)),
        Chunks((chunk(),), Numbers(ONE, 7, 6.0, 2**31)),
        Chunks((chunk(),), Numbers(ONE, 7, math.inf, 4)),
        Chunks((chunk(),), Numbers(ONE, 7, math.nan, 4)),
        Closed("", False, Numbers(Epoch(2**63), 7, 6.0, 4)),
    ],
)
def test_what_cannot_be_true(event: Event) -> None:
    """A process that crashes may say anything; what would stay with the stream for ever is not believed."""
    reading, _, _ = started()
    reading.check(EpochOpened(ONE, (VIDEO,)))
    with pytest.raises(MessageError) as caught:
        reading.check(event)
    assert caught.value.code == "bad_payload"


def test_it_goes_on_where_it_is_told() -> None:
    """Held, and told other numbers: what it says from then on goes on from those, unless it had ended before."""
    after = Numbers(TWO, 9, 12.0, 5)
    reading, host, _ = started()
    reading.check(EpochOpened(ONE, (VIDEO,)))
    reading.check(Held(Numbers(ONE, 7, 5.0, 3)))
    reading.hold()
    reading.go_on(after)
    assert len(host.orders) == 2
    reading.check(EpochOpened(Epoch(3000), (VIDEO,)))
    reading.check(Chunks((chunk(Epoch(3000)),), Numbers(Epoch(3000), 10, 13.0, 6)))

    reading, _, _ = started()
    reading.go_on(after)
    reading.check(Closed("gone", False, BEGIN))
    with pytest.raises(MessageError):
        reading.check(Closed("gone", False, Numbers(ONE, 7, 5.0, 3)))


def test_a_move() -> None:
    """It is asked to end, and says so in place of what the reader said."""
    reading, host, told = started()
    reading.move()
    assert len(host.orders) == 1
    reading.take([Closed("", False, BEGIN)])
    assert told == [Closed("it goes on in a process of its own", False, BEGIN, "moved")]


def test_chunks_that_follow_each_other_become_one_event() -> None:
    """And nothing else does; the order stays."""
    events: list[Event] = []
    first, second = Numbers(ONE, 7, 6.0, 4), Numbers(ONE, 8, 7.0, 4)
    for event in (
        Chunks((chunk(),), first),
        Chunks((chunk(), chunk()), second),
        Noted("x"),
        Chunks((chunk(),), second),
    ):
        append(events, event)
    assert events == [Chunks((chunk(),) * 3, second), Noted("x"), Chunks((chunk(),), second)]


def test_load() -> None:
    """The share of a core over a while, told once for each while."""
    load = Load()
    assert load.measure(1.0, 100.0) == 0.0
    assert load.measure(5.0, 100.0 + LOAD_SECONDS / 2) == 0.0
    assert load.measure(1.0 + LOAD_SECONDS / 4, 100.0 + LOAD_SECONDS) == pytest.approx(0.25)
    assert load.measure(1.0 + LOAD_SECONDS / 4, 100.0 + 1.5 * LOAD_SECONDS) == 0.0
    assert load.measure(1.0 + LOAD_SECONDS / 4, 100.0 + 2 * LOAD_SECONDS) == 0.0
