"""Faults of ours in what runs for as long as a process does: told, and outlived."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

RESTART_SECONDS: Final = 1.0
"""How long to wait before what failed begins again: a fault that stays is told once a second and no more often."""

log = structlog.get_logger(__name__)


async def outlive_faults(name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` until it returns or this is cancelled; an exception in it is logged, and it begins again.

    For tasks whose end nobody would notice, and which are not worth the end of the process: what a process cannot be
    without runs under `Runtime.spawn` instead.
    """
    while True:
        try:
            await work()
        except Exception:
            log.exception("task_failed", name=name)
        else:
            return
        await asyncio.sleep(RESTART_SECONDS)
