"""What of the desired records this process carries out: claims, as far as they can be known to hold.

A claim is won by one process and renewed until it is released. When the store stops answering, or this process stood
still, the holder's own clock says when it can no longer be sure: the claim is *doubted*. Nobody can have taken it while
the store is down, so what runs had better go on; when somebody else has it by then, it is *lost*. A claim that the
store forgot is taken again under a new generation, as anybody might who came first. An older generation is never
renewed or written again.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from headrace.registry.desired import DesiredKey
from headrace.registry.leases import Kind, Lease, LeaseKey, LeaseStore
from headrace.registry.records import ClaimRecord, InvalidRecord, decode_claim, encode_record

log = structlog.get_logger(__name__)


class ClaimState(enum.Enum):
    """How sure a claim is."""

    HELD = "held"
    DOUBTED = "doubted"
    """It could not be renewed in time; nobody is known to have it instead."""
    LOST = "lost"
    """Somebody else has it, or it is not desired any more. What runs for it must stop."""
    RELEASED = "released"


@dataclass(slots=True, eq=False)
class Claim:
    """This process's hold on a desired record.

    Attributes:
        key: what is carried out.
        record: as others see it; `record.generation` is a number that every later holder's exceeds.
        state: how sure it is; `on_change` is called after it changed, and when the generation did.
        reason: why it is in that state, a sentence for people.
        sure_until: when it is doubted unless it is renewed, in the event loop's time.
        was_desired: whether there was a record of it when it was won; what a configuration alone asks for has none.
        on_change: called from the event loop; must not block.
    """

    key: DesiredKey
    record: ClaimRecord
    sure_until: float
    on_change: Callable[[Claim], None] = field(repr=False)
    was_desired: bool = True
    state: ClaimState = ClaimState.HELD
    reason: str = ""

    @property
    def generation(self) -> int:
        """What fences older holders."""
        return self.record.generation

    @property
    def is_sure(self) -> bool:
        """Whether nobody else can hold it at this moment; to be asked before what cannot be undone."""
        return self.state is ClaimState.HELD and asyncio.get_running_loop().time() < self.sure_until


class Claims:
    """The claims of one process.

    Args:
        store: where they are.
        holder: who this process is; different for every process that ever ran.
        lease_seconds: how long a claim lives without renewal.
        is_desired: whether a desired record is still there.
        call: how callbacks of others are called.
    """

    def __init__(
        self,
        store: LeaseStore,
        holder: str,
        lease_seconds: float,
        is_desired: Callable[[DesiredKey], bool],
        call: Callable[..., None],
    ) -> None:
        self._store = store
        self._holder = holder
        self._lease_seconds = lease_seconds
        self._is_desired = is_desired
        self._call = call
        self._held: dict[DesiredKey, Claim] = {}
        self._unsent: set[DesiredKey] = set()
        self._gone: set[DesiredKey] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held(self) -> Mapping[DesiredKey, Claim]:
        """What this process holds, doubted claims included."""
        return self._held

    async def take(
        self, record: ClaimRecord, key: DesiredKey, floor: int, on_change: Callable[[Claim], None]
    ) -> Claim | None:
        """Take a claim that nobody holds; `None` when somebody does."""
        if key in self._held:
            raise ValueError(f"{key} is claimed here already")
        began = _now()
        answer = await self._store.claim(self._new_lease(key, record), floor, self._lease_seconds)
        if isinstance(answer, bytes) or key in self._held:
            return None
        granted = msgspec.structs.replace(record, generation=answer.rank)
        claim = Claim(key, granted, began + self._lease_seconds, on_change, self._is_desired(key))
        self._held[key] = claim
        self._watch()
        log.info("claim_taken", claim=str(key), generation=claim.generation)
        return claim

    def report(self, claim: Claim, **changes: Any) -> bool:
        """Change what others see of a claim; return whether that is news.

        Raises:
            InvalidRecord: when others would refuse it.
        """
        record = msgspec.structs.replace(claim.record, **changes)
        if self._held.get(claim.key) is not claim or record == claim.record:
            return False
        encode_record(record)
        claim.record = record
        self._unsent.add(claim.key)
        return True

    def give_up(self, claim: Claim) -> Lease | None:
        """Hold `claim` no more; return the lease to remove, `None` when it was not held."""
        if self._held.get(claim.key) is not claim:
            return None
        self._end(claim, ClaimState.RELEASED, "released")
        return self._lease(claim.key, claim.record)

    def leases(self) -> list[Lease]:
        """Return the leases to renew."""
        return [self._lease(key, claim.record) for key, claim in self._held.items()]

    def renewed(self, leases: Sequence[Lease], kept: Sequence[bool], began: float) -> None:
        """Take note of which `leases` of `leases()` were renewed by an exchange that began at `began`."""
        for lease, held in zip(leases, kept, strict=True):
            claim = next((one for one in self._held.values() if str(one.key) == lease.key.name), None)
            if claim is None or claim.generation != lease.rank:
                continue
            if held:
                self._sure(claim, began)
            else:
                self._gone.add(claim.key)
        self._watch()

    async def write(self) -> None:
        """Write what was reported, and try to take again what the store forgot."""
        for key in tuple(self._gone):
            await self._take_again(key)
        unsent, self._unsent = self._unsent & self._held.keys(), set()
        leases = [self._lease(key, self._held[key].record) for key in unsent]
        if not leases:
            return
        began = _now()
        try:
            kept = await self._store.update(leases, self._lease_seconds)
        except BaseException:
            self._unsent |= unsent & self._held.keys()
            raise
        self.renewed(leases, kept, began)

    def close(self) -> None:
        """Watch the time no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _take_again(self, key: DesiredKey) -> None:
        claim = self._held.get(key)
        if claim is None or (claim.was_desired and not self._is_desired(key)):
            self._gone.discard(key)
            if claim is not None:
                self._end(claim, ClaimState.LOST, "it is not desired any more")
            return
        began = _now()
        answer = await self._store.claim(self._new_lease(key, claim.record), claim.generation, self._lease_seconds)
        if self._held.get(key) is not claim:  # given up meanwhile
            if isinstance(answer, Lease):
                await self._store.remove([answer])
            return
        self._gone.discard(key)
        if isinstance(answer, bytes):
            self._end(claim, ClaimState.LOST, f"node {_holder(answer, key)} has it")
            return
        log.info("claim_taken_again", claim=str(key), generation=answer.rank, before=claim.generation)
        claim.record = msgspec.structs.replace(claim.record, generation=answer.rank)
        claim.state = ClaimState.DOUBTED  # so that the new generation is told
        self._sure(claim, began)
        self._watch()

    def _sure(self, claim: Claim, began: float) -> None:
        claim.sure_until = began + self._lease_seconds
        if claim.state is ClaimState.DOUBTED and claim.sure_until > _now():
            claim.state, claim.reason = ClaimState.HELD, ""
            self._call(claim.on_change, claim)

    def _end(self, claim: Claim, state: ClaimState, reason: str) -> None:
        self._held.pop(claim.key, None)
        self._unsent.discard(claim.key)
        self._gone.discard(claim.key)
        claim.state, claim.reason = state, reason
        log.info("claim_ended", claim=str(claim.key), generation=claim.generation, state=state.value, reason=reason)
        self._watch()
        if state is ClaimState.LOST:
            self._call(claim.on_change, claim)

    def _watch(self) -> None:
        """Have claims doubted when their time comes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        first = min((one.sure_until for one in self._held.values() if one.state is ClaimState.HELD), default=None)
        if first is not None:
            self._timer = asyncio.get_running_loop().call_at(first, self._doubt)

    def _doubt(self) -> None:
        self._timer = None
        for claim in tuple(self._held.values()):
            if claim.state is ClaimState.HELD and claim.sure_until <= _now():
                claim.state, claim.reason = ClaimState.DOUBTED, "it could not be renewed in time"
                log.warning("claim_doubted", claim=str(claim.key), generation=claim.generation)
                self._call(claim.on_change, claim)
        self._watch()

    def _lease(self, key: DesiredKey, record: ClaimRecord) -> Lease:
        return Lease(LeaseKey(Kind.CLAIM, str(key)), record.generation, self._holder, encode_record(record))

    def _new_lease(self, key: DesiredKey, record: ClaimRecord) -> Lease:
        return self._lease(key, msgspec.structs.replace(record, generation=0))


def _holder(record: bytes, key: DesiredKey) -> str:
    try:
        return repr(decode_claim(record, str(key)).node)
    except InvalidRecord:
        return "(unknown)"


def _now() -> float:
    return asyncio.get_running_loop().time()
