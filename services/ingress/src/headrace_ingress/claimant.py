"""Which sources this node runs: those whose claims it wins.

Theory of operation
-------------------
A source is run by who holds its claim. Whenever the view changes, the claimant looks at every source that this node
could run. One that nobody holds is claimed, at once when this node is the first that should, else after a turn
(`headrace.registry.claimants`). One that is lost stops that very moment. Nothing else moves: a node that comes back
finds its sources held by another and stands by, unless somebody moved them, or the other one leaves.

Sources of the own configuration that nobody else is known to run are also run while the store cannot be asked. Such a
feed is announced nowhere before its claim is won, and stops if another node turns out to have it.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Final, Protocol

import structlog

from headrace.identifiers import NodeId, StreamName
from headrace.registry.claimants import is_leaving, preferred_node, rank_claimants, should_hand_over, turn_seconds
from headrace.registry.claims import Claim, ClaimState
from headrace.registry.desired import DesiredKey
from headrace.registry.leases import StoreAway
from headrace.registry.registry import Registry
from headrace_ingress.wanted import Wanted, source_key

ROLES: Final = frozenset({"ingress", "standalone"})
"""Who runs sources."""

LOOK_GAP_SECONDS: Final = 0.05
"""Shortest time from look to look: changes of the view come in showers."""

LOOK_SECONDS: Final = 1.0
"""How often it looks though nothing was told."""

log = structlog.get_logger(__name__)


class Runner(Protocol):
    """What runs feeds."""

    def begin(self, name: StreamName, claim: Claim | None) -> None:
        """Run a stream's source; with no claim, unannounced. Give a running one its claim."""

    def fence(self, name: StreamName) -> None:
        """Publish nothing more of it, at this moment."""

    async def end(self, name: StreamName) -> None:
        """Stop its feed; an unknown one is ignored."""

    def is_current(self, name: StreamName) -> bool:
        """Whether it runs as it is wanted now."""


class Claimant:
    """Claims sources and has them run, while `run` runs.

    Args:
        node: this node.
        registry: where claims are.
        lease_seconds: how long a claim outlives its holder; the measure of turns.
        wanted: what this node could run.
        runner: runs it.
    """

    def __init__(self, node: NodeId, registry: Registry, lease_seconds: float, wanted: Wanted, runner: Runner) -> None:
        self._node = node
        self._registry = registry
        self._lease_seconds = lease_seconds
        self._wanted = wanted
        self._runner = runner
        self._held: dict[StreamName, Claim] = {}
        self._unclaimed: set[StreamName] = set()
        self._free_since: dict[StreamName, tuple[float, float]] = {}
        self._handed: dict[StreamName, NodeId] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Look and act until cancelled."""
        self._wanted.look(tuple(self._registry.desired))
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
        names = [*self._held, *self._unclaimed]
        await self._leave_all(names)

    def _desired_changed(self, keys: frozenset[DesiredKey]) -> None:
        self._wanted.look(keys)
        self._wake.set()

    async def _look_safely(self) -> float:
        try:
            return await self._look()
        except Exception:
            # A fault of ours ends no feed that runs.
            log.exception("claimant_failed")
            return LOOK_SECONDS

    async def _look(self) -> float:
        """Act on how things are; return in how many seconds to look again at the latest."""
        await self._wanted.share()
        leaving = [name for name in (*self._held, *self._unclaimed) if self._should_leave(name)]
        await self._leave_all(leaving)
        for name in self._held:
            if not self._runner.is_current(name):
                await self._runner.end(name)
                self._runner.begin(name, self._held[name])
        waits = [LOOK_SECONDS]
        for name in tuple(self._wanted.requests):
            if name not in self._held:
                waits.append(await self._consider(name))
        return min(waits)

    # -- what is not held ----------------------------------------------------------------------------------------

    async def _consider(self, name: StreamName) -> float:
        """Claim a source if it is free and our turn; return in how many seconds it may be."""
        holder = self._registry.claims.get(source_key(name))
        if holder is not None and (name not in self._unclaimed or holder.node != self._node):
            self._free_since.pop(name, None)
            if name in self._unclaimed and self._registry.connected:
                log.warning("source_held_elsewhere", stream=name, owner=holder.node)
                await self._leave(name)
            return LOOK_SECONDS
        if not self._registry.connected:
            self._free_since.pop(name, None)  # when the store is back, those who held get their turn first
            if self._wanted.is_own(name) and name not in self._unclaimed:
                self._begin_unclaimed(name)
            return LOOK_SECONDS
        wait = self._turn(name)
        if wait is None:
            return LOOK_SECONDS
        if wait <= 0:
            await self._claim(name)
        return max(wait, 0.0) or LOOK_SECONDS

    def _begin_unclaimed(self, name: StreamName) -> None:
        log.warning("source_runs_unclaimed", stream=name, reason=self._registry.status)
        self._unclaimed.add(name)
        self._runner.begin(name, None)

    def _turn(self, name: StreamName) -> float | None:
        """Return in how many seconds it is our turn to claim a free source; `None` for never."""
        now = asyncio.get_running_loop().time()
        since, unit = self._free_since.setdefault(name, (now, random.random()))
        if not self._wanted.is_desired(name):
            return 0.0
        key, desired = source_key(name), self._registry.desired
        ranked = rank_claimants(key, desired, self._registry.nodes.values(), ROLES)
        if self._node in ranked:
            place = ranked.index(self._node)
        elif self._wanted.is_own(name):
            place = len(ranked)
        else:
            return None
        return since + turn_seconds(place, self._lease_seconds, unit) - now

    async def _claim(self, name: StreamName) -> None:
        try:
            claim = await self._registry.claim(source_key(name), self._node, self._claim_changed)
        except StoreAway:
            if name in self._unclaimed:
                self._runner.begin(name, None)
            self._wake.set()
            return
        self._free_since.pop(name, None)
        if claim is None:
            if name in self._unclaimed:
                await self._leave(name)
            return
        self._held[name] = claim
        self._unclaimed.discard(name)
        self._runner.begin(name, claim)

    # -- what is held --------------------------------------------------------------------------------------------

    def _claim_changed(self, claim: Claim) -> None:
        name = StreamName(claim.key.name)
        if claim.state is ClaimState.LOST and self._held.get(name) is claim:
            if self._wanted.is_own(name) and not self._wanted.is_desired(name) and not self._is_elsewhere(name):
                # The store forgot it, and nobody but us asks for it: its feed is held back until it is claimed anew.
                del self._held[name]
                self._unclaimed.add(name)
            else:
                self._runner.fence(name)
        self._wake.set()

    def _is_elsewhere(self, name: StreamName) -> bool:
        holder = self._registry.claims.get(source_key(name))
        return holder is not None and holder.node != self._node

    def _should_leave(self, name: StreamName) -> bool:
        claim = self._held.get(name)
        if name not in self._wanted.requests or (claim is not None and claim.state is ClaimState.LOST):
            return True
        return claim is not None and self._is_handed_over(name)

    def _is_handed_over(self, name: StreamName) -> bool:
        """Whether another node should have it: this one leaves, or somebody moved it there."""
        key, desired = source_key(name), self._registry.desired
        target, me = preferred_node(key, desired), self._registry.nodes.get(self._node)
        if target is None:
            self._handed.pop(name, None)
        moved = target is not None and target not in {self._node, self._handed.get(name)}
        leaves = me is not None and is_leaving(me, desired) and self._wanted.is_desired(name)
        if not (moved or leaves):
            return False
        ranked = rank_claimants(key, desired, self._registry.nodes.values(), ROLES)
        if not should_hand_over(key, self._node, desired, ranked):
            return False
        if target is not None:
            # If it comes back to us the other one could not run it: then it stays.
            self._handed[name] = target
        return True

    async def _leave(self, name: StreamName) -> None:
        claim = self._held.pop(name, None)
        self._unclaimed.discard(name)
        self._runner.fence(name)
        await self._runner.end(name)
        if claim is not None:
            await self._registry.release(claim)

    async def _leave_all(self, names: list[StreamName]) -> None:
        """End several together: each may take a moment."""
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._leave(name))
