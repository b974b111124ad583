"""Answers what workers ask: whatever only the node can know, since it is counted over all workers or all edges."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog

from headrace.access.records import AudienceChange
from headrace.access.rules import AccessRules
from headrace.access.viewing import Ends, GateStore, Seat, TooManyRevoked
from headrace.clock import Clock
from headrace.http.application import Probes
from headrace.registry.leases import StoreAway
from headrace_edge.workers.audiences import Audiences
from headrace_edge.workers.messages import Answer, Ask

ENDS_SECONDS: Final = 0.2
"""How long what must not go on is believed without asking again: with an exchange and the gates' own interval less than
a second."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Question:
    """What a question is about, and who answers it."""

    kind: Any
    answer: Callable[[str, Any], Awaitable[Any]]


class Desk:
    """Answers workers, and tells the store of their viewers as of one node's.

    Args:
        node: the node's id.
        viewing: where viewers of all edges are.
        probes: of the whole.
        lease_seconds: how long the store remembers what it was told.
        clock: for when that is to be told again.
    """

    def __init__(self, node: str, viewing: GateStore, probes: Probes, lease_seconds: float, clock: Clock) -> None:
        self._node = node
        self._viewing = viewing
        self._clock = clock
        self._audiences = Audiences()
        self._tell_again = lease_seconds / 3
        self._tell_at = 0.0
        self._told = False
        self._fails = False
        self._ends = Ends({}, {})
        self._ends_at = -math.inf
        self._reading = asyncio.Lock()
        self._questions = {
            "enter": _Question(Seat, lambda _, seat: viewing.enter(seat)),
            "renew": _Question(list[Seat], lambda _, seats: viewing.renew(seats)),
            "leave": _Question(list[Seat], lambda _, seats: viewing.leave(seats)),
            "ends": _Question(None, lambda _, nothing: self._read_ends()),
            "restore": _Question(dict[str, float], lambda _, revoked: viewing.restore(revoked)),
            "rules": _Question(None, lambda _, nothing: viewing.rules.read()),
            "restore_rules": _Question(AccessRules, lambda _, rules: viewing.rules.restore(rules)),
            "tell": _Question(AudienceChange, self._take),
            "metrics": _Question(None, lambda _, nothing: probes.metrics()),
            "problems": _Question(None, lambda _, nothing: probes.problems()),
        }

    async def answer(self, worker: str, ask: Ask) -> Answer:
        """Return the answer to a question of `worker`'s; never raises."""
        try:
            question = self._questions[ask.what]
            about = msgspec.msgpack.decode(ask.about, type=question.kind)
            return Answer(ask.id, msgspec.msgpack.encode(await question.answer(worker, about)))
        except StoreAway as error:
            return Answer(ask.id, error="away", reason=str(error))
        except TooManyRevoked:
            return Answer(ask.id, error="full")
        except Exception:
            log.exception("question_failed", what=ask.what, worker=worker)
            return Answer(ask.id, error="failed", reason="a fault of the node; its log says more")

    async def _read_ends(self) -> Ends:
        """Return what must not go on, of which the store is asked once for all workers."""
        async with self._reading:
            if self._clock.monotonic() - self._ends_at >= ENDS_SECONDS:
                self._ends = await self._viewing.ends()
                self._ends_at = self._clock.monotonic()
            return self._ends

    async def _take(self, worker: str, change: AudienceChange) -> int:
        return self._audiences.take(worker, change)

    def forget(self, worker: str) -> None:
        """A worker is gone."""
        self._audiences.forget(worker)

    async def tell(self) -> None:
        """Tell the store who watches, if that has changed or is to be told again; to be called some times a second.

        When it does not answer, or nothing of use, it is told the whole later; that never raises.
        """
        try:
            await self._tell()
            self._fails = False
        except StoreAway as error:
            log.debug("viewers_not_told", reason=str(error))
        except Exception:
            # What one edge cannot make sense of no edge can: a record must not end them all.
            (log.debug if self._fails else log.exception)("viewers_not_told", reason="the store's answer was of no use")
            self._fails = True

    async def _tell(self) -> None:
        now = self._clock.monotonic()
        if not self._audiences.changed and self._told and now < self._tell_at:
            return
        if not self._told and not self._audiences.counts().viewers:
            return
        change = self._audiences.change(whole=not self._told)
        self._told = False
        self._told = await self._viewing.tell(self._node, change) == change.listed
        self._tell_at = now + self._tell_again

    async def close(self) -> None:
        """Tell the store that nobody watches any more, and let go of it."""
        await self.tell()
        await self._viewing.close()
