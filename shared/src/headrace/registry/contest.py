"""Taking one's share of what is desired: claims what nobody carries out when it is this node's turn.

The owner says which kinds it can carry out, and is told what it has won and what it must stop. Between the two it does
the work; how that goes it reports on the claim.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

import structlog

from headrace.identifiers import NodeId
from headrace.registry.claimants import rank_claimants, should_hand_over, turn_seconds
from headrace.registry.claims import Claim, ClaimState
from headrace.registry.desired import Desired, DesiredEntry, DesiredKey, DesiredKind
from headrace.registry.leases import StoreAway
from headrace.registry.records import ClaimRecord, NodeRecord

log = structlog.get_logger(__name__)

AGAIN_LEASES: Final = 1.0
"""How often everything is looked at again though nothing was told, in leases."""


class Contestants(Protocol):
    """The part of a registry that a contest needs."""

    watchers: set[Callable[[], None]]

    @property
    def nodes(self) -> Mapping[NodeId, NodeRecord]: ...

    @property
    def desired(self) -> Mapping[DesiredKey, DesiredEntry]: ...

    @property
    def claims(self) -> Mapping[DesiredKey, ClaimRecord]: ...

    @property
    def connected(self) -> bool: ...

    async def claim(self, key: DesiredKey, node: NodeId, on_change: Callable[[Claim], None]) -> Claim | None: ...

    async def release(self, claim: Claim) -> None: ...


class Contest:
    """Claims for one node what is desired of some kinds; a component with `start` and `stop`.

    Args:
        registry: started and closed by others.
        node: who claims; its record must be kept in the registry by somebody.
        roles: the roles of nodes that carry these kinds out, this node's included.
        kinds: which kinds of desired records.
        lease_seconds: the registry's.
        wanted: called with a claim and what is desired, when it was won and whenever that changes. A claim that comes
            again with another generation was lost by the store meanwhile; what runs may go on.
        unwanted: called with a claim and a sentence when what runs for it must stop: it is desired no more, another
            node has it or should have it. The claim is released already, or lost.
        takes: whether this node can carry a record out at all, for example a push of a stream that it has.
    """

    def __init__(
        self,
        registry: Contestants,
        node: NodeId,
        roles: Collection[str],
        kinds: Collection[DesiredKind],
        lease_seconds: float,
        wanted: Callable[[Claim, Desired], None],
        unwanted: Callable[[Claim, str], None],
        takes: Callable[[Desired], bool] = lambda record: True,
    ) -> None:
        self._registry = registry
        self._node = node
        self._roles = frozenset(roles)
        self._kinds = frozenset(kinds)
        self._lease_seconds = lease_seconds
        self._wanted = wanted
        self._unwanted = unwanted
        self._takes = takes
        self._held: dict[DesiredKey, Claim] = {}
        self._told: dict[DesiredKey, tuple[int, int]] = {}
        self._turns: dict[DesiredKey, float] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def held(self) -> Mapping[DesiredKey, Claim]:
        """What this node carries out."""
        return self._held

    async def start(self) -> None:
        """Take part."""
        self._registry.watchers.add(self._changed.set)
        self._task = asyncio.create_task(self._run(), name="contest")

    async def stop(self) -> None:
        """Take part no more and release everything, without telling the owner, who stops anyway."""
        self._registry.watchers.discard(self._changed.set)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        for claim in tuple(self._held.values()):
            await self._registry.release(claim)
        self._held.clear()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._look()
            except StoreAway as error:
                log.debug("contest_waits", reason=str(error))
            except Exception:
                log.exception("contest_failed")
            try:
                async with asyncio.timeout(self._patience()):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _patience(self) -> float:
        again = self._lease_seconds * AGAIN_LEASES * random.uniform(0.5, 1.0)
        due = min(self._turns.values(), default=None)
        return again if due is None else min(again, max(due - _now(), 0.01))

    async def _look(self) -> None:
        await self._give_up()
        if not self._registry.connected:
            self._turns.clear()  # when the store is back, those who held get their turn first
            return
        mine = self._registry.nodes.get(self._node)
        open_ = {key for key in self._registry.desired if self._is_open(key)} if mine is not None else set()
        for key in self._turns.keys() - open_:
            del self._turns[key]
        for key in open_:
            await self._contend(key)

    async def _give_up(self) -> None:
        """Let go of what is not ours to do any more, and tell of what changed in the rest."""
        for key, claim in tuple(self._held.items()):
            entry = self._registry.desired.get(key)
            if entry is None:
                await self._let_go(claim, "it is not desired any more")
            elif claim.state is ClaimState.HELD and self._should_hand_over(key):
                await self._let_go(claim, "another node is to have it")
            else:
                self._tell(claim, entry)

    def _should_hand_over(self, key: DesiredKey) -> bool:
        desired = self._registry.desired
        return should_hand_over(key, self._node, desired, self._rank(key))

    async def _let_go(self, claim: Claim, reason: str) -> None:
        self._held.pop(claim.key, None)
        self._told.pop(claim.key, None)
        self._unwanted(claim, reason)
        await self._registry.release(claim)

    def _is_open(self, key: DesiredKey) -> bool:
        if key.kind not in self._kinds or key in self._held or key in self._registry.claims:
            return False
        return self._takes(self._registry.desired[key].record)

    def _rank(self, key: DesiredKey) -> list[NodeId]:
        return rank_claimants(key, self._registry.desired, self._registry.nodes.values(), self._roles)

    async def _contend(self, key: DesiredKey) -> None:
        """Claim `key` if it is our turn; else see to it that the turn comes."""
        ranked = self._rank(key)
        if self._node not in ranked:
            self._turns.pop(key, None)
            return
        wait = turn_seconds(ranked.index(self._node), self._lease_seconds, random.random())
        due = self._turns.setdefault(key, _now() + wait)
        if due > _now() and wait > 0:
            return
        del self._turns[key]
        claim = await self._registry.claim(key, self._node, self._claim_changed)
        entry = self._registry.desired.get(key)
        if claim is None:
            return
        self._held[key] = claim
        if entry is None:
            await self._let_go(claim, "it is not desired any more")
        else:
            self._tell(claim, entry)

    def _tell(self, claim: Claim, entry: DesiredEntry) -> None:
        state = (entry.revision, claim.generation)
        if self._told.get(claim.key) != state:
            self._told[claim.key] = state
            self._wanted(claim, entry.record)

    def _claim_changed(self, claim: Claim) -> None:
        if claim.state is ClaimState.LOST and self._held.get(claim.key) is claim:
            del self._held[claim.key]
            self._told.pop(claim.key, None)
            self._unwanted(claim, claim.reason)
        self._changed.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
