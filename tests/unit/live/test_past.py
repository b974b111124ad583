"""The past of a stream, asked of the parent for a cold edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from headrace.identifiers import Epoch, StreamName
from headrace.relay.broadcast import Opened
from headrace.session.recalling import Recalled
from headrace.testing import FakeClock
from headrace.wire.chunk import Chunk
from headrace_edge.live.past import AGAIN_SECONDS, PAST_SECONDS, Past

DEMO = StreamName("demo")


@dataclass
class Answer:
    """An answer that a test ends."""

    end: Callable[[Recalled], None]
    entries: Sequence[Opened | Chunk] = ()
    complete: bool = False
    stopped: bool = False

    def stop(self) -> None:
        self.stopped = True


@dataclass
class Parent:
    """Who is asked; `answers` are what it was asked for, in order."""

    answers: list[Answer] = field(default_factory=list)

    def recall(self, stream: StreamName, seconds: float, on_end: Callable[[Recalled], None]) -> Recalled:
        self.answers.append(Answer(on_end))
        return self.answers[-1]


@pytest.fixture
def parent() -> Parent:
    return Parent()


def finish(answer: Answer, complete: bool) -> None:
    answer.entries, answer.complete = [Opened(Epoch(1), ())], complete
    answer.end(answer)


def test_a_past_that_came_whole_is_settled(parent: Parent, clock: FakeClock) -> None:
    """It is asked for once, and who waits is told."""
    told: list[str] = []
    past = Past(DEMO, 60.0, parent.recall, clock)
    for _ in range(2):
        past.look(0.0, lambda: told.append("settled"))
    finish(parent.answers[0], complete=True)
    past.look(0.0, lambda: told.append("again"))
    assert (past.settled, len(past.entries), told, len(parent.answers)) == (True, 1, ["settled"], 1)


def test_an_answer_that_broke_off_is_asked_for_again(parent: Parent, clock: FakeClock) -> None:
    """The link to the parent may be lost meanwhile: the next one is asked, and half an answer is none."""
    past = Past(DEMO, 60.0, parent.recall, clock)
    past.look(0.0, lambda: None)
    finish(parent.answers[0], complete=False)
    past.look(0.0, lambda: None)
    assert (past.settled, past.entries, len(parent.answers)) == (False, (), 1)
    clock.advance(AGAIN_SECONDS)
    past.look(0.0, lambda: None)
    finish(parent.answers[1], complete=True)
    assert (past.settled, len(past.entries)) == (True, 1)


def test_in_the_end_the_edge_begins_with_what_it_has(parent: Parent, clock: FakeClock) -> None:
    """Nobody waits longer for a past that does not come."""
    past = Past(DEMO, 60.0, parent.recall, clock)
    past.look(0.0, lambda: None)
    finish(parent.answers[0], complete=False)
    clock.advance(PAST_SECONDS + 0.1)
    past.look(0.0, lambda: None)
    assert (past.settled, past.entries, len(parent.answers)) == (True, (), 1)
