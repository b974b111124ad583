"""Viewers, their sessions, and what must end, in Redis or Valkey.

| key (`P` is the registry's prefix) | type | TTL | holds |
|---|---|---|---|
| `{P}:viewing:<token id>` | sorted set | 2 leases | sessions by the end of their lease, ms of the store's clock |
| `{P}:viewers:<token id>` | hash | 2 leases | who holds each session |
| `{P}:revoked` | sorted set | none; entries leave when they end | token ids by when they may be forgotten, UTC in s |
| `{P}:kicked` | sorted set | none; entries leave when they end | ids of viewers by when they may come back, UTC in s |
| `{P}:audiences` | sorted set | 2 leases | edges by the end of their lease, ms of the store's clock |
| `{P}:audience-counts` | hash | 2 leases | by edge how many watch, as JSON |
| `{P}:audience:<node>` | hash | 2 leases | an edge's viewers by id, as JSON |

A token's id may be anything, so keys have its digest. Each script is one step in the store, and bears to be run twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from redis.exceptions import NoScriptError

from headrace.access import redis_rules
from headrace.access.records import AudienceChange, Counts, ViewerRecord
from headrace.access.viewing import (
    KICKED_MAX,
    REVOKED_MAX,
    Answer,
    Ends,
    Seat,
    TooManyKicked,
    TooManyRevoked,
)
from headrace.registry.redis_connection import RedisConnection
from headrace.registry.redis_scripts import Script
from headrace.registry.redis_url import parse_store_url

SEATS_A_CALL: Final = 500
"""Most sessions of one exchange: some 50 KB."""

NODES_MAX: Final = 10_000
"""Most edges whose viewers are counted."""

VIEWERS_A_CALL: Final = 500
"""Most viewers told by one script: some 150 KB, and well under the 8,000 values that Lua unpacks."""

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

TELL: Final = _script(
    """
-- KEYS: audiences, counts, viewers. ARGV: node, lease in ms, counts, '1' to begin anew, how many have gone, their ids,
-- then pairs of id and record
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 500)
if #over > 0 then
  redis.call('ZREM', KEYS[1], unpack(over))
  redis.call('HDEL', KEYS[2], unpack(over))
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
if ARGV[4] == '1' then redis.call('DEL', KEYS[3]) end
local first = 6 + ARGV[5]
for place = 6, first - 1 do redis.call('HDEL', KEYS[3], ARGV[place]) end
for place = first, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[place], ARGV[place + 1]) end
for place = 1, 3 do redis.call('PEXPIRE', KEYS[place], ARGV[2] * 2) end
return redis.call('HLEN', KEYS[3])
"""
)

PUT_RULE: Final = _script(redis_rules.PUT)
RESTORE_RULES: Final = _script(redis_rules.RESTORE)

_ALL = (ENTER, LEAVE, REVOKE, TELL, PUT_RULE, RESTORE_RULES)
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
        self.rules = redis_rules.RedisRules(self._connection, self._tag, self._run, PUT_RULE, RESTORE_RULES)

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
        return (await self.ends()).revoked

    async def ends(self) -> Ends:
        async with self._connection.client() as client, client.pipeline(transaction=False) as pipeline:
            for key in (self._revoked, self._kicked):
                pipeline.zrange(key, 0, -1, withscores=True)
            pipeline.get(self.rules.turn_key)
            revoked, kicked, turn = await pipeline.execute()
        return Ends(_scores(revoked), _scores(kicked), int(turn or 0))

    async def kick(self, viewer: str, until: float) -> None:
        (answer,) = await self._run([(REVOKE, [self._kicked], [KICKED_MAX, viewer, round(until)])])
        if answer == b"full":
            raise TooManyKicked

    async def restore(self, revoked: Mapping[str, float]) -> None:
        pairs = [part for token, until in revoked.items() for part in (token, round(until))]
        if pairs:
            (answer,) = await self._run([(REVOKE, [self._revoked], [REVOKED_MAX, *pairs])])
            if answer == b"full":
                raise TooManyRevoked

    async def tell(self, node: str, change: AudienceChange) -> int:
        counts = msgspec.json.encode(change.counts)
        records = [(record.id, msgspec.json.encode(record)) for record in change.came]
        calls: list[_Call] = []
        for first in range(0, max(len(records), len(change.gone), 1), VIEWERS_A_CALL):
            gone = change.gone[first : first + VIEWERS_A_CALL]
            came = [part for pair in records[first : first + VIEWERS_A_CALL] for part in pair]
            begin = int(change.whole and first == 0)
            calls.append((TELL, self._audience(node), [node, self._lease_ms, counts, begin, len(gone), *gone, *came]))
        return int((await self._run(calls))[-1])

    async def counts(self) -> Mapping[str, Counts]:
        async with self._connection.client() as client:
            now = await client.time()
            living: Any = await client.zrangebyscore(
                self._audiences, now[0] * 1000 + now[1] // 1000, "+inf", start=0, num=NODES_MAX
            )
            found: Any = await client.hmget(self._counts, living) if living else []
        return {
            node.decode(): msgspec.json.decode(text, type=Counts)
            for node, text in zip(living, found, strict=True)
            if text is not None
        }

    async def viewers(self, node: str) -> Sequence[ViewerRecord]:
        async with self._connection.client() as client:
            found: Any = await client.hvals(self._audience(node)[2])
        return [msgspec.json.decode(text, type=ViewerRecord) for text in found]

    async def has(self, viewer: str, nodes: Sequence[str]) -> bool:
        if not nodes:
            return False
        async with self._connection.client() as client, client.pipeline(transaction=False) as pipeline:
            for node in nodes:
                pipeline.hexists(self._audience(node)[2], viewer)
            return any(await pipeline.execute())

    async def close(self) -> None:
        """Let go of the connections."""
        await self._connection.close()

    @property
    def _revoked(self) -> str:
        return f"{self._tag}:revoked"

    @property
    def _kicked(self) -> str:
        return f"{self._tag}:kicked"

    @property
    def _audiences(self) -> str:
        return f"{self._tag}:audiences"

    @property
    def _counts(self) -> str:
        return f"{self._tag}:audience-counts"

    def _audience(self, node: str) -> list[str]:
        return [self._audiences, self._counts, f"{self._tag}:audience:{node}"]

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


def _scores(found: Any) -> dict[str, float]:
    return {name.decode(errors="replace"): float(until) for name, until in found}
