"""Licences and policies by order in Redis or Valkey.

| key (`P` is the registry's prefix) | type | TTL | holds |
|---|---|---|---|
| `{P}:licences` | hash | none | licences by key, as JSON |
| `{P}:policies` | hash | none | policies by names of streams |
| `{P}:access-turn` | number | none | how often both have changed |
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

import msgspec
import structlog

from headrace.access.licences import LICENCES_MAX, Licence
from headrace.access.policy import MODES, Mode
from headrace.access.rules import POLICIES_MAX, AccessRules, TooManyRules
from headrace.registry.redis_connection import Call, RedisConnection
from headrace.registry.redis_scripts import Script

PUT: Final = """
-- KEYS: a hash, turn. ARGV: field, what is there now ('' nothing, '*' whatever), what is to be there ('' nothing), most
local there = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if there == ARGV[3] then return ARGV[3] == '' and 'other' or 'put' end
if ARGV[2] ~= '*' and there ~= ARGV[2] then return 'other' end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  if there == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 'full' end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
redis.call('INCR', KEYS[2])
return 'put'
"""

RESTORE: Final = """
-- KEYS: licences, policies, turn. ARGV: turn, number of licences, then pairs: key and licence, pattern and mode
if tonumber(redis.call('GET', KEYS[3]) or '0') >= tonumber(ARGV[1]) then return 'known' end
local last = 2 + ARGV[2] * 2
for place = 3, #ARGV, 2 do
  redis.call('HSETNX', KEYS[place <= last and 1 or 2], ARGV[place], ARGV[place + 1])
end
redis.call('SET', KEYS[3], ARGV[1] + 1)
return 'restored'
"""


log = structlog.get_logger(__name__)


class RedisRules:
    """Rules that all edges of a cluster share.

    Args:
        connection: to the store.
        tag: the hash tag of all keys, braces included.
        run: runs scripts there, in one exchange.
        put, restore: the scripts.
    """

    def __init__(
        self,
        connection: RedisConnection,
        tag: str,
        run: Callable[[Sequence[Call]], Awaitable[list[Any]]],
        put: Script,
        restore: Script,
    ) -> None:
        self._connection = connection
        self._licences, self._policies = f"{tag}:licences", f"{tag}:policies"
        self.turn_key = f"{tag}:access-turn"
        self._run = run
        self._put_script = put
        self._restore_script = restore

    async def read(self) -> AccessRules:
        async with self._connection.client() as client, client.pipeline(transaction=True) as pipeline:
            pipeline.get(self.turn_key)
            pipeline.hvals(self._licences)
            pipeline.hgetall(self._policies)
            turn, licences, policies = await pipeline.execute()
        known = {pattern.decode(): mode.decode() for pattern, mode in policies.items()}
        return AccessRules(
            int(turn or 0),
            # What a newer control API may have written and this edge does not know lets nobody in.
            tuple(filter(None, map(_licence, licences))),
            {pattern: cast("Mode", mode if mode in MODES else "token") for pattern, mode in known.items()},
        )

    async def put_licence(self, new: Licence, old: Licence | None = None) -> bool:
        before = b"" if old is None else msgspec.json.encode(old)
        return await self._put(self._licences, new.key, before, msgspec.json.encode(new), LICENCES_MAX)

    async def remove_licence(self, key: str) -> bool:
        return await self._put(self._licences, key, b"*", b"", LICENCES_MAX)

    async def put_policy(self, pattern: str, mode: Mode) -> None:
        await self._put(self._policies, pattern, b"*", mode.encode(), POLICIES_MAX)

    async def remove_policy(self, pattern: str) -> bool:
        return await self._put(self._policies, pattern, b"*", b"", POLICIES_MAX)

    async def restore(self, known: AccessRules) -> None:
        pairs: list[Any] = [part for each in known.licences for part in (each.key, msgspec.json.encode(each))]
        pairs += [part for pair in known.policies.items() for part in pair]
        keys = [self._licences, self._policies, self.turn_key]
        await self._run([(self._restore_script, keys, [known.turn, len(known.licences), *pairs])])

    async def _put(self, hash_key: str, name: str, before: bytes, after: bytes, most: int) -> bool:
        keys = [hash_key, self.turn_key]
        (answer,) = await self._run([(self._put_script, keys, [name, before, after, most])])
        if answer == b"full":
            raise TooManyRules
        return bool(answer == b"put")


def _licence(text: bytes) -> Licence | None:
    try:
        return msgspec.json.decode(text, type=Licence)
    except (msgspec.DecodeError, RecursionError) as error:
        log.warning("licence_not_read", reason=str(error))
        return None
