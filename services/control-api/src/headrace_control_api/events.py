"""What changed in the cluster, as it changes: a bounded log of events, and the followers that read it.

The registry says that something changed, not what. So the log compares what it showed last with what is there, soon
after each change, and keeps what is different. A follower is a number: the last event that it had.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from aiohttp import hdrs, web

from headrace.clock import Clock, microseconds
from headrace.http.problems import Problem
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.registry.registry import Registry
from headrace_control_api.takeovers import Takeovers
from headrace_control_api.views import carriers_of, nodes_with

EVENTS_MAX = 10_000
"""Events that are remembered for followers that come back: some 2 MB."""

SETTLE_SECONDS = 0.1
"""How long changes are gathered before they are compared: a node that starts changes many things at once."""

FOLLOWERS_MAX = 200
"""Most followers at once; each is a connection."""

KEEP_ALIVE_SECONDS = 15.0
"""Longest silence: proxies cut connections that are silent for a minute, and a follower that is gone is noticed."""

WRITE_SECONDS = 20.0
"""How long a follower may take for what is written to it at once."""

RETRY_MILLISECONDS = 2000
"""How long a follower waits before it comes back."""

K = TypeVar("K", bound=str)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Event:
    """One change.

    Attributes:
        number: counts the events of this process.
        name: what happened: `stream_appeared`, `stream_changed`, `stream_gone` and likewise for nodes; `stream_moved`,
            `source_taken_over` or `transfer_taken_over` when another node has it.
        text: what it happened to, as JSON.
    """

    number: int
    name: str
    text: str


@dataclass(slots=True)
class _Shown:
    """What the log has told of one kind of thing: a fingerprint and the document of each."""

    kind: str
    prints: dict[str, Hashable] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)


class EventLog:
    """The last events, and whoever waits for more.

    Attributes:
        run: names this log; numbers of another run mean nothing here.
        newest: the number of the last event.
    """

    def __init__(self, registry: Registry, clock: Clock, events_max: int = EVENTS_MAX) -> None:
        self.run = secrets.token_hex(4)
        self.newest = 0
        self.followers = 0
        self.ended = False
        self._registry = registry
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=events_max)
        self._streams = _Shown("stream")
        self._nodes = _Shown("node")
        self._takeovers = Takeovers()
        self._timer: asyncio.TimerHandle | None = None
        self._grown = asyncio.Event()

    async def start(self) -> None:
        """Begin to compare; what is there now is no event."""
        self._compare(quiet=True)
        self._registry.watchers.add(self._note)

    async def stop(self) -> None:
        """Compare no more."""
        self._registry.watchers.discard(self._note)
        if self._timer is not None:
            self._timer.cancel()

    async def end(self, app: web.Application) -> None:
        """Let all followers end; for `on_shutdown`."""
        self.ended = True
        self._wake()

    def after(self, number: int) -> list[Event] | None:
        """Return the events after `number`; `None` when some of them are not remembered."""
        first = self._events[0].number if self._events else self.newest + 1
        if not first - 1 <= number <= self.newest:
            return None
        return list(islice(reversed(self._events), self.newest - number))[::-1]  # their numbers have no holes

    async def wait(self, number: int, seconds: float) -> None:
        """Return when there are events after `number`, or time is up."""
        if self.newest > number or self.ended:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._grown.wait()
        except TimeoutError:
            pass

    def _note(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._compare)

    def _compare(self, quiet: bool = False) -> None:
        self._timer = None
        before = self.newest
        carriers = carriers_of(self._registry.nodes.values())
        self._difference(self._streams, self._registry.streams, lambda record: _stream(record, carriers), quiet)
        self._difference(self._nodes, self._registry.nodes, _node, quiet)
        for name, document in self._takeovers.compare(self._registry.streams, self._registry.claims):
            self._tell(name, document, quiet)
        if self.newest != before:
            self._wake()

    def _difference(
        self,
        shown: _Shown,
        records: Mapping[K, V],
        describe: Callable[[V], tuple[Hashable, dict[str, Any]]],
        quiet: bool,
    ) -> None:
        for name in shown.prints.keys() - records.keys():
            del shown.prints[name]
            self._tell(f"{shown.kind}_gone", shown.documents.pop(name), quiet)
        for name, record in records.items():
            mark, document = describe(record)
            known = shown.prints.get(name)
            if mark != known:
                shown.prints[name], shown.documents[name] = mark, document
                self._tell(f"{shown.kind}_{'appeared' if known is None else 'changed'}", document, quiet)

    def _tell(self, name: str, document: dict[str, Any], quiet: bool) -> None:
        if quiet:
            return
        self.newest += 1
        text = json.dumps({"at_us": microseconds(self._clock.utc()), **document}, separators=(",", ":"))
        self._events.append(Event(self.newest, name, text))

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()


def _stream(record: StreamRecord, carriers: Mapping[str, list[str]]) -> tuple[Hashable, dict[str, Any]]:
    nodes = nodes_with(record, carriers)
    mark = (record.node, record.epoch, record.state, record.tracks, tuple(nodes))
    return mark, {
        "stream": record.stream,
        "state": record.state,
        "owner": record.node,
        "epoch": record.epoch,
        "nodes": nodes,
    }


def _node(record: NodeRecord) -> tuple[Hashable, dict[str, Any]]:
    document = {
        "node": record.node,
        "role": record.role,
        "layer": record.layer,
        "region": record.region,
        "relay_url": record.relay_url,
        "public_url": record.public_url,
        "draining": record.draining,
        "started_us": record.started_us,
    }
    return tuple(document.values()), document


async def follow(request: web.Request, log: EventLog, seconds: float | None) -> web.StreamResponse:
    """Write events to one follower until it leaves, the log ends or time is up.

    It begins after the event named by `Last-Event-ID`, else at what comes next. When that event is not remembered, it
    is told `reset`: what it knows may be old, it had better list everything again.

    Raises:
        Problem: 503, when there are too many followers.
    """
    if log.followers >= FOLLOWERS_MAX:
        raise Problem(503, "Too many follow the events already.", headers={hdrs.RETRY_AFTER: "5"})
    headers = {
        hdrs.CONTENT_TYPE: "text/event-stream",
        hdrs.CACHE_CONTROL: "no-store",
        "X-Accel-Buffering": "no",  # nginx would keep events back
    }
    response = web.StreamResponse(headers=headers)
    log.followers += 1
    try:
        await response.prepare(request)
        await _write(response, f"retry: {RETRY_MILLISECONDS}\n\n")
        await _feed(response, log, _resume(request, log), seconds)
        await response.write_eof()
    except ConnectionError:
        pass  # it left: there is nobody to tell
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()  # it takes nothing more, not even an end
    finally:
        log.followers -= 1
    return response


async def _feed(response: web.StreamResponse, log: EventLog, number: int, seconds: float | None) -> None:
    loop = asyncio.get_running_loop()
    until = None if seconds is None else loop.time() + seconds
    while not log.ended:
        events = log.after(number)
        if events is None:
            number = log.newest
            await _write(response, f"id: {log.run}-{number}\nevent: reset\ndata: {{}}\n\n")
        elif events:
            number = events[-1].number
            await _write(response, "".join(_format(log, event) for event in events))
        left = KEEP_ALIVE_SECONDS if until is None else min(KEEP_ALIVE_SECONDS, until - loop.time())
        if left <= 0:
            return
        await log.wait(number, left)
        if log.newest == number and until is None:
            await _write(response, ": still here\n\n")


def _resume(request: web.Request, log: EventLog) -> int:
    """Return the number to go on after; -1 for one that is not remembered."""
    given = request.headers.get("Last-Event-ID")
    if given is None:
        return log.newest
    run, _, number = given.partition("-")
    known = run == log.run and number.isascii() and number.isdigit() and len(number) <= 16
    return int(number) if known else -1


def _format(log: EventLog, event: Event) -> str:
    return f"id: {log.run}-{event.number}\nevent: {event.name}\ndata: {event.text}\n\n"


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        await response.write(text.encode())
