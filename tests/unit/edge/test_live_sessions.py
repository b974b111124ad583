"""Sessions of HLS and DASH: many requests, one viewer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

from prometheus_client import CollectorRegistry

from headrace.access.gate import Gate
from headrace.access.passes import Pass
from headrace.access.policy import Asked
from headrace.access.tokens import TokenRefused
from headrace.clock import SystemClock
from headrace.identifiers import StreamName
from headrace_edge.live.sessions import LiveSessions
from headrace_edge.metrics import edge_metrics

ASKED = Asked(StreamName("cam1"), token="t", session="s1")


class SlowGate:
    """Lets in when it is told to, as one that asks a webhook."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[None]] = []
        self.inside: list[Pass] = []

    async def admit(self, asked: Asked, **_: bool) -> Pass:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked.append(answer)
        await answer
        held = Pass(asked)
        self.inside.append(held)
        return held

    def check_again(self, held: Pass) -> None:
        """It still may."""

    def leave(self, held: Pass) -> None:
        self.inside.remove(held)


def spawn(name: str, run: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.create_task(run, name=name)


async def turn() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_requests_that_come_together_are_one_viewer_though_the_first_was_refused() -> None:
    """One waits for the first while others come: who is let in then is let in once, and goes once."""
    gate = SlowGate()
    sessions = LiveSessions(cast("Gate", gate), SystemClock(), edge_metrics(CollectorRegistry()), spawn)
    entering = [asyncio.create_task(sessions.enter(ASKED, begins=True)) for _ in range(2)]
    await turn()
    gate.asked[0].set_exception(TokenRefused("away", "it does not answer"))
    await turn()
    entering.append(asyncio.create_task(sessions.enter(ASKED, begins=True)))
    await turn()
    for answer in gate.asked[1:]:
        answer.set_result(None)
    found = await asyncio.gather(*entering, return_exceptions=True)
    assert isinstance(found[0], TokenRefused)
    assert found[1] is found[2]
    assert len(gate.inside) == 1
    await sessions.stop()
    assert gate.inside == []
