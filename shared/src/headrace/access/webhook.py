"""Admission by somebody else's program: a URL that is asked about each viewer (docs/tokens.md, "Asking a webhook")."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
import structlog
from msgspec import Meta

from headrace.access.asking import Asker, NoAnswer
from headrace.access.policy import Asked
from headrace.access.tokens import TokenRefused, ViewerToken
from headrace.clock import Clock

ANSWER_MAX_BYTES: Final = 16 * 1024
"""Longest answer: it is a few words."""

AT_ONCE: Final = 32
"""Most questions at once: a thousand players that come back ask one small program, and may wait for each other."""

WAITING_MAX: Final = 2_000
"""Most questions that are asked or wait; beyond it the webhook counts as away."""

ALLOWED_SECONDS: Final = 60.0
"""How long an answer that lets a session in is remembered: a player that comes back is not asked about again."""

REFUSED_SECONDS: Final = 2.0
"""How long a refusal is remembered: a player that tries again and again is asked about now and then."""

REMEMBERED_MAX: Final = 10_000
"""Most answers that are remembered, the oldest go first."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """How a webhook is asked.

    Attributes:
        url: where.
        secret: sent as `Authorization: Bearer`; empty for none.
        seconds: how long an answer may take.
        allow_while_away: whether viewers are let in while it does not answer.
    """

    url: str
    secret: str = ""
    seconds: float = 3.0
    allow_while_away: bool = False


class WebhookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the webhook says.

    Attributes:
        allow: whether the viewer may watch.
        reason: why not, told to the viewer.
        expires: when it must go, UTC in seconds; absent while it wants to stay.
        id: what its viewers are counted by, and what can be revoked.
        viewers: how many may watch under that id at once, in the whole cluster.
        subject: who it is, for lists of viewers.
    """

    allow: bool
    reason: Annotated[str, Meta(max_length=256)] = ""
    expires: Annotated[float, Meta(ge=0, le=1e11)] | None = None
    id: Annotated[str, Meta(max_length=128)] = ""
    viewers: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    subject: Annotated[str, Meta(max_length=256)] = ""


class Webhook:
    """Asks about viewers and remembers the answers for their sessions."""

    def __init__(self, options: WebhookOptions, node: str, clock: Clock) -> None:
        headers = {"Authorization": f"Bearer {options.secret}"} if options.secret else {}
        self._options = options
        self._node = node
        self._clock = clock
        self._asker = Asker(options.url, options.seconds, ANSWER_MAX_BYTES, AT_ONCE, headers)
        self._remembered: OrderedDict[Asked, tuple[float, WebhookAnswer]] = OrderedDict()
        self._waiting = 0
        self.problem: str | None = None

    async def ask(self, asked: Asked, subject: str = "") -> ViewerToken:
        """Return what lets a viewer in.

        Raises:
            TokenRefused: `refused` when the webhook says no, `token_expired` when its time is over, `away` when it does
                not answer and nobody is to be let in then.
        """
        answer = self._recall(asked)
        if answer is None:
            answer = await self._ask(asked, subject)
        if not answer.allow:
            raise TokenRefused("refused", answer.reason or "this viewer may not watch")
        expires = math.inf if answer.expires is None else answer.expires
        if self._clock.utc() >= expires:
            raise TokenRefused("token_expired", "this viewer's time is over")
        return ViewerToken(
            id=answer.id,
            streams=(asked.stream,),
            expires=expires,
            viewers_max=answer.viewers if answer.id else None,
            subject=answer.subject or subject,
        )

    async def close(self) -> None:
        """Let go of the connections."""
        await self._asker.close()

    async def _ask(self, asked: Asked, subject: str) -> WebhookAnswer:
        question = {
            "stream": asked.stream,
            "door": asked.door,
            "address": asked.address,
            "origin": asked.origin,
            "token": asked.token or None,
            "subject": subject or None,
            "session": asked.session or None,
            "edge": self._node,
        }
        try:
            if self._waiting >= WAITING_MAX:
                raise NoAnswer(f"{self._waiting} questions wait already")
            self._waiting += 1
            try:
                answer = msgspec.json.decode(await self._asker.ask(question), type=WebhookAnswer)
            finally:
                self._waiting -= 1
        except (NoAnswer, msgspec.DecodeError, RecursionError) as error:
            return self._while_away(str(error))
        self._note(None)
        self._remember(asked, answer)
        return answer

    def _while_away(self, reason: str) -> WebhookAnswer:
        self._note(reason)
        if not self._options.allow_while_away:
            raise TokenRefused("away", "it cannot be asked at the moment who may watch; try again later")
        return WebhookAnswer(allow=True)

    def _recall(self, asked: Asked) -> WebhookAnswer | None:
        until, answer = self._remembered.get(asked, (0.0, None))
        return answer if self._clock.monotonic() < until else None

    def _remember(self, asked: Asked, answer: WebhookAnswer) -> None:
        if not asked.session:
            return
        seconds = ALLOWED_SECONDS if answer.allow else REFUSED_SECONDS
        self._remembered.pop(asked, None)
        self._remembered[asked] = (self._clock.monotonic() + seconds, answer)
        while len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)

    def _note(self, reason: str | None) -> None:
        problem = None if reason is None else f"access.webhook_url: {reason}"
        if (problem is None) != (self.problem is None):
            others = "let in" if self._options.allow_while_away else "refused"
            if problem is None:
                log.info("webhook_answers_again")
            else:
                log.warning("webhook_away", reason=reason, viewers=others)
        self.problem = problem
