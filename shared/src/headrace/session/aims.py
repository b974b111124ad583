"""Parents that a stream should go to though nothing is wrong with the one it has. Pure: time and chance are arguments.

There are two reasons: somebody moved the stream, or it went past its layer when a parent died and the layer is there
again. Neither is urgent. So the second waits until the better parent has been there for a while, each node for another,
and whoever failed as an aim is tried again after waits that double: a parent that comes and goes, or refuses, costs
little, and nothing flaps. Going back always goes to a nearer layer, which ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.identifiers import NodeId
from headrace.registry.placement import Candidate
from headrace.transport.backoff import Backoff

RETURN_SECONDS = 15.0
"""Longest wait before a stream goes back to its layer, the shortest is half of it: so that not all go at once, and a
node that has just started is known to stay."""

RETRY_SECONDS = 10.0
"""First wait after an aim failed, less what is left to chance."""

RETRY_MAX_SECONDS = 300.0
"""Longest wait after an aim failed again and again: a full parent may have room, or a flapping one may stay."""

STEADY_SECONDS = 60.0
"""A parent that was reached and kept for so long was a good aim: failures before are forgotten."""


@dataclass(slots=True)
class _Failures:
    """An aim that failed: when it is worth a try again."""

    until: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(RETRY_SECONDS, RETRY_MAX_SECONDS))


class Aims:
    """Which better parent one stream should go to, and when.

    Attributes:
        aim: the parent that it is on its way to, `None` while it is on no such way.
    """

    def __init__(self) -> None:
        self.aim: NodeId | None = None
        self._failed: dict[NodeId, _Failures] = {}
        self._reached: tuple[NodeId, float] | None = None
        self._nearer: NodeId | None = None
        self._return_at = 0.0

    def may_try(self, node: NodeId, now: float) -> bool:
        """Return whether `node` did not fail as an aim a short while ago."""
        failures = self._failed.get(node)
        return failures is None or now >= failures.until

    def is_time_to_return(self, present: Candidate, best: Candidate, now: float, random_unit: float) -> bool:
        """Return whether the stream should go from `present` to `best`: it is nearer, and has been for long enough.

        Call it now and then; `random_unit`, from 0 to 1, is the part of the wait that is left to chance.
        """
        if not is_nearer(best, present) or not self.may_try(best.node, now):
            self._nearer = None
            return False
        if self._nearer != best.node:
            self._nearer = best.node
            self._return_at = now + RETURN_SECONDS * (1 - 0.5 * random_unit)
        return now >= self._return_at

    def begin(self, node: NodeId) -> None:
        """The stream is on its way to `node`."""
        self.aim, self._nearer = node, None

    def reached(self, node: NodeId, now: float) -> None:
        """`node` delivers."""
        if self.aim == node:
            self._reached = node, now
        self.aim = None

    def missed(self, now: float, random_unit: float) -> bool:
        """The aim cannot be had; return whether that is news."""
        aim, self.aim = self.aim, None
        return aim is not None and self._count(aim, now, random_unit)

    def lost(self, node: NodeId, now: float, random_unit: float) -> None:
        """`node`, which delivered, does not any more; if it was an aim, it was a bad one unless it stayed long."""
        reached, self._reached = self._reached, None
        self._nearer = None
        if reached is None or reached[0] != node:
            return
        if now - reached[1] >= STEADY_SECONDS:
            self._failed.pop(node, None)
        else:
            self._count(node, now, random_unit)

    def _count(self, node: NodeId, now: float, random_unit: float) -> bool:
        is_news = node not in self._failed
        failures = self._failed.setdefault(node, _Failures())
        failures.until = now + failures.backoff.next(random_unit)
        return is_news


def is_nearer(best: Candidate, present: Candidate) -> bool:
    """Return whether `best` stands in a layer nearer to the node than `present`, which is no peer; and is well.

    Peers are left where they are: depth among them is no fault, and below full layers there is nowhere to go back to.
    """
    return best.poor == 0 and not best.is_peer and not present.is_peer and best.distance < present.distance
