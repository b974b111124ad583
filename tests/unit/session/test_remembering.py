"""Whether what was remembered of a stream reaches back far enough, and what comes of it when it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from headrace.identifiers import NodeId, StreamName
from headrace.registry.placement import Candidate
from headrace.relay.broadcast import Opened
from headrace.session.link import Link
from headrace.session.recalling import Recalling, reach_seconds
from headrace.session.remembering import is_short, remember
from headrace.testing import wait_until
from headrace.wire.chunk import Chunk
from unit.live.streams import Programme


def test_the_first_epoch_is_all_there_is() -> None:
    """However short it is: nobody published the stream before."""
    assert not is_short(Programme().epoch(4.0), 60.0)


def test_a_later_epoch_has_one_before_it() -> None:
    """Unless it reaches back as far as was wanted."""
    programme = Programme()
    first, second = programme.epoch(10.0), programme.epoch(5.0)
    assert is_short(second, 60.0)
    assert not is_short(second, 4.0)
    assert not is_short(first + second, 60.0)
    assert 14.0 < reach_seconds(first + second) < 17.0


def test_nothing_is_nothing() -> None:
    """An answer without an epoch, or without chunks of it, reaches nowhere."""
    assert not is_short([], 60.0)
    opened = [entry for entry in Programme(epochs=3).epoch(2.0) if isinstance(entry, Opened)]
    assert reach_seconds(opened) == 0.0
    assert is_short(opened, 60.0)


class Silent:
    """A link that takes a question and says nothing, until a test lets its answer come."""

    is_open = True

    def __init__(self) -> None:
        self.feeds: list[Recalling] = []

    def recall(self, stream: StreamName, history_seconds: float, feed: Recalling) -> int:
        """See `Link`."""
        self.feeds.append(feed)
        return len(self.feeds)

    def unsubscribe(self, handle: int) -> None:
        """See `Link`."""


CAM = StreamName("cam1")
OTHER = Candidate(node=NodeId("other"), relay_url="ws://other/relay", why="")


async def answered_short(others: Callable[[], Sequence[Candidate]], dial: Callable[[Candidate], Any]) -> list[bool]:
    """Ask a parent that knows a later epoch alone, and others; return whether each end was complete."""
    programme, link, ends = Programme(), Silent(), list[bool]()
    programme.epoch(4.0)
    remember(cast(Link, link), CAM, 60.0, others, dial, lambda end: ends.append(end.complete))
    for entry in programme.epoch(4.0):
        if isinstance(entry, Opened):
            link.feeds[0].tracks_received(entry.epoch, entry.tracks)
        elif isinstance(entry, Chunk):
            link.feeds[0].chunk_received(entry, 0)
    link.feeds[0].refused("done", "")
    await wait_until(lambda: ends)
    return ends


async def test_a_fault_with_others_leaves_what_the_parent_knew() -> None:
    """Who asked is told once, and waits for nothing that does not come."""

    async def dial(candidate: Candidate) -> Link:
        raise KeyError("a fault")

    with capture_logs() as lines:
        assert await answered_short(lambda: [OTHER], dial) == [True]
    assert "recall_failed" in {line["event"] for line in lines}


async def test_an_answer_in_the_moment_that_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes too late, and harms nobody."""
    monkeypatch.setattr("headrace.session.remembering.OTHER_SECONDS", 0.05)
    link = Silent()

    async def dial(candidate: Candidate) -> Link:
        loop = asyncio.get_running_loop()

        def answer() -> None:
            time.sleep(0.1)  # so that the time is up in the very turn of the loop before the answer comes
            loop.call_soon(loop.call_soon, link.feeds[0].refused, "done", "")

        loop.call_soon(answer)
        return cast(Link, link)

    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    assert await answered_short(lambda: [OTHER], dial) == [True]
    assert faults == []
