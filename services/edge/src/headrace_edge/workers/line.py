"""A worker's side of the socket to its node: what it is told, what it asks, what it reports."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec
import structlog

from headrace.access.viewing import TooManyRevoked
from headrace.registry.leases import StoreAway
from headrace_edge.workers.messages import (
    LENGTH,
    MESSAGE_MAX_BYTES,
    Answer,
    Ask,
    Hello,
    Others,
    Report,
    View,
    decode_from_node,
)
from headrace_edge.workers.seeing import Seen
from headrace_edge.workers.talk import Talk, talk_over

ASK_SECONDS: Final = 3.0
"""How long the node may take to answer: it may have to ask a store, which has less."""

ASKS_MAX: Final = 5_000
"""Most questions at once: half of what the node answers, which goes on for a moment with those that were given up."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


def receive_hello(own: socket.socket) -> Hello:
    """Return the first message, before there is an event loop.

    Raises:
        EOFError: when the node is gone, or says something else.
    """
    (length,) = LENGTH.unpack(_receive(own, LENGTH.size))
    message = decode_from_node(_receive(own, min(length, MESSAGE_MAX_BYTES)))
    if not isinstance(message, Hello):
        raise EOFError("the node said no hello")
    return message


def _receive(own: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = own.recv(size - len(received))
        if not part:
            raise EOFError("the node is gone")
        received += part
    return received


class Line:
    """The conversation; a component with `start` and `stop`.

    When the node is gone the worker ends as if it had been told to.

    Args:
        own: the socket, after the hello.
        seen: keeps what is told of the cluster.

    Attributes:
        on_others: called with the number of viewers that the other workers have.
    """

    def __init__(self, own: socket.socket, seen: Seen) -> None:
        self.on_others: Callable[[int], None] = lambda viewers: None
        self._own = own
        self._seen = seen
        self._talk: Talk | None = None
        self._began = asyncio.Event()
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._asks = 0
        self._stopping = False

    async def start(self) -> None:
        """Begin to hear, and wait for the first view of the cluster."""
        self._talk = await talk_over(self._own, self._hear, self._ended)
        await self._began.wait()

    async def stop(self) -> None:
        """Say and hear nothing more."""
        self._stopping = True
        if self._talk is not None:
            self._talk.close()

    def report(self, report: Report) -> None:
        """Tell the node how it goes."""
        if self._talk is not None:
            self._talk.say(report)

    async def ask(self, what: str, about: object, kind: type[T]) -> T:
        """Return the node's answer; see `headrace_edge.workers.viewing.Asking`."""
        if self._talk is None or not self._talk.is_open:
            raise StoreAway("the node is gone")
        if len(self._asked) >= ASKS_MAX:
            raise StoreAway(f"{ASKS_MAX} questions wait for the node already")
        self._asks = number = self._asks + 1
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[number] = answered
        try:
            self._talk.say(Ask(number, what, msgspec.msgpack.encode(about)))
            async with asyncio.timeout(ASK_SECONDS):
                answer = await answered
        except TimeoutError:
            raise StoreAway(f"the node did not answer within {ASK_SECONDS:g} s") from None
        finally:
            self._asked.pop(number, None)
        if answer.error == "full":
            raise TooManyRevoked
        if answer.error:
            raise StoreAway(answer.reason)
        return msgspec.msgpack.decode(answer.result, type=kind)

    async def metrics(self) -> bytes:
        """Return what the node and all its workers count; for the probes."""
        try:
            return await self.ask("metrics", None, bytes)
        except StoreAway as error:
            raise ConnectionError(str(error)) from error

    async def problems(self) -> Mapping[str, str]:
        """Return what is wrong with the node; for the probes."""
        try:
            return await self.ask("problems", None, dict[str, str])
        except StoreAway as error:
            return {"node": str(error)}

    # -- what the node says ----------------------------------------------------------------------------------------

    def _hear(self, body: bytes) -> None:
        message = decode_from_node(body)
        match message:
            case View():
                self._seen.take(message)
                self._began.set()
            case Others(viewers):
                self.on_others(viewers)
            case Answer(id):
                answered = self._asked.get(id)
                if answered is not None and not answered.done():
                    answered.set_result(message)
            case Hello():
                raise ValueError("a second hello")

    def _ended(self) -> None:
        for answered in self._asked.values():
            if not answered.done():
                answered.set_result(Answer(0, error="away", reason="the node is gone"))
        if not self._stopping:
            log.warning("node_gone")
            os.kill(os.getpid(), signal.SIGTERM)
