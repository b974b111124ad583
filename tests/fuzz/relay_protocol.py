"""Fuzz the relay: any bytes end a connection with a `WireError`'s code, or not at all; nothing else may happen.

    python tests/fuzz/relay_protocol.py [seconds] [seed]

prints the seed, so that what it finds can be found again. A short run is part of the tests (tests/unit/relay).
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from headrace.identifiers import Epoch, StreamName
from headrace.relay.credentials import Identity, cluster_credential
from headrace.relay.events import LinkFailed
from headrace.relay.protocol import LinkState, RelayConnection, Timing
from headrace.wire.relay import CONTROL_MAX_BYTES

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "relay.json").read_text())["messages"]
MESSAGES = [bytes.fromhex(vector["hex"]) for vector in VECTORS]
CODES = {"truncated", "too_large", "bad_message", "bad_name", "bad_tracks", "bad_handle", "bad_kind", "bad_track"} | {
    "bad_flags", "bad_version", "unexpected", "too_many", "bad_proof", "same_node"
}  # fmt: skip


def connection(node: str, nonce: int) -> RelayConnection:
    """Return one side of a link."""
    secret = cluster_credential("secret")
    return RelayConnection(Identity(node, "edge", secret, {secret.key: secret}), Timing(), bytes((nonce,)) * 16, 0.0)


def open_connection() -> RelayConnection:
    """Return one side of an open link, with a subscription of its own and the handle of the vectors' peer."""
    side, peer = connection("a", 1), connection("b", 2)
    for _ in range(3):
        for message in peer.data_to_send():
            side.receive(message, 0.0, 0)
        for message in side.data_to_send():
            peer.receive(message, 0.0, 0)
    assert side.state is LinkState.OPEN
    side.subscribe(StreamName("demo"))
    side.events()
    return side


def mutated(message: bytes, chance: random.Random) -> bytes:
    """Return `message` with a few bytes changed, dropped, doubled or replaced by another message's."""
    data = bytearray(message)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 if place < len(data):
                data[place] = chance.randrange(256)
            case 1:
                del data[place : place + chance.randrange(1, 9)]
            case 2:
                data[place:place] = chance.randbytes(chance.randrange(1, 9))
            case 3 if place < len(data):
                data[place] = chance.choice((0x00, 0x7F, 0x80, 0xC0, 0xC4, 0xDB, 0xDD, 0xDF, 0xFF))
            case 4:
                other = chance.choice(MESSAGES)
                data[place:] = other[chance.randrange(len(other)) :]
            case _:
                data = data[:place]
    return bytes(data)


def one_life(chance: random.Random) -> int:
    """Feed one connection until it ends or had enough; return how many messages it took.

    Raises:
        AssertionError: when it ended for a reason that is none, or says too much.
    """
    side = connection("a", 1) if chance.random() < 0.2 else open_connection()
    for count in range(chance.randint(1, 30)):
        kind = chance.random()
        message = chance.randbytes(chance.randrange(200)) if kind < 0.2 else mutated(chance.choice(MESSAGES), chance)
        if kind > 0.9:
            message = chance.choice(MESSAGES)
        side.receive(message, count * 0.01, count)
        side.handle_timer(count * 0.01, count)
        failures = [event for event in side.events() if isinstance(event, LinkFailed)]
        assert all(failure.code in CODES for failure in failures), failures
        assert all(len(output) <= CONTROL_MAX_BYTES for output in side.data_to_send())
        if side.state is LinkState.CLOSED:
            assert side.failure in failures
            return count
        side.offer({StreamName("demo"): Epoch(count)})
    return count


def main() -> None:
    """Run for some seconds."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    lives = messages = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        messages += one_life(chance)
        lives += 1
    print(f"{lives} connections, {messages} messages: only documented ends")


if __name__ == "__main__":
    main()
