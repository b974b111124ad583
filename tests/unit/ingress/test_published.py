"""A publisher's files on their way from the door to whoever reads them, and what becomes of both when one goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from headrace.identifiers import Epoch, StreamName
from headrace_ingress.events import GUILTY, LOST, MOVED, Closed, Event, Numbers
from headrace_ingress.jobs import Job
from headrace_ingress.pipe import BytePipe
from headrace_ingress.published import STOPPED, Publication, PublishedFeed, Slot
from headrace_ingress.reading import Reading

AT = Numbers(Epoch(5), 7, 12.5, 3)


class Listener(Reading):
    """An attempt that notes what it is given."""

    def __init__(self) -> None:
        self.deliver: Callable[[list[Event]], None] = lambda events: None
        self.files: list[tuple[str, bytes]] = []
        self.has_ended = self.is_stopped = False

    def start(self, numbers: Numbers, deliver: Callable[[list[Event]], None]) -> None:
        self.deliver = deliver

    def stop(self) -> None:
        self.is_stopped = True

    def add_file(self, format: str, descriptor: int) -> None:
        try:
            self.files.append((format, os.read(descriptor, 100)))
        except BlockingIOError:
            self.files.append((format, b""))
        os.close(descriptor)

    def end_files(self) -> None:
        self.has_ended = True


@dataclass
class Listeners:
    """Makes them."""

    made: list[Listener] = field(default_factory=list)

    def make(self, job: Job) -> Listener:
        assert job == Job(StreamName("cam1"))
        self.made.append(Listener())
        return self.made[-1]


@dataclass
class Stage:
    """A slot, attempts that take publications from it, and all that they told."""

    slot: Slot = field(default_factory=Slot)
    readers: Listeners = field(default_factory=Listeners)
    told: list[Event] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def attempt(self) -> PublishedFeed:
        made = PublishedFeed(StreamName("cam1"), self.slot, self.readers)
        made.start(AT, self.told.extend)
        return made

    def publish(self) -> Publication:
        publication = Publication(self.reasons.append)
        self.slot.put(publication)
        return publication


def file(data: bytes) -> BytePipe:
    """Return a file that is whole."""
    made = BytePipe("flv")
    made.write(data)
    made.end()
    return made


async def test_files_reach_the_reader() -> None:
    """Those that were there before it, and those that come later, in order; and that there will be no more."""
    stage = Stage()
    publication = stage.publish()
    publication.add(file(b"one"))
    stage.attempt()
    publication.add(file(b"two"))
    (reader,) = stage.readers.made
    assert reader.files == [("flv", b"one"), ("flv", b"two")]
    assert not reader.has_ended
    publication.end()
    assert reader.has_ended
    reader.deliver([Closed("its publisher left", False, AT)])
    assert stage.told == [Closed("its publisher left", False, AT)]
    assert stage.reasons == ["its publisher left"]


async def test_an_attempt_that_nobody_publishes_to() -> None:
    """It ends when it is told to, once, and takes nobody any more."""
    stage = Stage()
    attempt = stage.attempt()
    attempt.stop()
    attempt.stop()
    assert stage.told == [Closed("", False, AT)]
    publication = stage.publish()
    assert stage.readers.made == []
    stage.attempt()
    assert len(stage.readers.made) == 1
    publication.finish(STOPPED)
    assert stage.reasons == [STOPPED]


async def test_one_that_waits_gives_way() -> None:
    """Nobody reads it: its files are let go of."""
    before = len(os.listdir("/proc/self/fd"))
    stage = Stage()
    stage.publish().add(file(b"x" * 200_000))
    stage.publish()
    assert stage.reasons == ["another publisher took over"]
    assert len(os.listdir("/proc/self/fd")) == before


async def test_too_many_files() -> None:
    """A publisher whose codecs change without end is over, and holds no descriptors."""
    before = len(os.listdir("/proc/self/fd"))
    publication = Publication(lambda reason: None)
    for _ in range(50):
        publication.add(file(b"x"))
    assert len(os.listdir("/proc/self/fd")) <= before + 10
    publication.finish("over")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("code", [LOST, MOVED])
async def test_its_reader_is_gone(code: str) -> None:
    """Through no fault of its own: it begins anew for the next attempt, and nobody tells it."""
    stage = Stage()
    publication = stage.publish()
    publication.on_again = lambda: publication.add(file(b"again"))
    stage.attempt()
    publication.add(file(b"first"))
    stage.readers.made[0].deliver([Closed("the process ended", False, AT, code)])
    stage.attempt()
    assert [reader.files for reader in stage.readers.made] == [[("flv", b"first")], [("flv", b"again")]]
    assert stage.reasons == []


@pytest.mark.parametrize(
    ("code", "can_begin", "left", "followed"),
    [
        (GUILTY, True, False, False),
        ("broken", True, False, False),
        (LOST, False, False, False),
        (LOST, True, True, False),
        (LOST, True, False, True),
    ],
)
async def test_who_is_sent_away(code: str, can_begin: bool, left: bool, followed: bool) -> None:
    """Who ended its reader's process, who cannot begin anew, who left meanwhile, and who was followed by another."""
    stage, again = Stage(), list[None]()
    publication = stage.publish()
    publication.on_again = (lambda: again.append(None)) if can_begin else None
    stage.attempt()
    if left:
        publication.end()
    if followed:
        stage.publish()
    stage.readers.made[0].deliver([Closed("why", False, AT, code)])
    assert publication.is_over
    assert stage.reasons == ["another publisher took over" if followed else "why"]
    assert bool(again) is followed
