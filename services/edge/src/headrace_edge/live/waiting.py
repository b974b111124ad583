"""Places for requests that wait: so many in all, and so many of one address that others find some too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

from aiohttp import web

from headrace.transport.reaching import PROXY_HEADERS
from headrace_edge.live.metrics import LiveMetrics

ADDRESS_SHARE = 0.5
"""Part of all places that one address may have: a campus or a carrier has thousands of viewers behind one."""

ADDRESS_LEAST = 64
"""Places that one address may have in any case: a player waits for two tracks, and for what comes after them."""

COLD_MAX = 256
"""Places of one address for streams without media: nobody watches those, so whoever waits for many wants no stream."""

NETWORK_BITS = 64
"""What one guest has of IPv6: it may have any address of such a network (RFC 6177)."""


class Busy(Exception):
    """A limit of this edge is reached; says which.

    Attributes:
        status: the HTTP status that says whose fault that is.
    """

    def __init__(self, reason: str, status: int = 503) -> None:
        super().__init__(reason)
        self.status = status


def whose(request: web.Request) -> str:
    """Return the address that a request is counted for; empty for a proxy of the operator's own, which has many.

    What a proxy says of others is not believed, for anybody can say it; but guests do not come from private addresses.
    """
    try:
        address = ip_address(request.remote or "")
    except ValueError:
        return ""  # a socket of this machine
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if not address.is_global and any(header in request.headers for header in PROXY_HEADERS):
        return ""
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> NETWORK_BITS << NETWORK_BITS))
    return str(address)


@dataclass(slots=True)
class Places:
    """Who waits here.

    Attributes:
        most: requests that may wait at once.
        metrics: where they are counted.
    """

    most: int
    metrics: LiveMetrics
    _taken: int = 0
    _by_address: Counter[tuple[str, bool]] = field(default_factory=Counter)
    """By address, and whether they wait for a stream without media."""

    @contextmanager
    def taken(self, address: str, *, cold: bool) -> Iterator[None]:
        """Have a place for as long as the context lasts; `cold` for a stream that has no media.

        Raises:
            Busy: when there is none.
        """
        if self._taken >= self.most:
            self.metrics.refused.labels("waiting").inc()
            raise Busy("too many requests wait here; try another edge")
        if address:
            self._check(address, cold)
        key = (address, cold)
        self._taken += 1
        self._by_address[key] += 1
        self.metrics.waiting.inc()
        try:
            yield
        finally:
            self._taken -= 1
            self._by_address[key] -= 1
            if not self._by_address[key]:
                del self._by_address[key]
            self.metrics.waiting.dec()

    def _check(self, address: str, cold: bool) -> None:
        cold_ones = self._by_address[address, True]
        if cold and cold_ones >= COLD_MAX:
            self.metrics.refused.labels("cold").inc()
            raise Busy("too many requests of this address wait for streams without media", 429)
        if cold_ones + self._by_address[address, False] >= max(ADDRESS_LEAST, int(self.most * ADDRESS_SHARE)):
            self.metrics.refused.labels("address").inc()
            raise Busy("too many requests of this address wait here", 429)
