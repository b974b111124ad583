"""Better parents: when a stream goes to one, and that it does not go to and fro."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.identifiers import NodeId
from headrace.registry.placement import Candidate
from headrace.session.aims import RETRY_MAX_SECONDS, RETRY_SECONDS, RETURN_SECONDS, STEADY_SECONDS, Aims, is_nearer

HOUR = 3600


def at(name: str, distance: int, *, poor: int = 0, is_peer: bool = False) -> Candidate:
    return Candidate(NodeId(name), f"ws://{name}/relay", "", poor=poor, distance=(distance, 0), is_peer=is_peer)


NEAR, FAR = at("near", 0), at("far", 1)


def test_only_a_nearer_layer_is_gone_back_to() -> None:
    """Not an equal, not a full or draining one, and not from or to a peer."""
    assert is_nearer(NEAR, FAR)
    assert not is_nearer(FAR, NEAR)
    assert not is_nearer(at("other", 1), FAR)
    assert not is_nearer(at("full", 0, poor=1), FAR)
    assert not is_nearer(NEAR, at("peer", 1, is_peer=True))
    assert not is_nearer(at("peer", 0, is_peer=True), FAR)


def test_the_nearer_one_must_stay_for_a_while() -> None:
    """If it goes in between, the wait begins anew."""
    aims = Aims()
    assert not aims.is_time_to_return(FAR, NEAR, 0.0, 0.0)
    assert not aims.is_time_to_return(FAR, NEAR, RETURN_SECONDS - 0.1, 0.0)
    assert not aims.is_time_to_return(FAR, FAR, RETURN_SECONDS, 0.0)
    assert not aims.is_time_to_return(FAR, NEAR, RETURN_SECONDS + 0.1, 0.0)
    assert aims.is_time_to_return(FAR, NEAR, 2 * RETURN_SECONDS + 0.1, 0.0)


def test_chance_spreads_them() -> None:
    """Between half of the wait and all of it."""
    aims = Aims()
    aims.is_time_to_return(FAR, NEAR, 0.0, 1.0)
    assert aims.is_time_to_return(FAR, NEAR, RETURN_SECONDS / 2, 1.0)


def test_an_aim_that_fails_is_news_once_and_tried_less_and_less_often() -> None:
    """Waits double up to a limit."""
    aims, now, waits = Aims(), 0.0, []
    for number in range(8):
        assert aims.may_try(NEAR.node, now)
        aims.begin(NEAR.node)
        assert aims.missed(now, 0.0) is (number == 0)
        began = now
        while not aims.may_try(NEAR.node, now):
            now += 1.0
        waits.append(now - began)
    assert waits[:3] == [RETRY_SECONDS, 2 * RETRY_SECONDS, 4 * RETRY_SECONDS]
    assert waits[-1] == RETRY_MAX_SECONDS


def test_a_good_aim_is_forgiven() -> None:
    """One that stayed long enough before it died."""
    aims = Aims()
    for now in (0.0, 1000.0):
        aims.begin(NEAR.node)
        aims.reached(NEAR.node, now)
        aims.lost(NEAR.node, now + STEADY_SECONDS, 0.0)
        assert aims.may_try(NEAR.node, now + STEADY_SECONDS)


@given(st.lists(st.floats(1.0, STEADY_SECONDS - 1), min_size=1), st.lists(st.floats(0, 1), min_size=1))
def test_a_parent_that_comes_and_goes_moves_nobody_often(lives: list[float], chances: list[float]) -> None:
    """However short it lives each time, a stream goes back to it a few times an hour at most, and ever less often."""
    aims, present, dies_at = Aims(), FAR, float("inf")
    back: list[int] = []
    for second in range(2 * HOUR):
        chance = chances[second % len(chances)]
        if present is NEAR and second >= dies_at:
            aims.lost(NEAR.node, second, chance)
            present = FAR
        elif present is FAR and aims.is_time_to_return(FAR, NEAR, second, chance):
            aims.begin(NEAR.node)
            aims.reached(NEAR.node, second)
            present, dies_at = NEAR, second + lives[len(back) % len(lives)]
            back.append(second)
    assert len([second for second in back if second < HOUR]) <= 32
    assert len([second for second in back if second >= HOUR]) <= HOUR / (RETRY_MAX_SECONDS / 2) + 1


@given(st.permutations(range(6)), st.lists(st.floats(0, 1), min_size=1))
def test_going_back_ends(distances: list[int], chances: list[float]) -> None:
    """With parents that all stay, a stream moves at most once for each layer, and ends in the nearest."""
    candidates = [at(f"n{distance}", distance) for distance in distances]
    best = min(candidates, key=lambda one: one.distance)
    aims, present, moves = Aims(), candidates[0], 0
    for second in range(600):
        if aims.is_time_to_return(present, best, second, chances[second % len(chances)]):
            aims.begin(best.node)
            aims.reached(best.node, second)
            present, moves = best, moves + 1
    assert present is best
    assert moves <= 1
