"""How inputs are made for the fuzzers: real ones with a few bytes changed, and what counts what came of them."""

from __future__ import annotations

import random
from collections.abc import Sequence

EDGES = (0x00, 0x01, 0x02, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFE, 0xFF)
"""Bytes at which lengths and flags turn over."""

CHANGES_MAX = 4
"""Most changes of one input: more, and hardly anything gets past a parser's first look."""


def mutated(data: bytes, chance: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Return `data` with a few bytes changed, dropped, put in, repeated, cut off, or taken from one of `others`."""
    out = bytearray(data)
    for _ in range(int(chance.random() * (CHANGES_MAX + 1))):
        size = len(out)
        place = int(chance.random() * (size + 1))
        match int(chance.random() * 8):
            case 0 if place < size:
                out[place] = int(chance.random() * 256)
            case 1:
                del out[place : place + 1 + int(chance.random() * 8)]
            case 2:
                out[place:place] = chance.randbytes(1 + int(chance.random() * 8))
            case 3 if place < size:
                out[place] = EDGES[int(chance.random() * len(EDGES))]
            case 4:
                out[place:place] = out[place : place + 1 + int(chance.random() * 64)]
            case 5 if others:
                other = others[int(chance.random() * len(others))]
                out[place:] = other[int(chance.random() * len(other)) :]
            case 6 if place < size:
                out[place] ^= 1 << int(chance.random() * 8)
            case _:
                del out[place:]
    return bytes(out)
