"""The pushes of this node: those whose claims it wins."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog

from headrace.identifiers import NodeId
from headrace.registry.claims import Claim
from headrace.registry.contest import Contest
from headrace.registry.desired import DesiredConflict, DesiredKey, DesiredKind, DesiredLimit, DesiredTransfer
from headrace.registry.leases import StoreAway
from headrace.registry.records import InvalidRecord
from headrace.registry.registry import Registry
from headrace.registry.transfers import FINAL, OPTION_STOPPED, PUSH, Flow
from headrace.service.runtime import Runtime
from headrace.transport.backoff import Backoff
from headrace_edge.metrics import PushMetrics
from headrace_edge.push.carrying import Carrier, PushFailed, PushOver

ROLES: Final = frozenset({"edge", "standalone"})
"""Who carries pushes out."""

PUSHES_MAX: Final = 200
"""Most pushes that one node takes on: each is a connection, and some a thread and a process of 50 MB."""

RETRY_MIN_SECONDS: Final = 0.5
RETRY_MAX_SECONDS: Final = 15.0

STEADY_SECONDS: Final = 10.0
"""How long a push must have run for its next break to be treated as the first."""

STOP_SECONDS: Final = 3.0
"""Longest wait for a push to end; a library that hangs is left alone."""

MakeCarrier = Callable[[DesiredTransfer], Carrier]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Running:
    record: DesiredTransfer
    claim: Claim | None
    carrier: Carrier
    task: asyncio.Task[None]
    flow: Flow = Flow.WAITING


@dataclass
class Pushes:
    """Carries pushes out, as a contest's work; a component with `start` and `stop`.

    Attributes:
        node: this node.
        registry, runtime: of this process.
        lease_seconds: the registry's.
        make: makes what carries a push.
        metrics: of this process.
    """

    node: NodeId
    registry: Registry
    runtime: Runtime
    lease_seconds: float
    make: MakeCarrier
    metrics: PushMetrics
    _wanted: dict[DesiredKey, DesiredTransfer] = field(default_factory=dict, init=False)
    _running: dict[DesiredKey, _Running] = field(default_factory=dict, init=False)
    _contest: Contest | None = field(default=None, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)

    async def start(self) -> None:
        """Take part in carrying pushes out."""
        self._count()
        self._contest = Contest(self.node, self.registry, self.lease_seconds, ROLES, self)
        self._task = self.runtime.spawn("pushes", self._contest.run())

    async def stop(self) -> None:
        """End all; others go on with them."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        if self._contest is not None:
            await self._contest.close()

    # -- as a contest's work ---------------------------------------------------------------------------------------

    @property
    def keys(self) -> Set[DesiredKey]:
        """What this node could carry."""
        if len(self._running) >= PUSHES_MAX:
            return self._running.keys() & self._wanted.keys()
        return frozenset(self._wanted)

    def look(self, keys: Collection[DesiredKey]) -> None:
        """Take over desired records that changed."""
        for key in keys:
            if key.kind is not DesiredKind.TRANSFER:
                continue
            entry = self.registry.desired.get(key)
            record = None if entry is None else entry.record
            if isinstance(record, DesiredTransfer) and record.kind == PUSH and OPTION_STOPPED not in record.options:
                self._wanted[key] = record
            else:
                self._wanted.pop(key, None)

    async def share(self) -> None:
        """No configuration has pushes."""

    def is_own(self, key: DesiredKey) -> bool:
        """Return False: no configuration has pushes."""
        return False

    def can_only_refuse(self, key: DesiredKey) -> bool:
        """Return False: whoever takes a push on says what is wrong with it."""
        return False

    def begin(self, key: DesiredKey, claim: Claim | None) -> None:
        """Carry a push, or give the one that is carried its claim."""
        running = self._running.get(key)
        if running is not None:
            running.claim = claim
            return
        record = self._wanted[key]
        carrier = self.make(record)
        task = self.runtime.spawn(f"push {record.id}", self._carry(key, record, carrier))
        self._running[key] = _Running(record, claim, carrier, task)
        self._count()

    def fence(self, key: DesiredKey) -> None:
        """Another node has it: end at once."""
        running = self._running.get(key)
        if running is not None:
            running.carrier.leave(is_over=key not in self.registry.desired or self._is_stopped(key))
            running.task.cancel()

    async def end(self, key: DesiredKey) -> None:
        """End a push; one that is not carried is ignored."""
        self.fence(key)
        running = self._running.pop(key, None)
        if running is not None:
            self._count()
            await asyncio.wait([running.task], timeout=STOP_SECONDS)
            log.info("push_ended", transfer=running.record.id, stream=running.record.local_name)

    def is_current(self, key: DesiredKey) -> bool:
        """Return whether it is carried as it is wanted now."""
        running = self._running.get(key)
        return running is None or running.record == self._wanted.get(key)

    # -- one push --------------------------------------------------------------------------------------------------

    async def _carry(self, key: DesiredKey, record: DesiredTransfer, carrier: Carrier) -> None:
        backoff = Backoff(RETRY_MIN_SECONDS, RETRY_MAX_SECONDS)
        log.info("push_begun", transfer=record.id, stream=record.local_name, target=str(record.uri))
        told: Flow | None = None

        def tell(flow: Flow, detail: str, facts: Mapping[str, str]) -> None:
            nonlocal told
            if flow is Flow.WAITING and not detail and told is Flow.FAILED:
                return  # another try: why the last one failed stays to be seen until something flows
            if flow is not told:
                log.info("push_" + flow.value, transfer=record.id, stream=record.local_name, detail=detail)
                told = flow
            if flow is Flow.FAILED:
                self.metrics.failures.inc()
            self._report(key, flow, detail, facts)

        tell(Flow.WAITING, "", {})
        while True:
            began = self.runtime.clock.monotonic()
            try:
                await carrier.run(tell)
                return
            except PushOver as over:
                tell(Flow.STOPPED, str(over), {})
                await self._note_stopped(key, record, str(over))
                return
            except PushFailed as failure:
                tell(Flow.FAILED, str(failure), {"code": (FINAL if failure.is_final else "") + failure.code})
                if failure.is_final:
                    return
            except Exception:
                log.exception("push_fault", transfer=record.id)  # ours, which another try may not meet
                tell(Flow.FAILED, "a fault in this program, see its log", {"code": "fault"})
            if self.runtime.clock.monotonic() - began > STEADY_SECONDS:
                backoff.reset()
            await asyncio.sleep(backoff.next(random.random()))

    async def _note_stopped(self, key: DesiredKey, record: DesiredTransfer, reason: str) -> None:
        """Have the push stay as it is over, whoever looks at it next."""
        entry = self.registry.desired.get(key)
        if entry is None or entry.record != record:
            return
        options = {**record.options, OPTION_STOPPED: reason}
        stopped = msgspec.structs.replace(record, options=options)
        try:
            await self.registry.put_desired(stopped, expect=entry.revision)
        except (StoreAway, DesiredConflict, DesiredLimit, InvalidRecord) as error:
            log.warning("push_not_noted", transfer=record.id, reason=str(error))

    def _report(self, key: DesiredKey, flow: Flow, detail: str, facts: Mapping[str, str]) -> None:
        running = self._running.get(key)
        if running is not None and running.flow is not flow:
            running.flow = flow
            self._count()
        if running is not None and running.claim is not None:
            self.registry.report(running.claim, flow.value, detail[:500], facts)

    def _count(self) -> None:
        for flow in Flow:
            self.metrics.pushes.labels(flow.value).set(sum(one.flow is flow for one in self._running.values()))

    def _is_stopped(self, key: DesiredKey) -> bool:
        entry = self.registry.desired.get(key)
        record = None if entry is None else entry.record
        return isinstance(record, DesiredTransfer) and OPTION_STOPPED in record.options
