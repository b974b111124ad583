"""What changes in the cluster, as events."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer

from headrace.clock import SystemClock
from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId, StreamName
from headrace.registry.desired import DesiredKey, DesiredKind
from headrace.registry.memory import MemoryRegistry
from headrace.registry.records import ClaimRecord, NodeRecord, StreamRecord
from headrace.testing import wait_until
from headrace_control_api.events import EventLog, follow
from headrace_control_api.takeovers import Takeovers

NODE = NodeRecord(node="n1", role="ingress", load=0.1)
STREAM = StreamRecord(stream="cam1", node="n1", epoch=7, state="live")


@pytest.fixture
async def registry() -> AsyncIterator[MemoryRegistry]:
    registry = MemoryRegistry(clock=SystemClock())
    await registry.start()
    yield registry
    await registry.close()


@pytest.fixture
async def log(registry: MemoryRegistry) -> AsyncIterator[EventLog]:
    log = EventLog(registry, SystemClock(), events_max=4)
    await log.start()
    yield log
    await log.stop()


def client_of(log: EventLog, wait: float | None) -> TestClient[web.Request, web.Application]:
    """Return a client of `/events`."""
    return TestClient(TestServer(application_of(log, wait)))


def application_of(log: EventLog, wait: float | None) -> web.Application:
    """Return what answers `/events`."""

    async def events(request: web.Request) -> web.StreamResponse:
        return await follow(request, log, wait)

    app = web.Application()
    app.on_shutdown.append(log.end)
    app.router.add_get("/events", events)
    return app


def seconds_of(log: EventLog, number: int) -> float:
    """Return how long it takes to read what came after an event, at best."""
    times = []
    for _ in range(20):
        began = time.perf_counter()
        assert log.after(number)
        times.append(time.perf_counter() - began)
    return min(times)


def names(log: EventLog, after: int = 0) -> list[str]:
    """Return the names of the events after a number."""
    return [event.name for event in log.after(after) or []]


async def test_life_of_a_stream_and_a_node(registry: MemoryRegistry, log: EventLog) -> None:
    """Appearing, changing and going are told once each, with what the thing was."""
    registry.keep_node(NODE)
    registry.keep_stream(STREAM)
    await wait_until(lambda: log.newest == 2)
    assert names(log) == ["stream_appeared", "node_appeared"]
    registry.keep_stream(StreamRecord(stream="cam1", node="n1", epoch=7, state="interrupted", next_segment=9))
    await wait_until(lambda: log.newest == 3)
    registry.drop_stream(StreamName("cam1"))
    await wait_until(lambda: log.newest == 4)
    events = log.after(2) or []
    assert [event.name for event in events] == ["stream_changed", "stream_gone"]
    told = json.loads(events[0].text)
    assert (told["stream"], told["state"], told["owner"], told["at_us"] > 0) == ("cam1", "interrupted", "n1", True)


async def test_another_owner_is_told(registry: MemoryRegistry, log: EventLog) -> None:
    """A stream that another node publishes has moved, also when it was gone in between; coming back is no move."""
    registry.keep_stream(STREAM)
    await wait_until(lambda: log.newest == 1)
    registry.drop_stream(StreamName("cam1"))
    await wait_until(lambda: log.newest == 2)
    registry.keep_stream(StreamRecord(stream="cam1", node="n1", epoch=8, state="live"))
    await wait_until(lambda: log.newest == 3)
    registry.drop_stream(StreamName("cam1"))
    await wait_until(lambda: log.newest == 4)
    registry.keep_stream(StreamRecord(stream="cam1", node="n2", epoch=9, state="live"))
    await wait_until(lambda: log.newest == 6)
    assert names(log, 2) == ["stream_appeared", "stream_gone", "stream_appeared", "stream_moved"]
    told = json.loads((log.after(5) or [])[0].text)
    assert (told["stream"], told["owner"], told["before"], told["epoch"]) == ("cam1", "n2", "n1", 9)


async def test_another_claimant_is_told(registry: MemoryRegistry, log: EventLog) -> None:
    """A source that another node fetches is told with both nodes."""
    key = DesiredKey(DesiredKind.SOURCE, "cam1")
    for node in ("n1", "n2"):
        claim = await registry.claim(key, NodeId(node), lambda claim: None)
        assert claim is not None
        await wait_until(lambda: key in registry.claims)
        newest = log.newest
        registry.keep_node(NodeRecord(node=node, role="ingress"))
        await log.wait(newest, 10)
        await registry.release(claim)
        await wait_until(lambda: key not in registry.claims)
    await wait_until(lambda: log.newest == 3)
    assert sorted(names(log)) == ["node_appeared", "node_appeared", "source_taken_over"]
    told = next(json.loads(event.text) for event in log.after(0) or [] if event.name == "source_taken_over")
    assert (told["stream"], told["node"], told["before"]) == ("cam1", "n2", "n1")


def test_takeovers_of_claims() -> None:
    """Transfers have an event of their own, orders none, and a claim that the same node has again is no takeover."""
    found = Takeovers()
    keys = [DesiredKey(kind, "x") for kind in (DesiredKind.SOURCE, DesiredKind.TRANSFER, DesiredKind.DRAIN)]

    def told(node: str) -> list[tuple[str, dict[str, str]]]:
        return list(found.compare({}, {key: ClaimRecord(claim=str(key), node=node) for key in keys}))

    assert told("n1") == told("n1") == []
    assert list(found.compare({}, {})) == []
    assert told("n2") == [
        ("source_taken_over", {"stream": "x", "node": "n2", "before": "n1"}),
        ("transfer_taken_over", {"transfer": "x", "node": "n2", "before": "n1"}),
    ]


async def test_what_goes_on_all_the_time_is_no_event(registry: MemoryRegistry, log: EventLog) -> None:
    """Load and segment numbers change all the time and are not told."""
    registry.keep_node(NODE)
    registry.keep_stream(STREAM)
    await wait_until(lambda: log.newest == 2)
    registry.keep_node(NodeRecord(node="n1", role="ingress", load=0.7))
    registry.keep_stream(StreamRecord(stream="cam1", node="n1", epoch=7, state="live", next_segment=4))
    registry.keep_node(NodeRecord(node="n2", role="edge"))
    await wait_until(lambda: log.newest == 3)
    assert names(log, 2) == ["node_appeared"]


async def test_what_was_there_is_no_event(registry: MemoryRegistry) -> None:
    """A log that begins in a cluster at work has nothing to tell."""
    registry.keep_node(NODE)
    log = EventLog(registry, SystemClock())
    await log.start()
    assert log.newest == 0
    await log.stop()


async def test_only_so_many_are_remembered(registry: MemoryRegistry, log: EventLog) -> None:
    """Who was away too long is told so."""
    for number in range(6):
        registry.keep_node(NodeRecord(node=f"n{number}", role="edge"))
    await wait_until(lambda: log.newest == 6)
    assert log.after(1) is None
    assert len(log.after(2) or []) == 4
    assert log.after(6) == []
    assert log.after(7) is None


async def test_followers_resume(registry: MemoryRegistry, log: EventLog) -> None:
    """A follower goes on after the event it names; one that names an unknown event is told to list again."""
    registry.keep_node(NODE)
    registry.keep_node(NodeRecord(node="n2", role="edge"))
    await wait_until(lambda: log.newest == 2)
    async with client_of(log, 0) as client:
        text = await (await client.get("/events", headers={"Last-Event-ID": f"{log.run}-1"})).text()
        assert f"id: {log.run}-2\nevent: node_appeared\ndata: {{" in text
        assert f"id: {log.run}-1\n" not in text
        for unknown in ("other-1", f"{log.run}-99", f"{log.run}-x", "", "²"):
            text = await (await client.get("/events", headers={"Last-Event-ID": unknown})).text()
            assert f"id: {log.run}-2\nevent: reset\n" in text
        fresh = await client.get("/events")
        assert (fresh.content_type, "event:" in await fresh.text()) == ("text/event-stream", False)


async def test_followers_that_leave(registry: MemoryRegistry, log: EventLog, caplog: pytest.LogCaptureFixture) -> None:
    """A follower that goes away is forgotten, which is no fault."""
    # aiohttp's own test server cancels what it serves when a client leaves, which the listener does not.
    listener = HttpListener("api", "127.0.0.1", 0, application_of(log, None))
    await listener.start()
    async with ClientSession(f"http://127.0.0.1:{listener.bound_port}") as client:
        answer = await client.get("/events")
        await answer.content.readuntil(b"\n\n")
        answer.close()
        for number in range(100):
            registry.keep_node(NodeRecord(node=f"n{number}", role="edge"))
            await log.wait(log.newest, 10)
            if log.followers == 0:
                break
        assert log.followers == 0
    await listener.stop()
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


async def test_followers_hear_at_once_and_end_with_the_server(registry: MemoryRegistry, log: EventLog) -> None:
    """What happens is written to those who follow; they are let go when the server stops."""
    async with client_of(log, None) as client:
        answer = await client.get("/events")
        await answer.content.readuntil(b"\n\n")
        registry.keep_node(NODE)
        event = await answer.content.readuntil(b"\n\n")
        assert b"event: node_appeared" in event
        registry.drop_node(NodeId("n1"))
        assert b"event: node_gone" in await answer.content.readuntil(b"\n\n")
        assert log.followers == 1
    await wait_until(lambda: log.followers == 0)


async def test_the_newest_event_costs_the_same_however_many_are_remembered(registry: MemoryRegistry) -> None:
    """Each of the followers reads after each change: nobody goes through ten thousand events for the last one."""
    log = EventLog(registry, SystemClock(), events_max=10_000)
    await log.start()
    for count in range(5000):
        registry.keep_stream(StreamRecord(stream=f"cam{count}", node="n1", epoch=7, state="live"))
    await wait_until(lambda: log.newest == 5000)
    assert [event.number for event in log.after(4997) or []] == [4998, 4999, 5000]
    assert seconds_of(log, 4999) < seconds_of(log, 0) / 5
    await log.stop()
