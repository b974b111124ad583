"""A backup gives way to the preferred source when that is back, and to nobody before."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from headrace.testing import wait_until
from headrace_ingress.backup import BackupSource
from headrace_ingress.source import Note, SourceBroken
from unit.ingress.scripted import OTHER, VIDEO, Frames, ScriptedSource


def scripted(stopping: threading.Event, *steps: Frames | SourceBroken) -> ScriptedSource:
    """Return a source of steps."""
    return ScriptedSource(steps, stopping)


async def test_it_fails_back() -> None:
    """The preferred source is tried until it opens; then its tracks are read, and the backup is closed."""
    stopping = threading.Event()
    backup = scripted(stopping, *[Frames(1, start) for start in range(0, 90_000 * 10_000, 90_000)])
    tried: list[ScriptedSource] = []

    def make() -> ScriptedSource:
        step = SourceBroken("away") if len(tried) < 2 else Frames(1, 0, OTHER)
        tried.append(scripted(stopping, step))
        return tried[-1]

    notes: list[str] = []
    source = BackupSource(backup, make, 0.02, stopping)
    source.open(notes.append)
    assert source.read()
    assert source.tracks == (VIDEO,)

    def is_back() -> bool:
        source.read()
        return source.tracks == (OTHER,)

    await wait_until(is_back, 10)
    assert backup.closed.is_set()
    assert [one.closed.is_set() for one in tried] == [True, True, False]
    assert notes[-1] == "the preferred source is back"
    stopping.set()
    source.close()
    assert tried[-1].closed.is_set()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_nothing_stays_open(when: str) -> None:
    """Closed before or after the preferred source was opened: both are closed."""
    stopping, opened = threading.Event(), threading.Event()
    preferred = scripted(stopping, Frames(1, 0, OTHER))

    def make() -> ScriptedSource:
        opened.set()
        return preferred

    source = BackupSource(scripted(stopping, Frames(1)), make, 0.01 if when == "after" else 0.3, stopping)
    source.open(lambda note: None)
    if when == "after":
        await wait_until(opened.is_set, 10)
    source.close()
    stopping.set()
    await wait_until(lambda: preferred.closed.is_set() or not opened.is_set(), 10)


async def test_it_outlives_what_nobody_foresaw() -> None:
    """Whatever is wrong with an attempt at the preferred source, it is closed, and another follows."""
    stopping = threading.Event()
    backup = scripted(stopping, *[Frames(1, start) for start in range(0, 90_000 * 10_000, 90_000)])
    broken, good = scripted(stopping, Frames(1)), scripted(stopping, Frames(1, 0, OTHER))
    steps: Iterator[KeyError | ScriptedSource] = iter([KeyError("no such thing"), broken, good])

    def make() -> ScriptedSource:
        step = next(steps)
        if isinstance(step, KeyError):
            raise step
        return step

    def fail(note: Note) -> None:
        raise RuntimeError("a fault")

    broken.open = fail  # type: ignore[method-assign]
    source = BackupSource(backup, make, 0.02, stopping)
    source.open(lambda text: None)

    def is_back() -> bool:
        source.read()
        return source.tracks == (OTHER,)

    with capture_logs() as lines:
        await wait_until(is_back, 10)
    assert [line["event"] for line in lines] == ["preferred_source_failed"] * 2
    assert broken.closed.is_set()
    stopping.set()
    source.close()
