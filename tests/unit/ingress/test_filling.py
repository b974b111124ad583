"""Who numbers a stream while its source is away: the source's reader or the slate, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from headrace.clock import SystemClock
from headrace.identifiers import Epoch
from headrace.testing import wait_until
from headrace_ingress.attempt import Attempt
from headrace_ingress.events import Event, Numbers
from headrace_ingress.filling import Filling
from headrace_ingress.source import ChunkSource


class Recorded(ChunkSource):
    """A source that only takes note of what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def start(self, numbers: Numbers, deliver: Callable[[list[Event]], None]) -> None:
        self.told.append(numbers)

    def stop(self) -> None:
        self.told.append("stop")

    def hold(self) -> None:
        self.told.append("hold")

    def go_on(self, numbers: Numbers) -> None:
        self.told.append(numbers)


def attempt(*, is_numbering: bool = False) -> Attempt:
    made = Attempt(Recorded(), lambda: True, lambda one, events: None, SystemClock())
    made.is_numbering = is_numbering
    return made


def told(one: Attempt) -> list[object]:
    assert isinstance(one.source, Recorded)
    return one.source.told


@dataclass
class Scene:
    """A filling whose slates begin at once."""

    source: Attempt | None = None
    numbers: Numbers = Numbers(Epoch(7), 100, 5.0, 1)
    slates: list[Attempt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.filling = Filling(self._begin, lambda: self.source, lambda: self.numbers, 0.0)

    def _begin(self) -> Attempt:
        self.slates.append(attempt())
        return self.slates[-1]

    async def plays(self) -> Attempt:
        """Wait until a slate plays."""
        await wait_until(lambda: self.filling.slate is not None)
        assert self.filling.slate is self.slates[-1]
        return self.slates[-1]


async def test_nothing_is_held_that_numbers_nothing() -> None:
    """An attempt that ended, or that waits to be told to go on, leaves the stream to the slate at once."""
    for source in (None, attempt()):
        scene = Scene(source)
        scene.filling.away()
        await scene.plays()
        assert source is None or told(source) == []


async def test_a_silent_source_is_held_first() -> None:
    """No slate begins before the reader has finished its epoch; it is asked again while it has not."""
    source = attempt(is_numbering=True)
    scene = Scene(source)
    scene.filling.away()
    await wait_until(lambda: told(source) == ["hold", "hold"])
    assert scene.filling.slate is None
    source.is_numbering = False
    scene.filling.held()
    assert scene.filling.slate is scene.slates[0]


async def test_a_source_that_is_back_ends_the_slate_first() -> None:
    """It goes on where the slate's numbers stood when that had ended, and not before."""
    source = attempt()
    scene = Scene(source)
    scene.filling.away()
    slate = await scene.plays()
    scene.filling.ready(source)
    assert (told(slate), told(source)) == (["stop"], [])
    scene.numbers = Numbers(Epoch(8), 104, 9.0, 2)
    scene.filling.ended()
    assert told(source) == [scene.numbers]
    assert scene.filling.slate is None


async def test_a_source_that_is_back_before_the_slate() -> None:
    """It goes on at once, and no slate begins any more."""
    source = attempt(is_numbering=True)
    scene = Scene(source)
    scene.filling.away()
    await wait_until(lambda: told(source) == ["hold"])
    source.is_numbering = False
    scene.filling.ready(source)
    assert told(source) == ["hold", scene.numbers]
    scene.filling.held()
    assert scene.slates == []


async def test_a_slate_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for no longer than a moment; it is not the feed's any more."""
    monkeypatch.setattr("headrace_ingress.filling.STOP_SECONDS", 0.01)
    source = attempt()
    scene = Scene(source)
    scene.filling.away()
    await scene.plays()
    scene.filling.ready(source)
    await wait_until(lambda: told(source) == [scene.numbers])
    assert scene.filling.slate is None


async def test_whoever_waited_and_went() -> None:
    """The source breaks while the slate ends for it: the slate plays again, and nobody who is gone is told to go on."""
    source = attempt()
    scene = Scene(source)
    scene.filling.away()
    slate = await scene.plays()
    slate.live_at = 1.0
    scene.filling.ready(source)
    scene.filling.away()
    scene.filling.ended()
    await wait_until(lambda: len(scene.slates) == 2)
    assert told(source) == []


async def test_a_slate_that_cannot_be_played(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again after a while, and one that had played at once."""
    monkeypatch.setattr("headrace_ingress.filling.AGAIN_SECONDS", 3600)
    scene = Scene()
    scene.filling.away()
    slate = await scene.plays()
    slate.live_at = 1.0
    scene.filling.ended()
    await wait_until(lambda: len(scene.slates) == 2)
    scene.filling.ended()
    scene.filling.away()
    assert (scene.filling.slate, len(scene.slates)) == (None, 2)
    scene.filling.stop()


async def test_a_feed_that_stops_plays_nothing() -> None:
    """Its slate is stopped, and what its reader says later begins none."""
    scene = Scene()
    scene.filling.away()
    slate = await scene.plays()
    scene.filling.stop()
    assert told(slate) == ["stop"]
    scene.filling.held()
    assert scene.filling.slate is None


async def test_a_feed_without_a_slate() -> None:
    """Its readers are told to go on as soon as they ask."""
    source = attempt()
    filling = Filling(None, lambda: source, lambda: Scene().numbers, 0.0)
    filling.away()
    filling.ready(source)
    assert told(source) == [Scene().numbers]
    assert filling.slate is None
