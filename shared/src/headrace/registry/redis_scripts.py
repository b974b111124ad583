"""What the store does in one step: the Lua scripts of the registry.

They run in Redis 5 and later, Valkey included, and touch no key that is not named in KEYS. Times are the store's own.
What stands under a key of ours and is none of ours is somebody's mistake and in nobody's way: another type is deleted
where it would be read, a lease without an end or without JSON is written over.

A lease is a hash of `rank`, `holder` and `record` with a TTL; the index is a sorted set of `kind:name` by the end of
the lease in milliseconds, so that reading everything needs neither KEYS nor SCAN and an end is noticed by whoever
renews next. A change is told as `how kind:name record` on one channel.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

_COMMON = """
local function claim(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function believable(key, record)
  if redis.call('PTTL', key) < 0 then return false end
  local read, value = pcall(cjson.decode, record or '')
  return read and type(value) == 'table'
end
"""


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the digest that the store knows it by."""

    text: str
    sha: str


def _script(body: str) -> Script:
    text = _COMMON + body
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


PUT: Final = _script("""
-- KEYS: lease, index [, numbers]
-- ARGV: rank, holder, record, milliseconds, member, channel [, next_segment, end_seconds, epoch]
-- Returns nil when it was written, else the record of the lease that is right.
claim(KEYS[1], 'hash')
claim(KEYS[2], 'zset')
local held = redis.call('HMGET', KEYS[1], 'rank', 'holder', 'record')
local rank, mine = tonumber(held[1] or ''), tonumber(ARGV[1])
if rank and held[2] and (rank > mine or (rank == mine and held[2] < ARGV[2])) and believable(KEYS[1], held[3]) then
  return held[3]
end
redis.call('HSET', KEYS[1], 'rank', ARGV[1], 'holder', ARGV[2], 'record', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], string.format('%.0f', now_ms() + ARGV[4]), ARGV[5])
if KEYS[3] then
  claim(KEYS[3], 'hash')
  for place, field in ipairs({'next_segment', 'end_seconds', 'epoch'}) do
    local known, told = tonumber(redis.call('HGET', KEYS[3], field) or ''), ARGV[6 + place]
    local grown = known and known >= tonumber(told) and known <= 2 ^ 53
    if not grown then redis.call('HSET', KEYS[3], field, told) end
  end
end
redis.call('PUBLISH', ARGV[6], 'put ' .. ARGV[5] .. ' ' .. ARGV[3])
return nil
""")
"""Write a lease unless a right one is there; let its durable numbers grow; tell."""

RENEW: Final = _script("""
-- KEYS: index, leases
-- ARGV: milliseconds, channel, most ends to tell, then rank, holder and member of each lease
-- Returns 1 for each lease that was renewed, 0 for each that is gone or another's.
claim(KEYS[1], 'zset')
local now, answers = now_ms(), {}
for place = 2, #KEYS do
  local base = 3 + (place - 2) * 3
  claim(KEYS[place], 'hash')
  local held = redis.call('HMGET', KEYS[place], 'rank', 'holder')
  local ours = held[1] == ARGV[base + 1] and held[2] == ARGV[base + 2]
  if ours then
    redis.call('PEXPIRE', KEYS[place], ARGV[1])
    redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[1]), ARGV[base + 3])
  end
  answers[place - 1] = ours and 1 or 0
end
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[3])
for _, member in ipairs(over) do
  redis.call('ZREM', KEYS[1], member)
  redis.call('PUBLISH', ARGV[2], 'expired ' .. member .. ' ')
end
return answers
""")
"""Let leases live on, as far as they are the caller's; then tell whose time is over."""

REMOVE: Final = _script("""
-- KEYS: lease, index
-- ARGV: rank, holder, member, channel
claim(KEYS[1], 'hash')
claim(KEYS[2], 'zset')
local held = redis.call('HMGET', KEYS[1], 'rank', 'holder')
if held[1] == ARGV[1] and held[2] == ARGV[2] then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[3])
  redis.call('PUBLISH', ARGV[4], 'removed ' .. ARGV[3] .. ' ')
end
return nil
""")
"""Remove a lease if it is the caller's, and tell."""

ALL: Final = (PUT, RENEW, REMOVE)
