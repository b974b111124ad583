"""What is told when a stream of another cluster does not come."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from headrace.clock import SystemClock
from headrace.identifiers import ChunkId, Epoch
from headrace.session.border import BorderError, border_error
from headrace.transport.dialling import DialError
from headrace_ingress.border.pulling import PullSource
from headrace_ingress.border.upstream import NoUpstream, Taker
from headrace_ingress.events import Closed, Event, Numbers

NUMBERS = Numbers(Epoch(0), 0, 0.0)
NOTHING_THERE = border_error(DialError("handshake", "a.example:80 answered HTTP 200 to the WebSocket handshake"))


class Silent:
    """Answers, and brings nothing."""

    async def follow(self, taker: Taker, after: Mapping[int, ChunkId] | None) -> None:
        """See `Upstream`."""
        await asyncio.Event().wait()


class Faulty:
    """Has a fault."""

    async def follow(self, taker: Taker, after: Mapping[int, ChunkId] | None) -> None:
        """See `Upstream`."""
        raise RuntimeError("nobody thought of this")


async def _closed(*upstreams: NoUpstream | Silent | Faulty) -> Closed:
    """Return the last word of an attempt."""
    source = PullSource(upstreams, SystemClock(), lambda epoch: None)
    told: asyncio.Queue[Event] = asyncio.Queue()

    def deliver(events: list[Event]) -> None:
        for event in events:
            told.put_nowait(event)

    source.start(NUMBERS, deliver)
    async with asyncio.timeout(20):
        closed = await told.get()
    assert isinstance(closed, Closed)
    return closed


async def test_that_the_stream_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge that has no such stream is told of, not the relay that edges have not."""
    monkeypatch.setattr("headrace_ingress.border.pulling.LIVE_SECONDS", 0.1)
    closed = await _closed(Silent(), NoUpstream(NOTHING_THERE))
    assert (closed.code, closed.reason) == ("interrupted", "there is no such stream there, or it is not live")


async def test_that_nothing_of_ours_answers() -> None:
    """A web server is told apart from one that is away, and a refusal counts most."""
    closed = await _closed(NoUpstream(BorderError("unresolved", "unknown")), NoUpstream(NOTHING_THERE))
    assert closed.code == "unresolved"
    closed = await _closed(NoUpstream(NOTHING_THERE))
    assert (closed.code, "no Headrace and no WCS" in closed.reason) == ("unreachable", True)
    closed = await _closed(NoUpstream(NOTHING_THERE), NoUpstream(BorderError("refused", "no")))
    assert closed.code == "refused"


async def test_a_fault_of_ours_is_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    """It ends the attempt with a reason and a trace in the log, and not in silence."""
    closed = await _closed(Faulty())
    assert (closed.code, "fault" in closed.reason) == ("fault", True)
    assert "nobody thought of this" in "".join(capsys.readouterr())
