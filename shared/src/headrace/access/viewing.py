"""Where viewers are known: sessions that are counted, who watches at which edge, what is revoked and who was sent away;
in one process, or (`redis_viewing`) in the store.

A session is held by one viewer at a time: who comes with it later takes it over, so a viewer that moved to another
edge is not counted twice, and one session shared by many is one viewer. It ends when it is left, or when it was not
renewed for a lease.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from headrace.access.records import AudienceChange, Counts, ViewerRecord
from headrace.access.rules import AccessRules, MemoryRules, RuleStore
from headrace.clock import Clock

REVOKED_MAX: Final = 10_000
"""Most revocations at once: every edge holds them all."""


KICKED_MAX: Final = 10_000
"""Most viewers that are kept away at once: every edge holds them all."""


class Answer(enum.Enum):
    """What became of a session."""

    HELD = "held"
    FULL = "full"
    """As many others watch as may."""
    TAKEN = "taken"
    """Somebody else came with the same session."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One viewer's claim to a session.

    Attributes:
        token: the token's id, under which sessions are counted.
        session: the viewing session.
        holder: this connection, unlike every other.
        viewers_max: how many sessions the token allows.
    """

    token: str
    session: str
    holder: str
    viewers_max: int

    @property
    def too_many(self) -> str:
        """What is told when as many others watch."""
        return f"{self.viewers_max} watch already, as many as may"


class TooManyRevoked(Exception):
    """There are `REVOKED_MAX` revocations."""


class TooManyKicked(Exception):
    """There are `KICKED_MAX` viewers that are kept away."""


@dataclass(frozen=True, slots=True)
class Ends:
    """What must not go on.

    Attributes:
        revoked: ids of tokens and until when (UTC in seconds) that is remembered.
        kicked: ids of viewers and until when they are kept away.
        turn: of the rules: how often they have changed.
    """

    revoked: Mapping[str, float]
    kicked: Mapping[str, float]
    turn: int = 0


class GateRules(Protocol):
    """The part of `RuleStore` that a gate needs."""

    async def read(self) -> AccessRules: ...

    async def restore(self, known: AccessRules) -> None: ...


class GateStore(Protocol):
    """What a gate needs of where viewers are known; every call may raise `StoreAway`."""

    @property
    def rules(self) -> GateRules:
        """What was ordered about who may watch."""
        ...

    async def enter(self, seat: Seat) -> Answer:
        """Take a session, or take it over; `HELD` or `FULL`."""
        ...

    async def renew(self, seats: Sequence[Seat]) -> list[Answer]:
        """Go on holding sessions, or take those again that were forgotten."""
        ...

    async def leave(self, seats: Sequence[Seat]) -> None:
        """Give sessions up that are still held."""
        ...

    async def ends(self) -> Ends:
        """Return everything that must not go on."""
        ...

    async def restore(self, revoked: Mapping[str, float]) -> None:
        """Write revocations again that the store has lost."""
        ...

    async def tell(self, node: str, change: AudienceChange) -> int:
        """Note who came to an edge and who went, and that it lives; return how many of its viewers are listed now.

        When that is not `change.listed` something was lost, and the whole is to be told.
        """
        ...

    async def close(self) -> None:
        """Let go."""
        ...


class Viewing(GateStore, Protocol):
    """Counts sessions, lists viewers, remembers what must end; every call may raise `StoreAway`."""

    @property
    def rules(self) -> RuleStore:
        """What was ordered about who may watch."""
        ...

    async def revoke(self, token: str, until: float) -> None:
        """Take a token no more; `until` (UTC in seconds) this need be remembered.

        Raises:
            TooManyRevoked: when there are too many.
        """
        ...

    async def revoked(self) -> Mapping[str, float]:
        """Return the ids of revoked tokens and until when they are remembered."""
        ...

    async def kick(self, viewer: str, until: float) -> None:
        """Send a viewer away from whatever edge it is at, and keep its session away `until` (UTC in seconds).

        Raises:
            TooManyKicked: when there are too many.
        """
        ...

    async def counts(self) -> Mapping[str, Counts]:
        """Return how many watch, by the node of the edge, of those that told within a lease."""
        ...

    async def viewers(self, node: str) -> Sequence[ViewerRecord]:
        """Return the viewers that an edge lists, in no order."""
        ...

    async def has(self, viewer: str, nodes: Sequence[str]) -> bool:
        """Return whether one of the edges lists a viewer."""
        ...


@dataclass(slots=True)
class _Held:
    holder: str
    until: float


@dataclass(slots=True)
class _Told:
    viewers: dict[str, ViewerRecord]
    counts: Counts
    until: float


class MemoryViewing:
    """The viewers of one process."""

    def __init__(self, clock: Clock, lease_seconds: float = 3.0) -> None:
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._sessions: dict[str, dict[str, _Held]] = {}
        self._revoked: dict[str, float] = {}
        self._kicked: dict[str, float] = {}
        self._audiences: dict[str, _Told] = {}
        self._rules = MemoryRules()

    @property
    def rules(self) -> MemoryRules:
        return self._rules

    async def enter(self, seat: Seat) -> Answer:
        sessions = self._living(seat.token)
        if seat.session not in sessions and len(sessions) >= seat.viewers_max:
            return Answer.FULL
        sessions[seat.session] = _Held(seat.holder, self._clock.monotonic() + self._lease_seconds)
        self._sessions[seat.token] = sessions
        return Answer.HELD

    async def renew(self, seats: Sequence[Seat]) -> list[Answer]:
        return [await self._renew(seat) for seat in seats]

    async def _renew(self, seat: Seat) -> Answer:
        held = self._living(seat.token).get(seat.session)
        if held is not None and held.holder != seat.holder:
            return Answer.TAKEN
        return await self.enter(seat)

    async def leave(self, seats: Sequence[Seat]) -> None:
        for seat in seats:
            sessions = self._living(seat.token)
            held = sessions.get(seat.session)
            if held is not None and held.holder == seat.holder:
                del sessions[seat.session]
            if not sessions:
                self._sessions.pop(seat.token, None)

    async def revoke(self, token: str, until: float) -> None:
        now = self._clock.utc()
        self._revoked = {known: end for known, end in self._revoked.items() if end > now}
        if token not in self._revoked and len(self._revoked) >= REVOKED_MAX:
            raise TooManyRevoked
        self._revoked[token] = max(until, self._revoked.get(token, 0.0))

    async def revoked(self) -> Mapping[str, float]:
        return dict(self._revoked)

    async def restore(self, revoked: Mapping[str, float]) -> None:
        for token, until in revoked.items():
            await self.revoke(token, until)

    async def kick(self, viewer: str, until: float) -> None:
        now = self._clock.utc()
        self._kicked = {known: end for known, end in self._kicked.items() if end > now}
        if viewer not in self._kicked and len(self._kicked) >= KICKED_MAX:
            raise TooManyKicked
        self._kicked[viewer] = max(until, self._kicked.get(viewer, 0.0))

    async def ends(self) -> Ends:
        now = self._clock.utc()
        kicked = {viewer: end for viewer, end in self._kicked.items() if end > now}
        return Ends(await self.revoked(), kicked, self._rules.turn)

    async def tell(self, node: str, change: AudienceChange) -> int:
        told = self._audiences.setdefault(node, _Told({}, Counts(), 0.0))
        if change.whole:
            told.viewers.clear()
        for viewer in change.gone:
            told.viewers.pop(viewer, None)
        told.viewers |= {record.id: record for record in change.came}
        told.counts, told.until = change.counts, self._clock.monotonic() + self._lease_seconds
        return len(told.viewers)

    async def counts(self) -> Mapping[str, Counts]:
        return {node: told.counts for node, told in self._telling().items()}

    async def viewers(self, node: str) -> Sequence[ViewerRecord]:
        told = self._telling().get(node)
        return [] if told is None else list(told.viewers.values())

    async def has(self, viewer: str, nodes: Sequence[str]) -> bool:
        telling = self._telling()
        return any(viewer in telling[node].viewers for node in nodes if node in telling)

    def _telling(self) -> dict[str, _Told]:
        now = self._clock.monotonic()
        self._audiences = {node: told for node, told in self._audiences.items() if told.until > now}
        return self._audiences

    async def close(self) -> None:
        """Nothing is held."""

    def _living(self, token: str) -> dict[str, _Held]:
        sessions = self._sessions.get(token, {})
        now = self._clock.monotonic()
        for session in _ended(sessions, now):
            del sessions[session]
        return sessions


def _ended(sessions: Mapping[str, _Held], now: float) -> Collection[str]:
    return [session for session, held in sessions.items() if held.until <= now]


def make_viewing(url: str, prefix: str, lease_seconds: float, clock: Clock) -> Viewing:
    """Return where sessions are counted, beside the registry of that URL; nothing is connected yet.

    Raises:
        ValueError: a sentence that says what is wrong with the URL, without its credentials.
    """
    if url == "memory:":
        return MemoryViewing(clock, lease_seconds)
    from headrace.access.redis_viewing import RedisViewing

    return RedisViewing(url, prefix, lease_seconds)
