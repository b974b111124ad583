"""Places for requests that wait."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from aiohttp.test_utils import make_mocked_request
from prometheus_client import CollectorRegistry

from headrace_edge.live.metrics import LiveMetrics
from headrace_edge.live.waiting import ADDRESS_LEAST, ADDRESS_SHARE, COLD_MAX, Busy, Places, whose


def places(most: int) -> Places:
    return Places(most, LiveMetrics.make(CollectorRegistry()))


def fill(held: ExitStack, waiting: Places, address: str, count: int, *, cold: bool = False) -> int:
    """Have `count` requests wait; return the status of the first that found no place, 0 when all did."""
    for _ in range(count):
        try:
            held.enter_context(waiting.taken(address, cold=cold))
        except Busy as busy:
            return busy.status
    return 0


def refused(waiting: Places, reason: str) -> float:
    return float(waiting.metrics.refused.labels(reason)._value.get())


def test_one_address_leaves_room_for_others() -> None:
    """It has part of all places; what it waits for is 429 beyond, and 503 where nobody finds one any more."""
    waiting, most = places(1000), int(1000 * ADDRESS_SHARE)
    with ExitStack() as held:
        assert fill(held, waiting, "192.0.2.1", most) == 0
        assert fill(held, waiting, "192.0.2.1", 1) == 429
        assert fill(held, waiting, "192.0.2.2", 1000 - most) == 0
        assert fill(held, waiting, "192.0.2.3", 1) == 503
        assert (refused(waiting, "address"), refused(waiting, "waiting")) == (1, 1)
    with ExitStack() as held:
        assert fill(held, waiting, "192.0.2.1", most) == 0  # those who ended left their places


def test_a_player_finds_places_however_few_there_are() -> None:
    """A small edge is no reason to refuse its only viewer."""
    with ExitStack() as held:
        assert fill(held, places(ADDRESS_LEAST), "192.0.2.1", ADDRESS_LEAST) == 0


def test_strangers_hold_few_places_for_what_has_no_media() -> None:
    """Their limit is their own, and what they watch meanwhile is not touched by it."""
    waiting = places(100_000)
    with ExitStack() as held:
        assert fill(held, waiting, "192.0.2.1", COLD_MAX, cold=True) == 0
        assert fill(held, waiting, "192.0.2.1", 1, cold=True) == 429
        assert fill(held, waiting, "192.0.2.1", 1) == 0
        assert fill(held, waiting, "192.0.2.2", 1, cold=True) == 0
        assert fill(held, waiting, "", COLD_MAX + 1, cold=True) == 0  # a proxy of our own stands for many
        assert refused(waiting, "cold") == 1


@pytest.mark.parametrize(
    ("remote", "headers", "address"),
    [
        ("192.0.2.1", {}, "192.0.2.1"),
        ("8.8.8.8", {"X-Forwarded-For": "192.0.2.9"}, "8.8.8.8"),  # anybody can say that
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.9"}, ""),
        ("10.0.0.7", {"Forwarded": "for=192.0.2.9"}, ""),
        ("10.0.0.7", {}, "10.0.0.7"),
        ("::ffff:8.8.8.8", {}, "8.8.8.8"),
        ("2001:4860:4860:1:2:3:4:8888", {}, "2001:4860:4860:1::"),
        (None, {}, ""),
    ],
)
def test_whom_a_request_is_counted_for(remote: str | None, headers: dict[str, str], address: str) -> None:
    """The address of its connection, of IPv6 the network; a proxy of the operator's own has none."""
    request = make_mocked_request("GET", "/", headers=headers)
    assert whose(request.clone(remote=remote) if remote is not None else request.clone(remote="unix")) == address
