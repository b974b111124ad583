"""Taking one's share of the work: what this node could carry out, carried out where its claim is won.

Theory of operation
-------------------
A piece of work is done by who holds its claim. Whenever the view changes, the contest looks at all that this node
could do. What nobody holds is claimed, at once when this node is the first that should, else after a turn
(`headrace.registry.claimants`). What is lost stops that very moment. Nothing else moves: a node that comes back finds
its work held by another and stands by, unless somebody moved it, or the other one leaves.

What a node may not do it leaves to the others: it claims that after all of them, so that somebody says why it is not
done, and lets go of it when a node comes that was not there yet.

Work of the own configuration that nobody else is known to do is also done while the store cannot be asked. It is
announced nowhere before its claim is won, and stops if another node turns out to have it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Iterable, Set
from contextlib import suppress
from typing import Final, Protocol

import structlog

from headrace.identifiers import NodeId
from headrace.registry.claimants import is_leaving, preferred_node, rank_claimants, should_hand_over, turn_seconds
from headrace.registry.claims import Claim, ClaimState
from headrace.registry.desired import DesiredKey
from headrace.registry.leases import StoreAway
from headrace.registry.registry import Registry

LOOK_GAP_SECONDS: Final = 0.05
"""Shortest time from look to look: changes of the view come in showers."""

LOOK_SECONDS: Final = 1.0
"""How often it looks though nothing was told."""

log = structlog.get_logger(__name__)


class Work(Protocol):
    """What a node could do of some kind, and who does it."""

    @property
    def keys(self) -> Set[DesiredKey]:
        """What this node could do now, desired or of its own configuration; a copy."""

    def look(self, keys: Collection[DesiredKey]) -> None:
        """Desired records changed, of whatever kind."""

    async def share(self) -> None:
        """Put what the own configuration has the cluster do as desired records; called before every look."""

    def is_own(self, key: DesiredKey) -> bool:
        """Return whether the own configuration asks for it."""

    def can_only_refuse(self, key: DesiredKey) -> bool:
        """Return whether all this node can do is to say why it may not; asked of what is among `keys`."""

    def begin(self, key: DesiredKey, claim: Claim | None) -> None:
        """Do it; with no claim, unannounced. Give what is done already its claim."""

    def fence(self, key: DesiredKey) -> None:
        """Let nothing more of it be seen, at this moment."""

    async def end(self, key: DesiredKey) -> None:
        """Stop; what is not done is ignored."""

    def is_current(self, key: DesiredKey) -> bool:
        """Return whether it is done as it is wanted now."""


class Contest:
    """Claims work and has it done, while `run` runs.

    Args:
        node: this node; its record must be kept in the registry by somebody.
        registry: where claims are; started and closed by others.
        lease_seconds: how long a claim outlives its holder; the measure of turns.
        roles: the roles of nodes that do this work, this node's included.
        work: what this node could do.
    """

    def __init__(
        self, node: NodeId, registry: Registry, lease_seconds: float, roles: Iterable[str], work: Work
    ) -> None:
        self._node = node
        self._registry = registry
        self._lease_seconds = lease_seconds
        self._roles = frozenset(roles)
        self._work = work
        self._held: dict[DesiredKey, Claim] = {}
        self._unclaimed: set[DesiredKey] = set()
        self._free_since: dict[DesiredKey, tuple[float, float]] = {}
        self._handed: dict[DesiredKey, NodeId] = {}
        self._refused: dict[DesiredKey, frozenset[NodeId]] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Look and act until cancelled; `close` it then."""
        self._work.look(tuple(self._registry.desired))
        self._registry.desired_watchers.add(self._desired_changed)
        self._registry.watchers.add(self._wake.set)
        try:
            while True:
                self._wake.clear()
                due = await self._look_safely()
                with suppress(TimeoutError):
                    async with asyncio.timeout(due):
                        await self._wake.wait()
                await asyncio.sleep(LOOK_GAP_SECONDS)
        finally:
            self._registry.watchers.discard(self._wake.set)
            self._registry.desired_watchers.discard(self._desired_changed)

    async def close(self) -> None:
        """End everything and let others have it; `run` was cancelled."""
        await self._leave_all([*self._held, *self._unclaimed])

    def _desired_changed(self, keys: frozenset[DesiredKey]) -> None:
        self._work.look(keys)
        self._wake.set()

    async def _look_safely(self) -> float:
        try:
            return await self._look()
        except Exception:
            # A fault of ours ends nothing that runs.
            log.exception("contest_failed")
            return LOOK_SECONDS

    async def _look(self) -> float:
        """Act on how things are; return in how many seconds to look again at the latest."""
        await self._work.share()
        keys = self._work.keys
        await self._leave_all([key for key in (*self._held, *self._unclaimed) if self._should_leave(key, keys)])
        for key in tuple(self._held):
            if not self._work.is_current(key):
                await self._work.end(key)
                claim = self._held.get(key)
                if (
                    claim is not None
                ):  # else it was lost meanwhile, and forgotten by the store: it is claimed anew below
                    self._begin(key, claim)
        waits = [LOOK_SECONDS]
        for key in keys:
            if key not in self._held:
                waits.append(await self._consider(key))
        return min(waits)

    # -- what is not held ----------------------------------------------------------------------------------------

    async def _consider(self, key: DesiredKey) -> float:
        """Claim it if it is free and our turn; return in how many seconds it may be."""
        holder = self._registry.claims.get(key)
        if holder is not None and (key not in self._unclaimed or holder.node != self._node):
            self._free_since.pop(key, None)
            if key in self._unclaimed and self._registry.connected:
                log.warning("held_elsewhere", claim=str(key), owner=holder.node)
                await self._leave(key)
            return LOOK_SECONDS
        if not self._registry.connected:
            self._free_since.pop(key, None)  # when the store is back, those who held get their turn first
            if self._work.is_own(key) and key not in self._unclaimed:
                self._begin_unclaimed(key)
            return LOOK_SECONDS
        wait = self._turn(key)
        if wait is None:
            return LOOK_SECONDS
        if wait <= 0:
            await self._claim(key)
        return max(wait, 0.0) or LOOK_SECONDS

    def _begin_unclaimed(self, key: DesiredKey) -> None:
        log.warning("runs_unclaimed", claim=str(key), reason=self._registry.status)
        self._unclaimed.add(key)
        self._begin(key, None)

    def _begin(self, key: DesiredKey, claim: Claim | None) -> None:
        """Have it done, unless it was ended while something else was waited for: then the next look leaves it."""
        if key in self._work.keys:
            self._work.begin(key, claim)

    def _turn(self, key: DesiredKey) -> float | None:
        """Return in how many seconds it is our turn to claim what is free; `None` for never."""
        now = asyncio.get_running_loop().time()
        since, unit = self._free_since.setdefault(key, (now, random.random()))
        if not self._is_desired(key):
            return 0.0
        ranked = self._rank(key)
        if self._work.can_only_refuse(key):
            place = len(ranked) if set(ranked) - {self._node} else 0  # after all who might do it
        elif self._node in ranked:
            place = ranked.index(self._node)
        elif self._work.is_own(key):
            place = len(ranked)
        else:
            return None
        return since + turn_seconds(place, self._lease_seconds, unit) - now

    async def _claim(self, key: DesiredKey) -> None:
        try:
            claim = await self._registry.claim(key, self._node, self._claim_changed)
        except StoreAway:
            if key in self._unclaimed:
                self._begin(key, None)
            self._wake.set()
            return
        self._free_since.pop(key, None)
        if claim is None:
            if key in self._unclaimed:
                await self._leave(key)
            return
        self._held[key] = claim
        if self._work.can_only_refuse(key):
            self._refused[key] = frozenset(self._rank(key))
        self._unclaimed.discard(key)
        self._begin(key, claim)

    # -- what is held --------------------------------------------------------------------------------------------

    def _claim_changed(self, claim: Claim) -> None:
        key = claim.key
        if claim.state is ClaimState.LOST and self._held.get(key) is claim:
            if self._work.is_own(key) and not self._is_desired(key) and not self._is_elsewhere(key):
                # The store forgot it, and nobody but us asks for it: it is held back until it is claimed anew.
                del self._held[key]
                self._unclaimed.add(key)
            else:
                self._work.fence(key)
        self._wake.set()

    def _is_desired(self, key: DesiredKey) -> bool:
        return key in self._registry.desired

    def _is_elsewhere(self, key: DesiredKey) -> bool:
        holder = self._registry.claims.get(key)
        return holder is not None and holder.node != self._node

    def _should_leave(self, key: DesiredKey, keys: Collection[DesiredKey]) -> bool:
        claim = self._held.get(key)
        if key not in keys or (claim is not None and claim.state is ClaimState.LOST):
            return True
        return claim is not None and (self._has_newcomer(key) or self._is_handed_over(key))

    def _has_newcomer(self, key: DesiredKey) -> bool:
        """Return whether a node came that may be able to do what this one only refuses."""
        if not self._work.can_only_refuse(key):
            self._refused.pop(key, None)
            return False
        ranked = frozenset(self._rank(key))
        came = ranked - self._refused.get(key, ranked)
        self._refused[key] = ranked
        return bool(came - {self._node})

    def _is_handed_over(self, key: DesiredKey) -> bool:
        """Return whether another node should have it: this one leaves, or somebody moved it there."""
        desired = self._registry.desired
        target, me = preferred_node(key, desired), self._registry.nodes.get(self._node)
        if target is None:
            self._handed.pop(key, None)
        moved = target is not None and target not in {self._node, self._handed.get(key)}
        leaves = me is not None and is_leaving(me, desired) and self._is_desired(key)
        if not (moved or leaves) or not should_hand_over(key, self._node, desired, self._rank(key)):
            return False
        if target is not None:
            # If it comes back to us the other one could not do it: then it stays.
            self._handed[key] = target
        return True

    def _rank(self, key: DesiredKey) -> list[NodeId]:
        return rank_claimants(key, self._registry.desired, self._registry.nodes.values(), self._roles)

    async def _leave(self, key: DesiredKey) -> None:
        claim = self._held.pop(key, None)
        self._refused.pop(key, None)
        self._unclaimed.discard(key)
        self._work.fence(key)
        try:
            await self._work.end(key)
        except Exception:
            # A fault of ours: it is fenced, and who has a claim that nobody knows of any more would hold it for ever.
            log.exception("work_not_ended", claim=str(key))
        finally:
            if claim is not None:
                await self._registry.release(claim)

    async def _leave_all(self, keys: list[DesiredKey]) -> None:
        """End several together: each may take a moment."""
        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(self._leave(key))
