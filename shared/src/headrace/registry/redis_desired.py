"""Desired records in Redis: a hash for each kind, and a sorted set of what was dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from headrace.registry.desired import DESIRED_MAX, DesiredConflict, DesiredKey, DesiredKind, DesiredLimit, parse_key
from headrace.registry.leases import DROPPED_MAX, DROPPED_SECONDS, DesiredReading
from headrace.registry.records import MILLISECONDS_MAX
from headrace.registry.redis_connection import RedisConnection
from headrace.registry.redis_scripts import DROP_DESIRED, PUT_DESIRED, RESTORE_DESIRED

SCAN_COUNT: Final = 500
"""About how many records are read in one exchange."""


async def read(connection: RedisConnection, tag: str) -> DesiredReading:
    """Return everything; a record that changes meanwhile is told on the channel as well."""
    stored: dict[DesiredKey, bytes] = {}
    for kind in DesiredKind:
        cursor = 0
        while True:
            async with connection.client() as client:
                if await client.type(_records(tag, kind)) not in (b"hash", b"none"):
                    break  # somebody's mistake; the next that writes repairs it
                answer: Any = await client.hscan(_records(tag, kind), cursor, count=SCAN_COUNT)
            cursor, found = answer
            stored |= {key: data for name, data in found.items() if (key := _parse(name)) is not None}
            if not int(cursor):
                break
    async with connection.client() as client:
        right = await client.type(_dropped(tag)) in (b"zset", b"none")
        scores: Any = await client.zrange(_dropped(tag), 0, -1, withscores=True) if right else ()
    known = [(name, score) for name, score in scores if 0 <= score <= MILLISECONDS_MAX]
    dropped = {key: int(score) for name, score in known if (key := _parse(name)) is not None}
    return DesiredReading(stored, dropped)


async def put(
    connection: RedisConnection, tag: str, key: DesiredKey, data: bytes, expect: int | None, floor: int
) -> bytes:
    """Write one; see `LeaseStore.put_desired`."""
    expected = -1 if expect is None else expect
    arguments = [str(key), data, expected, floor, DESIRED_MAX, *_telling(tag, key)]
    how, answer = (await connection.run([(PUT_DESIRED, _keys(tag, key), arguments)]))[0]
    if how == b"conflict":
        raise DesiredConflict(key, int(answer))
    if how == b"limit":
        raise DesiredLimit(key.kind)
    return bytes(answer)


async def drop(connection: RedisConnection, tag: str, key: DesiredKey, expect: int | None, floor: int) -> int | None:
    """Remove one; see `LeaseStore.drop_desired`."""
    expected, remembered = -1 if expect is None else expect, round(DROPPED_SECONDS * 1000)
    arguments = [str(key), expected, floor, remembered, DROPPED_MAX, *_telling(tag, key)]
    how, answer = (await connection.run([(DROP_DESIRED, _keys(tag, key), arguments)]))[0]
    if how == b"conflict":
        raise DesiredConflict(key, int(answer))
    return int(answer) if how == b"dropped" else None


async def restore(connection: RedisConnection, tag: str, entries: Sequence[tuple[DesiredKey, bytes]]) -> None:
    """Write what was lost; see `LeaseStore.restore_desired`."""
    calls = [
        (RESTORE_DESIRED, _keys(tag, key), [str(key), stored, DESIRED_MAX, *_telling(tag, key)])
        for key, stored in entries
    ]
    await connection.run(calls)


def _parse(name: bytes) -> DesiredKey | None:
    return parse_key(name.decode("ascii", "replace"))


def _keys(tag: str, key: DesiredKey) -> list[str]:
    return [_records(tag, key.kind), _dropped(tag)]


def _records(tag: str, kind: DesiredKind) -> str:
    return f"{tag}:desired:{kind.value}"


def _dropped(tag: str) -> str:
    return f"{tag}:dropped"


def _telling(tag: str, key: DesiredKey) -> list[Any]:
    return [f"desired:{key}", f"{tag}:changes"]
