"""Viewing sessions and revocations: the same rules in memory and in a real store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace.access.redis_viewing import RedisViewing
from headrace.access.viewing import REVOKED_MAX, Answer, Seat, TooManyRevoked, Viewing
from headrace.clock import SystemClock
from headrace.registry.leases import StoreAway
from headrace.testing import wait_until
from integration.access.rig import VIEWING_LEASE


def seat(session: str, holder: str = "edge-1/1", viewers_max: int = 2, token: str = "t") -> Seat:
    """Return a seat."""
    return Seat(token, session, holder, viewers_max)


async def test_only_so_many_sessions(viewing: Viewing) -> None:
    """The sessions of one token are counted wherever they are; another token has its own count."""
    assert await viewing.enter(seat("a")) is Answer.HELD
    assert await viewing.enter(seat("b", "edge-2/1")) is Answer.HELD
    assert await viewing.enter(seat("c", "edge-3/1")) is Answer.FULL
    assert await viewing.enter(seat("c", "edge-3/1", token="u")) is Answer.HELD
    await viewing.leave([seat("a")])
    assert await viewing.enter(seat("c", "edge-3/1")) is Answer.HELD


async def test_a_failover_is_no_second_viewer(viewing: Viewing) -> None:
    """Who comes to another edge with the session it had takes it over, also when all are taken; the first loses it."""
    first, second = seat("a", "edge-1/1", 1), seat("a", "edge-2/7", 1)
    assert await viewing.enter(first) is Answer.HELD
    assert await viewing.enter(second) is Answer.HELD
    assert await viewing.renew([first, second]) == [Answer.TAKEN, Answer.HELD]
    await viewing.leave([first])
    assert await viewing.enter(seat("b", "edge-1/2", 1)) is Answer.FULL


async def test_sessions_of_a_dead_edge_free_themselves(viewing: Viewing) -> None:
    """What is not renewed for a lease is free, what is renewed is not."""
    await viewing.enter(seat("a"))
    await viewing.enter(seat("b"))

    async def freed() -> bool:
        await viewing.renew([seat("a")])
        return await viewing.enter(seat("c", "edge-2/1")) is Answer.HELD

    assert await viewing.enter(seat("c", "edge-2/1")) is Answer.FULL
    await wait_until(freed)
    assert await viewing.enter(seat("d", "edge-2/2")) is Answer.FULL


async def test_sessions_that_were_forgotten_are_taken_again(viewing: Viewing) -> None:
    """A renewal takes what the store has forgotten, as far as there is room."""
    assert await viewing.renew([seat("a"), seat("b"), seat("c")]) == [Answer.HELD, Answer.HELD, Answer.FULL]


async def test_many_renewals_at_once(viewing: Viewing) -> None:
    """More sessions than fit into one exchange are renewed in several."""
    seats = [seat(f"s{number}", viewers_max=2000) for number in range(1100)]
    assert set(await viewing.renew(seats)) == {Answer.HELD}
    await viewing.leave(seats)
    assert await viewing.enter(seat("x", viewers_max=1)) is Answer.HELD


async def test_revocations(viewing: Viewing) -> None:
    """A revoked token is remembered until then, the later of two ends; what is over is forgotten in time."""
    now = SystemClock().utc()
    await viewing.revoke("t", now + 1000)
    await viewing.revoke("t", now + 10)
    await viewing.restore({"u": now + 500})
    await viewing.restore({})
    found = await viewing.revoked()
    assert {token: round(until - now, -1) for token, until in found.items()} == {"t": 1000, "u": 500}


async def test_only_so_many_revocations(viewing: Viewing) -> None:
    """Beyond the limit it is said so, and one that is known can still be prolonged."""
    now = SystemClock().utc()
    names = [f"t{number}" for number in range(REVOKED_MAX)]
    for first in range(0, REVOKED_MAX, 1000):
        await viewing.restore(dict.fromkeys(names[first : first + 1000], now + 1000))
    with pytest.raises(TooManyRevoked):
        await viewing.revoke("one more", now + 1000)
    await viewing.revoke("t5", now + 2000)


@pytest.mark.redis
async def test_a_store_that_is_away_is_said_so() -> None:
    """Every exchange ends in time and in one documented way."""
    viewing = RedisViewing("redis://127.0.0.1:1", "x", VIEWING_LEASE)
    calls: list[Callable[[], object]] = [lambda: viewing.enter(seat("a")), viewing.revoked]
    for call in calls:
        with pytest.raises(StoreAway):
            await call()  # type: ignore[misc]
    await viewing.close()
