"""Looks at one feed in a process of its own, so that what libav makes of it harms nobody else.

What to do comes as one line of JSON on the standard input, for an address may hold credentials; what was found goes out
as JSON.
"""

from __future__ import annotations

import resource
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import msgspec

from headrace.clock import SystemClock
from headrace.registry.feed_uri import InvalidUri, parse_uri
from headrace_ingress.check.findings import Findings
from headrace_ingress.check.look import look
from headrace_ingress.source import SourceBroken

MEMORY_BYTES: Final = 4 * 1024**3
"""Most address space: libav and its threads reserve one, and use a tenth of it."""


class Order(msgspec.Struct, frozen=True):
    """What to look at.

    Attributes:
        uri: somebody's, who is not trusted.
        seconds: for how long.
        networks: private networks that may be reached.
        roots: folders that files lie below.
    """

    uri: str
    seconds: float
    networks: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()


class Problem(msgspec.Struct, frozen=True):
    """Why nothing was found.

    Attributes:
        source: where it was looked, without credentials.
        problem: the reason, for people.
    """

    source: str
    problem: str


def carry_out(order: Order) -> Findings | Problem:
    """Look at a feed; return what was found."""
    try:
        uri = parse_uri(order.uri, trusted=False)
    except InvalidUri as error:
        return Problem("", str(error))
    try:
        return look(
            uri,
            order.seconds,
            SystemClock(),
            [ip_network(text) for text in order.networks],
            [Path(text) for text in order.roots],
        )
    except SourceBroken as error:
        return Problem(str(uri), str(error))


def main() -> None:
    """Read an order, print what was found."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(carry_out(order)))


if __name__ == "__main__":
    main()
