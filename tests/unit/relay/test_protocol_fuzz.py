"""A short run of the relay's fuzzer, the same each time."""

from __future__ import annotations

import random

from fuzz.relay_protocol import one_life


def test_any_bytes_end_a_connection_in_a_documented_way_or_not_at_all() -> None:
    """Random bytes, mutated messages and whole ones, in the opening and after it."""
    chance = random.Random(7)
    for _ in range(1500):
        one_life(chance)
