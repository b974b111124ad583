"""Hearing of changes through Redis, and of not hearing any more."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

from redis.asyncio.client import PubSub

from headrace.registry.leases import Change, How, Kind, LeaseKey, StoreAway
from headrace.registry.records import RECORD_MAX_BYTES
from headrace.registry.redis_connection import RedisConnection

CHANGES_MAX: Final = 1000
"""Most changes taken from the socket before the view is brought up to date."""

_MEMBER = re.compile(rb"(node|stream|claim|desired):([\x21-\x7e]{1,256})")
_EVENT_MAX_BYTES: Final = RECORD_MAX_BYTES + 512
_HOWS: Final = {how.value.encode(): how for how in How}


class RedisChanges:
    """A subscription that notices when it is dead, or was silently made anew."""

    def __init__(self, connection: RedisConnection, subscription: PubSub, edges: str) -> None:
        """Take over a subscription to the main channel; `edges` is the channel of edges."""
        self._connection = connection
        self._subscription = subscription
        self._edges = edges
        self._expected = {b"subscribe": 0, b"unsubscribe": 0}
        self._follows_edges = False
        self._asked = self._heard = _now()

    async def follow_edges(self, wanted: bool) -> None:
        if wanted == self._follows_edges:
            return
        self._follows_edges = wanted
        with self._connection.errors():
            async with asyncio.timeout(self._connection.deadline):
                self._expected[b"subscribe" if wanted else b"unsubscribe"] += 1
                await (self._subscription.subscribe if wanted else self._subscription.unsubscribe)(self._edges)

    async def next(self, timeout: float) -> list[Change]:
        with self._connection.errors():
            await self._prove()
            async with asyncio.timeout(timeout + self._connection.deadline):  # it may connect anew by itself
                message = await self._subscription.get_message(timeout=timeout)
            changes: list[Change] = []
            while message is not None:
                self._heard = _now()
                changes += self._read(message)
                if len(changes) >= CHANGES_MAX:
                    break
                message = await self._subscription.get_message(timeout=0)
            return changes

    async def _prove(self) -> None:
        """Ask for a sign of life when there was none for a while; give up when it does not come."""
        now = _now()
        if self._heard < self._asked and now - self._asked >= self._connection.deadline:
            raise TimeoutError
        if self._heard >= self._asked and now - self._heard >= self._connection.deadline / 2:
            self._asked = now
            async with asyncio.timeout(self._connection.deadline):
                await self._subscription.ping()

    def _read(self, message: dict[str, Any]) -> list[Change]:
        kind = message["type"]
        if kind == "message":
            change = parse_change(message["data"])
            return [change] if change is not None else []
        if kind == "pong":
            return []
        word = str(kind).encode()
        if message["channel"] == self._edges.encode() and self._expected.get(word):
            self._expected[word] -= 1
            return []
        # The client connected anew by itself: what happened meanwhile is lost.
        raise StoreAway("the subscription was interrupted")


def parse_member(member: bytes) -> LeaseKey | None:
    """Return the lease that a member of an index stands for, `None` for one that is not ours."""
    match = _MEMBER.fullmatch(member)
    return LeaseKey(Kind(match[1].decode()), match[2].decode()) if match else None


def parse_change(data: bytes) -> Change | None:
    """Return the change that was told; `None` for what is not ours."""
    if len(data) > _EVENT_MAX_BYTES:
        return None
    how, _, rest = data.partition(b" ")
    member, _, record = rest.partition(b" ")
    key = parse_member(member)
    if key is None or how not in _HOWS:
        return None
    return Change(key, _HOWS[how], record)


def _now() -> float:
    return asyncio.get_running_loop().time()
