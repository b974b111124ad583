"""Viewing sessions and revocations in Redis or Valkey.

| key (`P` is the registry's prefix) | type | TTL | holds |
|---|---|---|---|
| `{P}:viewing:<token id>` | sorted set | 2 leases | sessions by the end of their lease, ms of the store's clock |
| `{P}:viewers:<token id>` | hash | 2 leases | who holds each session |
| `{P}:revoked` | sorted set | none; entries leave when they end | token ids by when they may be forgotten, UTC in s |

A token's id may be anything, so keys have its digest. Each script is one step in the store, and bears to be run twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.exceptions import NoScriptError

from headrace.access.viewing import REVOKED_MAX, Answer, Seat, TooManyRevoked
from headrace.registry.redis_connection import RedisConnection
from headrace.registry.redis_scripts import Script
from headrace.registry.redis_url import parse_store_url

SEATS_A_CALL: Final = 500
"""Most sessions of one exchange: some 50 KB."""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function sweep()
  local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 500)
  if #over > 0 then
    redis.call('ZREM', KEYS[1], unpack(over))
    redis.call('HDEL', KEYS[2], unpack(over))
  end
end
local function keep(session, holder, lease)
  redis.call('ZADD', KEYS[1], now + lease, session)
  redis.call('HSET', KEYS[2], session, holder)
  redis.call('PEXPIRE', KEYS[1], lease * 2)
  redis.call('PEXPIRE', KEYS[2], lease * 2)
  return 'held'
end
"""


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


ENTER: Final = _script(
    _NOW
    + """
-- KEYS: sessions, holders. ARGV: session, holder, most, lease in ms, '1' when only a free or own one may be taken
sweep()
local there = redis.call('ZSCORE', KEYS[1], ARGV[1])
if there and ARGV[5] == '1' and redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 'taken' end
if not there and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 'full' end
return keep(ARGV[1], ARGV[2], tonumber(ARGV[4]))
"""
)

LEAVE: Final = _script(
    """
-- KEYS: sessions, holders. ARGV: session, holder
if redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[2] then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
end
return 'left'
"""
)

REVOKE: Final = _script(
    """
-- KEYS: revoked. ARGV: most, then pairs of id and end
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time[1])
for place = 2, #ARGV, 2 do
  local known = redis.call('ZSCORE', KEYS[1], ARGV[place])
  if not known and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 'full' end
  if not known or tonumber(known) < tonumber(ARGV[place + 1]) then
    redis.call('ZADD', KEYS[1], ARGV[place + 1], ARGV[place])
  end
end
return 'held'
"""
)

_ALL = (ENTER, LEAVE, REVOKE)
_Call = tuple[Script, list[str], list[Any]]


class RedisViewing:
    """Sessions and revocations that all edges of a cluster share.

    Args:
        url, prefix: the registry's.
        lease_seconds: how long a session outlives an edge that died.
        deadline: bounds every exchange, in seconds.

    Raises:
        ValueError: as `parse_store_url`.
    """

    def __init__(self, url: str, prefix: str, lease_seconds: float, deadline: float = 1.0) -> None:
        self._tag = f"{{{prefix}}}"
        self._lease_ms = round(lease_seconds * 1000)
        self._connection = RedisConnection(parse_store_url(url), self._tag, deadline)

    async def enter(self, seat: Seat) -> Answer:
        (answer,) = await self._run([self._enter(seat, renew=False)])
        return Answer(answer.decode())

    async def renew(self, seats: Sequence[Seat]) -> list[Answer]:
        answers: list[Answer] = []
        for first in range(0, len(seats), SEATS_A_CALL):
            calls = [self._enter(seat, renew=True) for seat in seats[first : first + SEATS_A_CALL]]
            answers += [Answer(answer.decode()) for answer in await self._run(calls)]
        return answers

    async def leave(self, seats: Sequence[Seat]) -> None:
        for first in range(0, len(seats), SEATS_A_CALL):
            part = seats[first : first + SEATS_A_CALL]
            await self._run([(LEAVE, self._keys(seat), [seat.session, seat.holder]) for seat in part])

    async def revoke(self, token: str, until: float) -> None:
        await self.restore({token: until})

    async def revoked(self) -> Mapping[str, float]:
        async with self._connection.client() as client:
            found: Any = await client.zrange(self._revoked, 0, -1, withscores=True)
        return {name.decode(errors="replace"): float(until) for name, until in found}

    async def restore(self, revoked: Mapping[str, float]) -> None:
        pairs = [part for token, until in revoked.items() for part in (token, round(until))]
        if pairs:
            (answer,) = await self._run([(REVOKE, [self._revoked], [REVOKED_MAX, *pairs])])
            if answer == b"full":
                raise TooManyRevoked

    async def close(self) -> None:
        """Let go of the connections."""
        await self._connection.close()

    @property
    def _revoked(self) -> str:
        return f"{self._tag}:revoked"

    def _enter(self, seat: Seat, *, renew: bool) -> _Call:
        arguments = [seat.session, seat.holder, seat.viewers_max, self._lease_ms, int(renew)]
        return ENTER, self._keys(seat), arguments

    def _keys(self, seat: Seat) -> list[str]:
        name = hashlib.sha256(seat.token.encode()).hexdigest()[:32]
        return [f"{self._tag}:viewing:{name}", f"{self._tag}:viewers:{name}"]

    async def _run(self, calls: Sequence[_Call]) -> list[Any]:
        async with self._connection.client() as client:
            for _ in range(2):
                async with client.pipeline(transaction=False) as pipeline:
                    for script, keys, arguments in calls:
                        pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
                    answers: list[Any] = await pipeline.execute(raise_on_error=False)
                if not any(isinstance(answer, NoScriptError) for answer in answers):
                    break
                for script in _ALL:
                    await client.script_load(script.text)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers
