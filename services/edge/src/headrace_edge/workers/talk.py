"""The socket between a node and one of its workers, on either side."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import structlog

from headrace_edge.workers.messages import Framing, FromNode, FromWorker, encode_message

log = structlog.get_logger(__name__)


class Talk(asyncio.Protocol):
    """One side of the conversation.

    Args:
        hear: called with the body of each message; what it raises ends the conversation.
        on_end: called once, when the other side is gone.
    """

    def __init__(self, hear: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self._hear = hear
        self._on_end = on_end
        self._framing = Framing()
        self._transport: asyncio.Transport | None = None

    @property
    def unsent_bytes(self) -> int:
        """How much the other side has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def is_open(self) -> bool:
        """Whether the other side is there."""
        return self._transport is not None and not self._transport.is_closing()

    def say(self, message: FromNode | FromWorker) -> None:
        """Send a message; nothing happens when nobody hears."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode_message(message))

    def close(self) -> None:
        """End the conversation."""
        if self._transport is not None:
            self._transport.close()

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._framing.feed(data):
                self._hear(body)
        except Exception:
            log.exception("talk_failed")  # both sides are ours: a fault, and the worker begins anew
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_end()


async def talk_over(own: socket.socket, hear: Callable[[bytes], None], on_end: Callable[[], None]) -> Talk:
    """Return the conversation over a connected socket, which is its own from now on."""
    own.setblocking(False)
    _, talk = await asyncio.get_running_loop().create_connection(lambda: Talk(hear, on_end), sock=own)
    return talk
