"""A worker's conversation with its node, over a real socket pair."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
import pytest

from headrace.access.viewing import Ends, TooManyRevoked
from headrace.registry.leases import StoreAway
from headrace.registry.records import NodeRecord
from headrace.testing import wait_until
from headrace_edge.workers import line as line_module
from headrace_edge.workers.line import Line, receive_hello
from headrace_edge.workers.messages import (
    Answer,
    Ask,
    FromWorker,
    Hello,
    Others,
    View,
    decode_from_worker,
    encode_message,
)
from headrace_edge.workers.seeing import Seen
from headrace_edge.workers.talk import Talk, talk_over
from headrace_edge.workers.viewing import NodeViewing


@dataclass
class Conversation:
    """Both ends: the worker's line, and the node's side with what it heard."""

    line: Line
    seen: Seen
    node: Talk
    heard: list[FromWorker] = field(default_factory=list)

    async def asked(self) -> Ask:
        await wait_until(lambda: bool(self.heard))
        ask = self.heard.pop()
        assert isinstance(ask, Ask)
        return ask


@pytest.fixture
async def talking() -> AsyncIterator[Conversation]:
    """A line that has heard its first view."""
    own, others = socket.socketpair()
    heard: list[FromWorker] = []
    node = await talk_over(others, lambda body: heard.append(decode_from_worker(body)), lambda: None)
    seen = Seen()
    line = Line(own, seen)
    node.say(View(nodes=(NodeRecord(node="edge-1", role="edge"),)))
    await line.start()
    yield Conversation(line, seen, node, heard)
    await line.stop()
    node.close()


def test_the_hello_comes_before_everything() -> None:
    """It is read before there is an event loop, and no byte more; a node that goes first is told by the end."""
    own, others = socket.socketpair()
    hello = Hello({"edge": {}}, "edge-1", "edge-1.1.a", "ws://127.0.0.1:1/relay", "hush")
    with own, others:
        others.sendall(encode_message(hello) + b"more")
        assert receive_hello(own) == hello
        assert own.recv(10) == b"more"
        others.sendall(encode_message(Others(1)))
        with pytest.raises(EOFError):
            receive_hello(own)
        others.close()
        with pytest.raises(EOFError):
            receive_hello(own)


async def test_what_is_told_arrives(talking: Conversation) -> None:
    """The view of the cluster, and how many viewers the others have."""
    assert set(talking.seen.nodes) == {"edge-1"}
    others: list[int] = []
    talking.line.on_others = others.append
    talking.node.say(Others(7))
    await wait_until(lambda: others == [7])


async def test_questions_are_answered_in_any_order(talking: Conversation) -> None:
    """By their numbers."""
    viewing = NodeViewing(talking.line)
    first, second = asyncio.create_task(viewing.ends()), asyncio.create_task(talking.line.metrics())
    await wait_until(lambda: len(talking.heard) == 2)
    for ask in reversed([ask for ask in talking.heard if isinstance(ask, Ask)]):
        result = b"all 1" if ask.what == "metrics" else Ends({"t1": 5.0}, {}, 2)
        talking.node.say(Answer(ask.id, msgspec.msgpack.encode(result)))
    assert await first == Ends({"t1": 5.0}, {}, 2)
    assert await second == b"all 1"


async def test_a_refused_question_raises(talking: Conversation) -> None:
    """As the store would."""
    viewing = NodeViewing(talking.line)
    for error, raised in (("away", StoreAway), ("failed", StoreAway), ("full", TooManyRevoked)):
        asking = asyncio.create_task(viewing.restore({"t1": 1.0}))
        talking.node.say(Answer((await talking.asked()).id, error=error, reason="why"))
        with pytest.raises(raised):
            await asking


async def test_a_node_that_does_not_answer_is_away(talking: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while; an answer that comes later is nobody's."""
    monkeypatch.setattr(line_module, "ASK_SECONDS", 0.05)
    assert await talking.line.problems() == {"node": "the node did not answer within 0.05 s"}
    talking.node.say(Answer((await talking.asked()).id, msgspec.msgpack.encode({})))
    monkeypatch.setattr(line_module, "ASK_SECONDS", 20.0)
    asking = asyncio.create_task(talking.line.problems())
    talking.node.say(Answer((await talking.asked()).id, msgspec.msgpack.encode({"relay": "none"})))
    assert await asking == {"relay": "none"}


async def test_without_its_node_a_worker_ends(talking: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it had been told to; who waits for an answer hears that there will be none."""
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    asking = asyncio.create_task(talking.line.metrics())
    await talking.asked()
    talking.node.close()
    with pytest.raises(ConnectionError):
        await asking
    assert signals == [(os.getpid(), signal.SIGTERM)]
    with pytest.raises(ConnectionError):
        await talking.line.metrics()


async def test_nonsense_ends_the_conversation() -> None:
    """Both sides are ours, so it is a fault; the node kills such a worker and starts another."""
    own, others = socket.socketpair()
    ended: list[bool] = []
    await talk_over(own, lambda body: [][int(body)], lambda: ended.append(True))
    with others:
        others.sendall(b"\x00\x00\x00\x011")
        await wait_until(lambda: ended == [True])


async def test_too_many_questions_are_not_asked(talking: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node would take the worker for mad and end it, with all its viewers; who asked is told at once instead."""
    monkeypatch.setattr(line_module, "ASKS_MAX", 2)
    viewing = NodeViewing(talking.line)
    asking = [asyncio.create_task(viewing.ends()) for _ in range(2)]
    await wait_until(lambda: len(talking.heard) == 2)
    with pytest.raises(StoreAway, match="questions"):
        await viewing.ends()
    for ask in talking.heard:
        assert isinstance(ask, Ask)
        talking.node.say(Answer(ask.id, msgspec.msgpack.encode(Ends({}, {}))))
    assert await asyncio.gather(*asking) == [Ends({}, {})] * 2
    assert len(talking.heard) == 2
