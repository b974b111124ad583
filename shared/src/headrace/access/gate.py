"""The gate that every door of an edge asks before it lets a viewer in, and that ends what may not go on.

A viewer that was let in holds a `Pass`. The gate ends it when its token expires or is revoked, when its session was
taken over, or when the token's viewers are too many after all; it looks at the time, and asks the store, every
`WATCH_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from headrace.access.policy import Asked, Mode, Policy, check_token
from headrace.access.tokens import InvalidKeys, Keys, TokenRefused, ViewerToken, parse_jwks, secret_keys
from headrace.access.viewing import Answer, Seat, TooManyRevoked, Viewing
from headrace.clock import Clock
from headrace.identifiers import StreamName
from headrace.registry.leases import StoreAway
from headrace.watched_file import LOOK_SECONDS, WatchedFile

WATCH_SECONDS: Final = 0.25
"""How often time and revocations are looked at: what must not go on ends within a second."""

STOP_SECONDS: Final = 2.0
"""How long an exchange with the store may still take when the gate stops."""

LEAVING_MAX: Final = 10_000
"""Most sessions that wait to be given up while the store is away; the rest end with their leases."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GateOptions:
    """How a gate decides.

    Attributes:
        node: whose gate it is.
        policy: which streams need a token.
        secrets: for HS256.
        jwks_file: holds keys as a JSON Web Key Set and may change at any time.
        refuse_while_away: whether tokens that limit viewers are refused while the store does not answer.
        lease_seconds: how long a session outlives its edge.
    """

    node: str
    policy: Policy
    secrets: tuple[str, ...] = ()
    jwks_file: Path | None = None
    refuse_while_away: bool = False
    lease_seconds: float = 3.0


@dataclass(slots=True, eq=False)
class Pass:
    """What lets one viewer watch.

    Attributes:
        asked: for what.
        token: with which token; `None` for a public stream.
        seat: the session that is counted; `None` when nothing counts it.
    """

    asked: Asked
    token: ViewerToken | None = None
    seat: Seat | None = None
    _ended: tuple[str, str] | None = field(default=None, repr=False)
    _on_end: Callable[[str, str], None] | None = field(default=None, repr=False)

    def when_ended(self, tell: Callable[[str, str], None]) -> None:
        """Call `tell` once, with a short word and a sentence, when the viewer must go; at once when it must already."""
        self._on_end = tell
        if self._ended is not None:
            tell(*self._ended)

    def end(self, code: str, reason: str) -> None:
        """Tell that the viewer must go."""
        if self._ended is None:
            self._ended = (code, reason)
            if self._on_end is not None:
                self._on_end(code, reason)


class Gate:
    """Lets viewers in and ends their passes.

    Args:
        options: how it decides.
        viewing: where sessions and revocations are.
        clock: `utc` is what tokens are compared with.
        spawn: runs a coroutine as a task that this gate ends.

    Raises:
        InvalidKeys: when a secret is too short, or the file of keys cannot be used at the start.
    """

    def __init__(
        self,
        options: GateOptions,
        viewing: Viewing,
        clock: Clock,
        spawn: Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self.options = options
        self._viewing = viewing
        self._clock = clock
        self._spawn = spawn
        self._own_keys = secret_keys(options.secrets)
        self._jwks = _watched_keys(options.jwks_file) if options.jwks_file is not None else None
        self._keys = self._own_keys + (self._jwks.value if self._jwks is not None else Keys(()))
        self._passes: set[Pass] = set()
        self._revoked: dict[str, float] = {}
        self._leaving: list[Seat] = []
        self._holders = itertools.count(1)
        self._away: str | None = None
        self._renew_at = 0.0
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._clockwork: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong, for `/health/ready`; `None` when all is well."""
        if not self._keys:
            return "no key is known that viewer tokens could be signed with"
        if self._jwks is not None and self._jwks.problem:
            return self._jwks.problem
        return None

    async def start(self) -> None:
        """Begin to watch over passes."""
        self._task = self._spawn("gate-store", self._follow())
        self._clockwork = self._spawn("gate-time", self._watch())

    async def stop(self) -> None:
        """Give all sessions up."""
        tasks = [task for task in (self._task, self._clockwork) if task is not None]
        # An exchange that is cut short costs its connection, and each has a deadline: it may end by itself.
        self._stopping.set()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._leaving += [held.seat for held in self._passes if held.seat is not None]
        try:
            await self._viewing.leave(self._leaving)
        except StoreAway:
            log.info("sessions_left_to_their_leases", sessions=len(self._leaving))
        await self._viewing.close()

    def mode_of(self, name: StreamName) -> Mode:
        """Return what holds for a stream."""
        return self.options.policy.mode_of(name)

    def check(self, asked: Asked) -> ViewerToken | None:
        """Return the token that lets `asked` in as far as no session is counted; `None` for a public stream.

        Raises:
            TokenRefused: when it does not.
        """
        if self.mode_of(asked.stream) == "public":
            return None
        if not asked.token:
            raise TokenRefused("token_needed", "this stream needs a token")
        token = self._keys.verify(asked.token)
        check_token(token, asked, self._clock.utc())
        if token.id in self._revoked:
            raise TokenRefused("token_revoked", "this token was revoked")
        return token

    async def admit(self, asked: Asked) -> Pass:
        """Let a viewer in until `leave`.

        Raises:
            TokenRefused: as `check`, and `viewers` when as many watch with the token as may, or `away` when that cannot
                be known and must be.
        """
        token = self.check(asked)
        held = Pass(asked, token)
        if token is not None and token.viewers_max is not None:
            holder = f"{self.options.node}/{next(self._holders)}"
            held.seat = Seat(token.id, asked.session or holder, holder, token.viewers_max)
            await self._enter(held.seat)
        self._passes.add(held)
        return held

    def leave(self, held: Pass) -> None:
        """Let a viewer go that watches no more; a second call does nothing."""
        if held in self._passes:
            self._passes.discard(held)
            if held.seat is not None and len(self._leaving) < LEAVING_MAX:
                self._leaving.append(held.seat)

    async def _enter(self, seat: Seat) -> None:
        try:
            answer = await self._viewing.enter(seat)
        except StoreAway as error:
            self._note_away(str(error))
            if self.options.refuse_while_away:
                raise TokenRefused("away", "viewers cannot be counted at the moment; try again later") from None
            return
        if answer is Answer.FULL:
            raise TokenRefused("viewers", f"{seat.viewers_max} watch with this token already, as many as may")
        for other in tuple(self._passes):
            if other.seat is not None and (other.seat.token, other.seat.session) == (seat.token, seat.session):
                self._end(other, "taken_over", "the same session watches elsewhere")

    # -- what may not go on ------------------------------------------------------------------------

    async def _watch(self) -> None:
        looked = 0.0
        while not await self._rest():
            now = self._clock.utc()
            for held in tuple(self._passes):
                if held.token is not None and now >= held.token.expires:
                    self._end(held, "token_expired", "the token has expired")
            if self._jwks is not None and self._clock.monotonic() >= looked + LOOK_SECONDS:
                looked = self._clock.monotonic()
                if self._jwks.reload():
                    self._take(self._jwks)

    def _take(self, jwks: WatchedFile[Keys]) -> None:
        if jwks.problem:
            log.warning("viewer_keys_not_read", reason=jwks.problem)
            return
        self._keys = self._own_keys + jwks.value
        log.info("viewer_keys_read", keys=len(jwks.value))

    async def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._exchange()
                self._note_back()
            except StoreAway as error:
                self._note_away(str(error))
            await self._rest()

    async def _rest(self) -> bool:
        """Wait until it is time to look again, and return whether the gate stops instead."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WATCH_SECONDS):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _exchange(self) -> None:
        await self._read_revoked()
        leaving, self._leaving = self._leaving, []
        try:
            await self._viewing.leave(leaving)
        except StoreAway:
            self._leaving += leaving
            raise
        if self._clock.monotonic() >= self._renew_at:
            await self._renew()
            self._renew_at = self._clock.monotonic() + self.options.lease_seconds / 3

    async def _read_revoked(self) -> None:
        now = self._clock.utc()
        stored = dict(await self._viewing.revoked())
        known = {token: until for token, until in self._revoked.items() if until > now}
        self._revoked = {**known, **stored}
        for held in tuple(self._passes):
            if held.token is not None and held.token.id in self._revoked:
                self._end(held, "token_revoked", "the token was revoked")
        lost = {token: until for token, until in known.items() if token not in stored}
        if lost:
            try:
                await self._viewing.restore(lost)
            except TooManyRevoked:
                log.warning("revocations_not_restored", revocations=len(lost))

    async def _renew(self) -> None:
        seated = [(held, held.seat) for held in self._passes if held.seat is not None]
        answers = await self._viewing.renew([seat for _, seat in seated])
        for (held, seat), answer in zip(seated, answers, strict=True):
            if held not in self._passes:
                continue
            if answer is Answer.TAKEN:
                self._end(held, "taken_over", "the same session watches elsewhere")
            elif answer is Answer.FULL:
                self._end(held, "viewers", f"{seat.viewers_max} watch with this token already, as many as may")

    def _end(self, held: Pass, code: str, reason: str) -> None:
        self.leave(held)
        log.info("viewing_ended", stream=held.asked.stream, code=code, session=held.asked.session)
        held.end(code, reason)

    def _note_away(self, reason: str) -> None:
        if self._away is None:
            self._away = reason
            refused = self.options.refuse_while_away
            log.warning("viewers_not_counted", reason=reason, limited_tokens="refused" if refused else "let in")

    def _note_back(self) -> None:
        if self._away is not None:
            self._away = None
            log.info("viewers_counted_again")


def _watched_keys(path: Path) -> WatchedFile[Keys]:
    try:
        return WatchedFile(path, parse_jwks, "access.jwks_file")
    except ValueError as error:
        raise InvalidKeys(str(error)) from None


def pick_token(query: str | None, authorization: str) -> str:
    """Return the token of a request: that of the query, else the bearer token of the header."""
    scheme, _, given = authorization.partition(" ")
    return query or (given.strip() if scheme.lower() == "bearer" else "")
