"""Tasks that outlive a fault in what they do."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from headrace.telemetry import faults
from headrace.telemetry.faults import outlive_faults


async def test_a_fault_is_told_and_it_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What raises is begun anew after a pause, and ends when it returns."""
    monkeypatch.setattr(faults, "RESTART_SECONDS", 0.01)
    runs: list[int] = []

    async def work() -> None:
        runs.append(len(runs))
        if len(runs) < 3:
            raise ValueError("a fault")

    with capture_logs() as lines:
        async with asyncio.timeout(10):
            await outlive_faults("some-task", work)
    assert runs == [0, 1, 2]
    assert [(line["event"], line["name"]) for line in lines] == [("task_failed", "some-task")] * 2


async def test_it_ends_when_it_is_cancelled() -> None:
    """At once, and nothing begins anew."""
    began = asyncio.Event()

    async def work() -> None:
        assert not began.is_set()
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(outlive_faults("some-task", work))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
