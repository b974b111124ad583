"""The gate that every door of an edge asks before it lets a viewer in, and that ends what may not go on.

A viewer that was let in holds a `Pass`. The gate ends it when its token expires or is revoked, when its session was
taken over, when the token's viewers are too many after all, or when somebody sent the viewer away; it looks at the
time, and asks the store, every `WATCH_SECONDS`, and less often while nobody watches. It tells the store who does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from headrace.access.gate_options import GateOptions
from headrace.access.keyring import Keyring
from headrace.access.licences import INVALID_DOMAIN, licensed
from headrace.access.passes import Audience, Pass, viewer_id
from headrace.access.policy import Asked, Mode, check_token
from headrace.access.rules import AccessRules
from headrace.access.tokens import TokenRefused, ViewerToken
from headrace.access.viewing import Answer, Ends, GateStore, Seat, TooManyRevoked
from headrace.access.webhook import Webhook
from headrace.clock import Clock, microseconds, until_beat
from headrace.identifiers import StreamName
from headrace.registry.leases import StoreAway

WATCH_SECONDS: Final = 0.5
"""How often time and revocations are looked at: what must not go on ends within a second, an exchange included."""

IDLE_SECONDS: Final = 1.0
"""How often while nobody watches; the store is asked at once when the first viewer comes, or the last goes."""

STOP_SECONDS: Final = 2.0
"""How long an exchange with the store may still take when the gate stops."""

LEAVING_MAX: Final = 10_000
"""Most sessions that wait to be given up while the store is away; the rest end with their leases."""

JUDGED_AT_ONCE: Final = 50
"""Viewers compared with other rules in one turn of the event loop, some 4 ms: all of an edge take most of a second."""

ROAMING: Final = "live"
"""Who holds a session whose requests may go to any edge: all edges alike, so that none takes it from another."""

log = structlog.get_logger(__name__)


class Gate:
    """Lets viewers in and ends their passes.

    Attributes:
        on_rules: called when another policy may hold for some stream.

    Args:
        options: how it decides.
        keys: who may sign tokens.
        webhook: is asked about viewers of streams whose policy is that.
        viewing: where viewers and revocations are.
        clock: `utc` is what tokens are compared with.
        spawn: runs a coroutine as a task that this gate ends.
    """

    def __init__(
        self,
        options: GateOptions,
        keys: Keyring,
        viewing: GateStore,
        clock: Clock,
        spawn: Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]],
        webhook: Webhook | None = None,
    ) -> None:
        self.options = options
        self._webhook = webhook
        self._keys = keys
        self._viewing = viewing
        self._clock = clock
        self._spawn = spawn
        self._passes: set[Pass] = set()
        self._limited: set[Pass] = set()  # those with a token: of ten thousand public viewers nothing is looked at
        self._seated: dict[tuple[str, str], Pass] = {}
        self._audience = Audience()
        self._told = False
        self._ends = Ends({}, {})
        self._rules = AccessRules()
        self._policy = options.policy
        self.on_rules: Callable[[], None] = lambda: None
        self._leaving: list[Seat] = []
        self._holders = itertools.count(1)
        self._away: str | None = None
        self._renew_at = 0.0
        self._stopping = asyncio.Event()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._fetching: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong, for `/health/ready`; `None` when all is well."""
        if "token" in self._policy.modes and self._keys.problem:
            return self._keys.problem
        return self._webhook.problem if self._webhook is not None else None

    async def start(self) -> None:
        """Begin to watch over passes."""
        self._tasks = [self._spawn("gate-store", self._follow()), self._spawn("gate-time", self._watch())]
        self._fetching = self._spawn("gate-keys", self._keys.follow())

    async def stop(self) -> None:
        """Give all sessions up."""
        # An exchange that is cut short costs its connection, and each has a deadline: it may end by itself.
        self._stopping.set()
        self._news.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        if self._fetching is not None:
            self._tasks.append(self._fetching)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for held in tuple(self._passes):
            self.leave(held)
        try:
            await self._viewing.leave(self._leaving)
            await self._tell()
        except StoreAway:
            log.info("sessions_left_to_their_leases", sessions=len(self._leaving))
        await self._viewing.close()
        if self._webhook is not None:
            await self._webhook.close()

    def mode_of(self, name: StreamName) -> Mode:
        """Return what holds for a stream."""
        return self._policy.mode_of(name)

    def check(self, asked: Asked) -> ViewerToken | None:
        """Return the token that lets `asked` in as far as no session is counted; `None` for a public stream.

        Raises:
            TokenRefused: when it does not.
        """
        mode = self.mode_of(asked.stream)
        if mode == "public":
            return None
        if mode != "token":
            raise TokenRefused("session_needed", "begin with index.m3u8 or manifest.mpd and follow where they send you")
        if not asked.token:
            raise TokenRefused("token_needed", "this stream needs a token")
        token = self._keys.verify(asked.token)
        check_token(token, asked, self._clock.utc())
        if token.id in self._ends.revoked:
            raise TokenRefused("token_revoked", "this token was revoked")
        return token

    def check_again(self, held: Pass) -> None:
        """Compare what let a session in with now, as each of its requests wants it.

        Raises:
            TokenRefused: as `check`.
        """
        if self.mode_of(held.asked.stream) == "token":
            self.check(held.asked)
        elif held.token is not None and held.token.expires <= self._clock.utc():
            raise TokenRefused("token_expired", "the token has expired")

    async def _judge(self, asked: Asked) -> ViewerToken | None:
        """Return what lets a viewer in, whatever holds for the stream; `None` for a public one.

        Raises:
            TokenRefused: when nothing does.
        """
        mode = self.mode_of(asked.stream)
        if mode == "licence":
            return licensed(self._rules.licences, asked, self._clock.utc())
        if mode != "webhook" or self._webhook is None:
            return self.check(asked)
        subject = ""
        with contextlib.suppress(TokenRefused):
            token = self._keys.verify(asked.token)
            check_token(token, asked, self._clock.utc())
            subject = token.subject
        found = await self._webhook.ask(asked, subject)
        if found.id and found.id in self._ends.revoked:
            raise TokenRefused("token_revoked", "this token was revoked")
        return found

    def hold(self, asked: Asked) -> Pass:
        """Let a single request in until `leave`; it is nobody's session and not listed.

        Raises:
            TokenRefused: as `check`.
        """
        return self._add(Pass(asked, self.check(asked)))

    async def admit(self, asked: Asked, *, roaming: bool = False, takes: bool = True) -> Pass:
        """Let a viewer in until `leave`.

        Args:
            asked: who and what for.
            roaming: whether its session's requests may go to several edges at once.
            takes: whether it may take its session over from another door.

        Raises:
            TokenRefused: as `check`, `kicked` when it was sent away, and `viewers` when as many watch with the token as
                may, or `away` when that cannot be known and must be.
        """
        token = await self._judge(asked)
        held = Pass(asked, token, None, viewer_id(asked, token), microseconds(self._clock.utc()))
        held.mode = self.mode_of(asked.stream)
        if held.viewer in self._ends.kicked:
            raise TokenRefused("kicked", "this viewer was sent away")
        if token is not None and token.viewers_max is not None:
            holder = ROAMING if roaming else f"{self.options.node}/{next(self._holders)}"
            held.seat = Seat(token.id, asked.session or holder, holder, token.viewers_max)
            await self._enter(held.seat, takes=takes)
        self._audience.add(held)
        if not self._passes:
            self._news.set()
        return self._add(held)

    def _add(self, held: Pass) -> Pass:
        self._passes.add(held)
        if held.token is not None:
            self._limited.add(held)
        if held.seat is not None:
            self._seated[held.seat.token, held.seat.session] = held
        return held

    def leave(self, held: Pass) -> None:
        """Let a viewer go that watches no more; a second call does nothing."""
        if held not in self._passes:
            return
        self._passes.discard(held)
        self._limited.discard(held)
        if held.seat is not None and self._seated.get((held.seat.token, held.seat.session)) is held:
            del self._seated[held.seat.token, held.seat.session]
        if held.viewer:
            self._audience.remove(held)
        # A roaming session may go on at another edge; it ends with its lease when nobody renews it.
        if held.seat is not None and held.seat.holder != ROAMING and len(self._leaving) < LEAVING_MAX:
            self._leaving.append(held.seat)
        if held.viewer and not self._passes:
            self._news.set()

    async def _enter(self, seat: Seat, *, takes: bool) -> None:
        try:
            answer = await self._viewing.enter(seat) if takes else (await self._viewing.renew([seat]))[0]
        except StoreAway as error:
            self._note_away(str(error))
            if self.options.refuse_while_away:
                raise TokenRefused("away", "viewers cannot be counted at the moment; try again later") from None
            return
        if answer is Answer.FULL:
            raise TokenRefused("viewers", seat.too_many)
        if answer is Answer.TAKEN:
            raise TokenRefused(*_TAKEN)
        other = self._seated.get((seat.token, seat.session))
        if other is not None:
            self._end(other, *_TAKEN)

    # -- what may not go on ------------------------------------------------------------------------

    async def _watch(self) -> None:
        while not await self._rest(self._stopping):
            now = self._clock.utc()
            for held in tuple(self._limited):
                if held.token is not None and now >= held.token.expires:
                    self._end(held, "token_expired", "the token has expired")
            self._keys.look(self._clock.monotonic())

    async def _follow(self) -> None:
        while not self._stopping.is_set():
            self._news.clear()
            try:
                await self._exchange()
                self._note_back()
            except StoreAway as error:
                self._note_away(str(error))
            except Exception as error:
                # What one edge cannot make sense of no edge can: a record must not end them all.
                if self._away is None:
                    log.exception("viewing_failed")
                self._note_away(f"the store's answer was of no use: {type(error).__name__}")
            await self._rest(self._news)

    async def _rest(self, sooner: asyncio.Event) -> bool:
        """Wait until it is time to look again, or `sooner`, and return whether the gate stops instead."""
        seconds = until_beat(WATCH_SECONDS if self._passes else IDLE_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, self.options.lease_seconds / 3)):
                await sooner.wait()
        return self._stopping.is_set()

    async def _exchange(self) -> None:
        await self._read_ends()
        await self._read_rules()
        leaving, self._leaving = self._leaving, []
        try:
            await self._viewing.leave(leaving)
        except StoreAway:
            self._leaving += leaving
            raise
        due = self._clock.monotonic() >= self._renew_at
        if due:
            await self._renew()
            self._renew_at = self._clock.monotonic() + self.options.lease_seconds / 3
        if self._audience.changed or not self._told or due:
            await self._tell()

    async def _read_ends(self) -> None:
        now = self._clock.utc()
        found = await self._viewing.ends()
        known = {token: until for token, until in self._ends.revoked.items() if until > now}
        kicked = {viewer: until for viewer, until in found.kicked.items() if until > now}
        self._ends = Ends({**known, **found.revoked}, kicked, found.turn)
        for held in tuple(self._limited) if self._ends.revoked else ():
            if held.token is not None and held.token.id in self._ends.revoked:
                self._end(held, "token_revoked", "the token was revoked")
        for viewer in kicked:
            for held in self._audience.named(viewer):
                self._end(held, "kicked", "an operator sent this viewer away")
        lost = {token: until for token, until in known.items() if token not in found.revoked}
        if lost:
            try:
                await self._viewing.restore(lost)
            except TooManyRevoked:
                log.warning("revocations_not_restored", revocations=len(lost))

    async def _read_rules(self) -> None:
        """Take rules that have changed, and end what they do not allow; a store that lost them is told again."""
        if self._ends.turn < self._rules.turn:
            await self._viewing.rules.restore(self._rules)
        if self._ends.turn <= self._rules.turn:
            return
        self._rules = await self._viewing.rules.read()
        self._policy = self._rules.over(self.options.policy)
        self.on_rules()
        for number, held in enumerate(tuple(self._passes)):
            if number % JUDGED_AT_ONCE == 0:
                await asyncio.sleep(0)
            if held not in self._passes:
                continue  # it left meanwhile
            try:
                self._judge_again(held)
            except TokenRefused as refused:
                self._end(held, refused.code, refused.reason)

    def _judge_again(self, held: Pass) -> None:
        """Compare a viewer with rules that have changed.

        Raises:
            TokenRefused: when it may not go on.
        """
        mode = self.mode_of(held.asked.stream)
        if mode == "token":
            self.check(held.asked)
        elif mode == "licence":
            token = licensed(self._rules.licences, held.asked, self._clock.utc())
            if held.token is None or token.id != held.token.id:
                raise TokenRefused("licence_domain", INVALID_DOMAIN)
        elif mode == "webhook" and held.mode != mode:
            raise TokenRefused("token_needed", "another policy holds for this stream now")

    async def _renew(self) -> None:
        seated = [(held, held.seat) for held in self._limited if held.seat is not None]
        answers = await self._viewing.renew([seat for _, seat in seated])
        for (held, seat), answer in zip(seated, answers, strict=True):
            if held not in self._passes:
                continue
            if answer is Answer.TAKEN:
                self._end(held, *_TAKEN)
            elif answer is Answer.FULL:
                self._end(held, "viewers", seat.too_many)

    async def _tell(self) -> None:
        """Tell the store who watches here; what it lost, or may not have heard, it is told again the next time."""
        if not self._told and not len(self._audience):
            return
        change = self._audience.change(whole=not self._told)
        self._told = False
        self._told = await self._viewing.tell(self.options.node, change) == change.listed

    def _end(self, held: Pass, code: str, reason: str) -> None:
        self.leave(held)
        log.info("viewing_ended", stream=held.asked.stream, code=code, viewer=held.viewer)
        held.end(code, reason)

    def _note_away(self, reason: str) -> None:
        if self._away is None:
            self._away = reason
            refused = self.options.refuse_while_away
            # Where everybody may watch nothing is limited; that the store is away others say.
            tell = log.debug if self._policy.is_open else log.warning
            tell("viewers_not_counted", reason=reason, limited_viewers="refused" if refused else "let in")

    def _note_back(self) -> None:
        if self._away is not None:
            self._away = None
            (log.debug if self._policy.is_open else log.info)("viewers_counted_again")


_TAKEN: Final = ("taken_over", "the same session watches elsewhere")
