"""What the store does in one step: the Lua scripts of the registry.

They run in Redis 5 and later, Valkey included, and touch no key that is not named in KEYS. Times are the store's own.
What stands under a key of ours and is none of ours is somebody's mistake and in nobody's way: another type is deleted
where it would be read, a lease without an end or without JSON is written over.

A lease is a hash of `rank`, `holder` and `record` with a TTL; an index is a sorted set of `kind:name` by the end of
the lease in milliseconds, so that reading everything needs neither KEYS nor SCAN and an end is noticed by whoever
renews next. A change is told as `how kind:name record` on a channel. Edges have an index and a channel of their own.

A desired record is a field of the hash of its kind, `<revision> <JSON>`; what was dropped stands in a sorted set by
the revision of that, which is a time in milliseconds at least. Revisions and generations are never less than the
store's time, so they grow though the store was flushed or failed over to one that knew less. Numbers that nothing of
ours can have written (`headrace.registry.records`) count as none: whoever went on from one would have no room.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from headrace.registry.records import EPOCHS_MAX, MILLISECONDS_MAX, SECONDS_MAX, SEGMENT_MAX

_COMMON = (
    f"""
local most = {{
  rank = {MILLISECONDS_MAX}, grown = {MILLISECONDS_MAX - 1}, epoch = {MILLISECONDS_MAX // 2},
  next_segment = {SEGMENT_MAX // 2}, end_seconds = {SECONDS_MAX // 2}, epochs = {EPOCHS_MAX // 2}
}}
"""
    + """
local function plausible(text, limit)
  local number = tonumber(text or '')
  return number and number >= 0 and number <= limit and number or nil
end
local function claim(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function text(number) return string.format('%.0f', number) end
local function grant(floor, known)
  return math.max(now_ms(), (plausible(floor, most.grown) or 0) + 1, (plausible(known, most.grown) or 0) + 1)
end
local function revision(stored)
  return plausible(string.match(stored or '', '^(%d+) '), most.rank) or 0
end
local function believable(key, record)
  if redis.call('PTTL', key) < 0 then return false end
  local read, value = pcall(cjson.decode, record or '')
  return read and type(value) == 'table'
end
"""
)


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
-- ARGV: rank, holder, record, milliseconds, member, channel or '' [, next_segment, end_seconds, epoch, epochs]
-- Returns nil when it was written, else the record of the lease that is right, or `past <epoch> <holder>`.
claim(KEYS[1], 'hash')
claim(KEYS[2], 'zset')
local held = redis.call('HMGET', KEYS[1], 'rank', 'holder', 'record')
local rank, mine = tonumber(held[1] or ''), tonumber(ARGV[1])
local other = rank and rank <= most.rank and held[2] and believable(KEYS[1], held[3])
if other and (rank > mine or (rank == mine and held[2] < ARGV[2])) then
  return held[3]
end
if KEYS[3] then
  claim(KEYS[3], 'hash')
  local last = redis.call('HMGET', KEYS[3], 'epoch', 'holder')
  local epoch = plausible(last[1], most.epoch)
  if epoch and epoch > mine and last[2] then
    return 'past ' .. text(epoch) .. ' ' .. last[2]
  end
end
redis.call('HSET', KEYS[1], 'rank', ARGV[1], 'holder', ARGV[2], 'record', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], text(now_ms() + ARGV[4]), ARGV[5])
if KEYS[3] then
  for place, field in ipairs({'next_segment', 'end_seconds', 'epoch', 'epochs'}) do
    local known, told = plausible(redis.call('HGET', KEYS[3], field), most[field]), ARGV[6 + place]
    if not known or known < tonumber(told) then redis.call('HSET', KEYS[3], field, told) end
  end
  redis.call('HSET', KEYS[3], 'holder', ARGV[2])
end
if ARGV[6] ~= '' then redis.call('PUBLISH', ARGV[6], 'put ' .. ARGV[5] .. ' ' .. ARGV[3]) end
return nil
""")
"""Write a lease unless a right one is there or was; let its durable numbers grow; tell."""

RENEW: Final = _script("""
-- KEYS: index, index of edges, leases
-- ARGV: milliseconds, channel, channel of edges, most ends to tell, then rank, holder, member and which index (1 or 2)
-- Returns 1 for each lease that was renewed, 0 for each that is gone or another's.
claim(KEYS[1], 'zset')
claim(KEYS[2], 'zset')
local now, answers = now_ms(), {}
for place = 3, #KEYS do
  local base = 4 + (place - 3) * 4
  claim(KEYS[place], 'hash')
  local held = redis.call('HMGET', KEYS[place], 'rank', 'holder')
  local ours = held[1] == ARGV[base + 1] and held[2] == ARGV[base + 2]
  if ours then
    redis.call('PEXPIRE', KEYS[place], ARGV[1])
    redis.call('ZADD', KEYS[tonumber(ARGV[base + 4])], text(now + ARGV[1]), ARGV[base + 3])
  end
  answers[place - 2] = ours and 1 or 0
end
for index = 1, 2 do
  local over = redis.call('ZRANGEBYSCORE', KEYS[index], '-inf', text(now), 'LIMIT', 0, ARGV[4])
  for _, member in ipairs(over) do
    redis.call('ZREM', KEYS[index], member)
    redis.call('PUBLISH', ARGV[1 + index], 'expired ' .. member .. ' ')
  end
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

CLAIM: Final = _script("""
-- KEYS: lease, index, counter
-- ARGV: holder, record with "generation":0, milliseconds, member, channel, floor
-- Returns {rank, record} when it was granted, else {'0', record of the one that holds}.
claim(KEYS[1], 'hash')
claim(KEYS[2], 'zset')
local held = redis.call('HMGET', KEYS[1], 'rank', 'holder', 'record')
if held[2] and held[2] ~= ARGV[1] and tonumber(held[1] or '') and believable(KEYS[1], held[3]) then
  return {'0', held[3]}
end
claim(KEYS[3], 'hash')
local last = plausible(redis.call('HGET', KEYS[3], 'generation'), most.grown) or 0
local rank = text(grant(ARGV[6], math.max(last, plausible(held[1], most.grown) or 0)))
redis.call('HSET', KEYS[3], 'generation', rank)
local record = string.gsub(ARGV[2], '"generation":0', '"generation":' .. rank, 1)
redis.call('HSET', KEYS[1], 'rank', rank, 'holder', ARGV[1], 'record', record)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], text(now_ms() + ARGV[3]), ARGV[4])
redis.call('PUBLISH', ARGV[5], 'put ' .. ARGV[4] .. ' ' .. record)
return {rank, record}
""")
"""Take a lease that nobody holds, under a generation that was never given out; tell."""

UPDATE: Final = _script("""
-- KEYS: lease, index
-- ARGV: rank, holder, record, milliseconds, member, channel
-- Returns 1, or 0 when the lease is gone or another's.
claim(KEYS[1], 'hash')
claim(KEYS[2], 'zset')
local held = redis.call('HMGET', KEYS[1], 'rank', 'holder')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'record', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], text(now_ms() + ARGV[4]), ARGV[5])
redis.call('PUBLISH', ARGV[6], 'put ' .. ARGV[5] .. ' ' .. ARGV[3])
return 1
""")
"""Write a claimed lease again, and let it live, if it is the caller's; tell."""

PUT_DESIRED: Final = _script("""
-- KEYS: records of the kind, dropped
-- ARGV: key, JSON, expected revision or -1, floor, most of the kind, member, channel
-- Returns {'put', as stored}, {'conflict', revision} or {'limit', ''}.
claim(KEYS[1], 'hash')
claim(KEYS[2], 'zset')
local stored = redis.call('HGET', KEYS[1], ARGV[1])
local current, expect = revision(stored), tonumber(ARGV[3])
if expect >= 0 and expect ~= current then return {'conflict', text(current)} end
if current == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[5]) then return {'limit', ''} end
local dropped = plausible(redis.call('ZSCORE', KEYS[2], ARGV[1]), most.grown) or 0
local written = text(grant(ARGV[4], math.max(current, dropped))) .. ' ' .. ARGV[2]
redis.call('HSET', KEYS[1], ARGV[1], written)
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('PUBLISH', ARGV[7], 'put ' .. ARGV[6] .. ' ' .. written)
return {'put', written}
""")
"""Write a desired record if the one that is there is the one expected; tell."""

DROP_DESIRED: Final = _script("""
-- KEYS: records of the kind, dropped
-- ARGV: key, expected revision or -1, floor, milliseconds to remember, most to remember, member, channel
-- Returns {'dropped', revision}, {'conflict', revision} or {'none', ''}.
claim(KEYS[1], 'hash')
claim(KEYS[2], 'zset')
local current, expect = revision(redis.call('HGET', KEYS[1], ARGV[1])), tonumber(ARGV[2])
if expect >= 0 and expect ~= current then return {'conflict', text(current)} end
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return {'none', ''} end
local dropped = text(grant(ARGV[3], current))
redis.call('ZADD', KEYS[2], dropped, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now_ms() - ARGV[4]))
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - ARGV[5])
redis.call('PUBLISH', ARGV[7], 'removed ' .. ARGV[6] .. ' ' .. dropped .. ' ')
return {'dropped', dropped}
""")
"""Remove a desired record if it is the one expected, and remember that; tell."""

RESTORE_DESIRED: Final = _script("""
-- KEYS: records of the kind, dropped
-- ARGV: key, as it was stored, most of the kind, member, channel
claim(KEYS[1], 'hash')
claim(KEYS[2], 'zset')
local known = revision(ARGV[2])
local current = revision(redis.call('HGET', KEYS[1], ARGV[1]))
local dropped = plausible(redis.call('ZSCORE', KEYS[2], ARGV[1]), most.grown) or 0
if current >= known or dropped >= known then return 0 end
if current == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PUBLISH', ARGV[5], 'put ' .. ARGV[4] .. ' ' .. ARGV[2])
return 1
""")
"""Write a desired record that the store lost, unless it knows better; tell."""

ALL: Final = (PUT, RENEW, REMOVE, CLAIM, UPDATE, PUT_DESIRED, DROP_DESIRED, RESTORE_DESIRED)
