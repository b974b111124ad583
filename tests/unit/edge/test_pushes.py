"""What is told of a push that does not come about."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from headrace.clock import SystemClock
from headrace.identifiers import NodeId, StreamName
from headrace.registry.desired import DesiredKey, DesiredKind, DesiredTransfer
from headrace.registry.memory import MemoryRegistry
from headrace.registry.records import NodeRecord
from headrace.registry.sealing import Uri
from headrace.registry.transfers import Flow, Transfer, TransferStatus, find_transfer
from headrace.relay.hub import Hub
from headrace.service.runtime import Runtime
from headrace.testing import wait_until
from headrace_edge.metrics import push_metrics
from headrace_edge.push.carrying import PushFailed, Tell
from headrace_edge.push.media import MediaPush
from headrace_edge.push.pacing import Conveyor
from headrace_edge.push.pushes import Pushes

PUSH = DesiredTransfer(id="push-1", kind="push", uri=Uri("ws://there.example"), local_name="a", remote_name="b")
KEY = DesiredKey(DesiredKind.TRANSFER, PUSH.id)


class Stubborn:
    """Waits, and is not taken, as often as it is tried, until `flows`."""

    def __init__(self) -> None:
        self.tried = 0
        self.flows_from = 4

    def leave(self, *, is_over: bool) -> None: ...

    async def run(self, tell: Tell) -> None:
        """See `Carrier`."""
        self.tried += 1
        tell(Flow.WAITING, "", {})
        if self.tried >= self.flows_from:
            tell(Flow.LIVE, "", {})
            tell(Flow.WAITING, "interrupted here", {})
        raise PushFailed("not_taken", "the other server does not take the stream")


@asynccontextmanager
async def pushes(
    carrier: Stubborn, metrics: CollectorRegistry | None = None
) -> AsyncIterator[tuple[MemoryRegistry, list[tuple[str, str]]]]:
    """Carry a push; yield what is reported of it, in order."""
    registry = MemoryRegistry()
    await registry.start()
    registry.keep_node(NodeRecord(node="e1", role="edge"))
    metrics = metrics or CollectorRegistry()
    runtime = Runtime(NodeId("e1"), "edge", metrics=metrics)
    told: list[tuple[str, str]] = []
    report = registry.report

    def note(claim: object, status: str = "", detail: str = "", facts: object = None) -> None:
        told.append((status, detail))
        report(claim, status, detail, facts)  # type: ignore[arg-type]

    registry.report = note  # type: ignore[method-assign]
    made = Pushes(NodeId("e1"), registry, runtime, 0.4, lambda record: carrier, push_metrics(runtime.metrics))
    await made.start()
    await registry.put_desired(PUSH, expect=0)
    try:
        yield registry, told
    finally:
        await made.stop()
        await registry.close()


def _seen(registry: MemoryRegistry) -> Transfer:
    found = find_transfer(registry.desired, registry.claims, PUSH.id)
    assert found is not None
    return found


async def test_a_failure_stays_until_something_flows() -> None:
    """A try after it does not look like waiting; what comes after it flowed does."""
    carrier = Stubborn()
    async with pushes(carrier) as (registry, told):
        await wait_until(lambda: carrier.tried == 3, 20)
        flows = [flow for flow, _ in told]
        assert "waiting" not in flows[flows.index("failed") :]
        await wait_until(lambda: _seen(registry).status is TransferStatus.FAILED)
        assert "does not take" in _seen(registry).info
        await wait_until(lambda: ("waiting", "interrupted here") in told, 20)


async def test_pushes_are_counted() -> None:
    """By state, and each try that failed; what ends is counted no more."""
    carrier, metrics = Stubborn(), CollectorRegistry()
    carrier.flows_from = 99

    def value(state: str) -> float | None:
        return metrics.get_sample_value("headrace_edge_pushes", {"state": state})

    async with pushes(carrier, metrics) as (registry, _):
        await wait_until(lambda: carrier.tried >= 2 and value("failed") == 1, 20)
        assert (value("live"), value("stopped"), value("waiting")) == (0, 0, 0)
        assert (metrics.get_sample_value("headrace_edge_push_failures_total") or 0) >= 2
        await registry.drop_desired(KEY)
        await wait_until(lambda: value("failed") == 0, 20)


class Faulty(Stubborn):
    """Does what nobody foresaw, as often as it is tried, until `flows`."""

    async def run(self, tell: Tell) -> None:
        """See `Carrier`."""
        self.tried += 1
        if self.tried < self.flows_from:
            raise KeyError("a fault")
        tell(Flow.LIVE, "", {})
        await asyncio.Event().wait()


async def test_a_fault_in_one_push_is_that_ones_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told and tried again, and does not end the edge with all its viewers."""
    monkeypatch.setattr("headrace_edge.push.pushes.RETRY_MIN_SECONDS", 0.01)
    carrier = Faulty()
    with capture_logs() as lines:
        async with pushes(carrier) as (_, told):
            await wait_until(lambda: ("failed", "a fault in this program, see its log") in told)
            await wait_until(lambda: told[-1][0] == "live", 20)
    assert "component_failed" not in {line["event"] for line in lines}


async def test_a_thread_that_cannot_start_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may have none left: the push fails in words, and the stream is not held any more."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    hub = Hub()
    push = MediaPush(StreamName("a"), hub, SystemClock(), nowhere, lambda address: NoTarget())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    before = asyncio.all_tasks()
    with pytest.raises(PushFailed, match="thread"):
        await push.run(lambda flow, detail, facts: None)
    assert hub.demands(StreamName("a")) == 0
    assert asyncio.all_tasks() == before


async def nowhere() -> str | None:
    """Return no address."""
    return None


class NoTarget:
    """Takes nothing."""

    def write(self, conveyor: Conveyor) -> None:
        """See `Target`."""

    def abort(self) -> None:
        """See `Target`."""
