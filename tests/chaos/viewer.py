"""A light viewer of `headrace.play.v1` that moves between edges as the pages' player does (web/player/session.js).

An edge that is silent for one and a half heartbeats gets a rival, one that is silent for three is gone; whoever
delivers first becomes current and the others are let go. After a loss another edge is tried within 100 ms, after all of
them have failed there is a pause that grows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from chaos.identity import Check, LinkCheck, read_identity

OPEN_SECONDS = 5.0
RIVAL_AFTER_SECONDS = 1.0
DOUBT_HEARTBEATS = 1.5
SILENT_HEARTBEATS = 3.0
SPREAD_SECONDS = 0.1
RETRY_MIN_SECONDS = 0.2
RETRY_MAX_SECONDS = 5.0
TICK_SECONDS = 0.02
CLOSE_SECONDS = 0.2
MESSAGE_MAX_BYTES = 32 * 1024 * 1024


@dataclass(eq=False)
class EdgeLink:
    """One connection to one edge.

    Attributes:
        since: when it was dialled, monotonic.
        heard: when something came last.
        serving: the edge has welcomed us.
        leaving: the edge goes away.
        doubted: silence made us look for another.
        state: the last that it told of the stream.
        route: the nodes that the stream comes by, ingress first.
    """

    url: str
    since: float
    heard: float
    check: LinkCheck
    heartbeat: float = 1.0
    edge: str = ""
    serving: bool = False
    leaving: bool = False
    doubted: bool = False
    state: str = ""
    route: list[str] = field(default_factory=list)
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def is_lost(self, now: float) -> bool:
        """Return whether it has been silent for too long."""
        if self.serving:
            return now - self.heard > SILENT_HEARTBEATS * self.heartbeat
        return now - self.since > OPEN_SECONDS

    def is_doubtful(self, now: float) -> bool:
        """Return whether another edge should be made ready."""
        if self.serving:
            return now - self.heard > DOUBT_HEARTBEATS * self.heartbeat
        return now - self.since > RIVAL_AFTER_SECONDS


class Viewer:
    """Watches one stream until cancelled.

    Args:
        name: its session.
        stream: what to watch.
        url: WebSocket base URL of the first edge.
    """

    def __init__(self, name: str, stream: str, url: str) -> None:
        self.check = Check()
        self._name = name
        self._stream = stream
        self._source = url
        self._edges: list[str] = []
        self._tried: set[str] = set()
        self._links: list[EdgeLink] = []
        self._current: EdgeLink | None = None
        self._dial_at: float | None = time.monotonic()
        self._wait = RETRY_MIN_SECONDS
        self._happened = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                self._do_what_is_due(time.monotonic())
                self._happened.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_SECONDS):
                        await self._happened.wait()
        finally:
            await asyncio.gather(*(self._drop(link) for link in list(self._links)), return_exceptions=True)

    @property
    def state(self) -> str:
        """What the edge says of the stream, empty while there is none."""
        return self._current.state if self._current else ""

    def report(self) -> dict[str, Any]:
        """Return how it stands, beside the figures of its check."""
        return {
            "name": self._name,
            "edge": self._current.edge if self._current else "",
            "state": self.state,
            "route": self._current.route if self._current else [],
            "silence": min(self.check.silence(time.monotonic()), 1e6),
            "newest_capture_us": self.check.newest_capture_us(),
        }

    # -- links -------------------------------------------------------------------------------------

    def _do_what_is_due(self, now: float) -> None:
        for link in list(self._links):
            if link.is_lost(now):
                self._lose(link, now)
            elif link.is_doubtful(now) and not link.doubted:
                link.doubted = True
                self._notice(link)
                self._dial(self._pick({other.url for other in self._links}), now)
        if self._dial_at is not None and now >= self._dial_at:
            self._dial_at = None
            self._dial(self._pick() or self._source, now)

    def _pick(self, beside: set[str] | None = None) -> str | None:
        open_edges = [edge for edge in dict.fromkeys([*self._edges, self._source]) if edge not in self._tried]
        open_edges = [edge for edge in open_edges if edge not in (beside or set())]
        if not self._edges and self._source in open_edges:
            return self._source
        return random.choice(open_edges) if open_edges else None

    def _dial(self, url: str | None, now: float) -> None:
        if url is not None and len(self._links) < 3:
            link = EdgeLink(url, now, now, LinkCheck())
            self._links.append(link)
            link.task = asyncio.create_task(self._serve(link))

    async def _serve(self, link: EdgeLink) -> None:
        try:
            async with connect(
                f"{link.url}/play/{self._stream}",
                subprotocols=[Subprotocol("headrace.play.v1")],
                compression=None,
                open_timeout=OPEN_SECONDS,
                close_timeout=CLOSE_SECONDS,
                ping_interval=None,
                max_size=MESSAGE_MAX_BYTES,
                proxy=None,
            ) as socket:
                play: dict[str, Any] = {"type": "play", "session": self._name}
                if (after := self.check.after()) is not None:
                    play["after"] = after
                link.check = LinkCheck.after(self.check)
                await socket.send(json.dumps(play))
                async for message in socket:
                    await self._take(link, socket, message)
        except (OSError, WebSocketException):
            pass
        finally:
            self._lose(link, time.monotonic())

    def _lose(self, link: EdgeLink, now: float) -> None:
        if link not in self._links:
            return
        self._notice(link)
        self._tried.add(link.url)
        self._let_go(link)
        if self._current is link:
            self._current = next((other for other in self._links if other.serving), None)
            self.check.figures.moves += self._current is not None
        if not self._links:
            self._plan(now)

    def _plan(self, now: float) -> None:
        if self._pick() is None:
            self._tried.clear()
            self._dial_at = now + self._wait * random.uniform(0.5, 1)
            self._wait = min(2 * self._wait, RETRY_MAX_SECONDS)
        else:
            self._dial_at = now + random.uniform(0, SPREAD_SECONDS)
        self._happened.set()

    def _notice(self, link: EdgeLink) -> None:
        if link is self._current and not self.check.figures.detected_at:
            self.check.figures.detected_at = time.time()

    def _promote(self, link: EdgeLink) -> None:
        self.check.figures.moves += self._served
        self._current = link
        for other in [other for other in self._links if other is not link]:
            self._let_go(other)

    @property
    def _served(self) -> bool:
        return bool(self.check.last)

    def _let_go(self, link: EdgeLink) -> None:
        self._links.remove(link)
        if link.task is not None and link.task is not asyncio.current_task():
            link.task.cancel()

    async def _drop(self, link: EdgeLink) -> None:
        self._let_go(link)
        if link.task is not None:
            await asyncio.wait([link.task], timeout=1)

    # -- messages ----------------------------------------------------------------------------------

    async def _take(self, link: EdgeLink, socket: ClientConnection, message: str | bytes) -> None:
        link.heard = time.monotonic()
        if isinstance(message, bytes):
            self.check.take(link.check, read_identity(message), link.heard)
            self._wait = RETRY_MIN_SECONDS
            if link in self._links:
                if link is not self._current:
                    self._promote(link)
                link.doubted = False
            if not link.leaving:
                self._tried.clear()
            return
        told = json.loads(message)
        if told["type"] == "ping":
            await socket.send(json.dumps({"type": "pong", "id": told["id"]}))
        else:
            self._obey(link, told)

    def _obey(self, link: EdgeLink, told: dict[str, Any]) -> None:
        match told["type"]:
            case "welcome":
                link.serving, link.edge, link.heartbeat = True, told["edge"], told["heartbeat_ms"] / 1000
                self._edges = told["edges"]
                if self._current is None:
                    self._promote(link)
            case "edges":
                self._edges = told["edges"]
            case "state":
                link.state, link.route = told["state"], [hop["node"] for hop in told["route"]]
                self.check.figures.interruptions += told["state"] == "interrupted"
            case "going_away":
                link.leaving = True
                self._tried.add(link.url)
                self._edges = list(dict.fromkeys([*told["edges"], *self._edges]))
                others = [edge for edge in told["edges"] if edge not in self._tried]
                self._dial(others[0] if others else self._pick(), time.monotonic())
            case "refused":
                self.check.figures.note(f"refused by {link.url}: {told['reason']}")
