"""A viewer for tests: joins over headrace.play.v1 and keeps what it saw, by identity."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import websockets

from headrace.wire.chunk import Chunk, parse_chunk

SUBPROTOCOL = "headrace.play.v1"

AGAIN_SECONDS = 0.1
"""How long `follow` waits before it connects again."""


@dataclass
class Seen:
    """What a viewer saw.

    Attributes:
        chunks: in the order they came.
        messages: JSON messages in the order they came, heartbeats left out.
        failure: why the connection ended, empty while it has not.
        closings: close codes of the connections that `follow` lost, 0 for one that could not be made.
    """

    chunks: list[Chunk] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""
    closings: list[int] = field(default_factory=list)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """Return the messages of one type."""
        return [message for message in self.messages if message["type"] == kind]

    @property
    def states(self) -> list[str]:
        """The states told, in order."""
        return [message["state"] for message in self.of_type("state")]

    @property
    def epochs(self) -> list[int]:
        """The epochs seen, in order."""
        return list(dict.fromkeys(chunk.id.epoch for chunk in self.chunks))


def out_of_order(chunks: list[Chunk]) -> list[str]:
    """Return what is wrong with the numbers of `chunks`: missing, repeated or out of order; empty when all is well.

    A new epoch begins with chunk 0 of the segment after the last one.
    """
    wrong = []
    last: dict[int, Chunk] = {}
    for chunk in chunks:
        before = last.get(chunk.id.track)
        if before is not None:
            new_epoch = chunk.id.epoch > before.id.epoch
            ok = (
                chunk.id.segment == before.id.segment + 1 and chunk.id.chunk == 0
                if new_epoch
                else before.is_followed_by(chunk.id)
            )
            if not ok:
                wrong.append(f"{chunk.id} after {before.id}{' (end of segment)' if before.ends_segment else ''}")
        last[chunk.id.track] = chunk
    return wrong


async def watch(url: str, seen: Seen, enough: Callable[[Seen], bool], seconds: float) -> Seen:
    """Watch `url` until `enough` says so.

    Raises:
        AssertionError: when that took longer than `seconds`, or the connection ended before.
    """
    async with websockets.connect(url, subprotocols=[websockets.Subprotocol(SUBPROTOCOL)], max_size=2**25) as socket:
        await socket.send(json.dumps({"type": "play", "session": "test"}))
        try:
            async with asyncio.timeout(seconds):
                while not enough(seen):
                    await _take(socket, seen)
        except TimeoutError:
            raise AssertionError(f"not seen within {seconds:g} s: {len(seen.chunks)} chunks, {seen.states}") from None
        except websockets.ConnectionClosed as closed:
            seen.failure = str(closed)
            raise AssertionError(f"the edge closed: {closed}") from closed
    return seen


async def follow(url: str, seen: Seen, session: str = "test") -> None:
    """Watch `url` until cancelled; after a loss connect again and go on after the last chunks, as players do."""
    protocols = [websockets.Subprotocol(SUBPROTOCOL)]
    while True:
        try:
            async with websockets.connect(url, subprotocols=protocols, max_size=2**25) as socket:
                last = {chunk.id.track: chunk.id for chunk in seen.chunks}
                after = {f"{track}": [id.epoch, id.segment, id.chunk] for track, id in last.items()}
                await socket.send(
                    json.dumps({"type": "play", "session": session, **({"after": after} if last else {})})
                )
                while True:
                    await _take(socket, seen)
        except websockets.ConnectionClosed as closed:
            seen.closings.append(closed.rcvd.code if closed.rcvd is not None else 1006)
        except (OSError, websockets.InvalidHandshake):
            seen.closings.append(0)
        await asyncio.sleep(AGAIN_SECONDS)


async def _take(socket: websockets.ClientConnection, seen: Seen) -> None:
    message = await socket.recv()
    if isinstance(message, bytes):
        seen.chunks.append(parse_chunk(message))
        return
    told = json.loads(message)
    if told["type"] == "ping":
        await socket.send(json.dumps({"type": "pong", "id": told["id"]}))
    else:
        seen.messages.append(told)
