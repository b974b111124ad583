"""Which addresses may be reached that the operator's own configuration does not name.

Public addresses are free; private, loopback, link-local and other special ones only where the operator named their
network. A name is resolved here, and the address that was checked is the one to connect to.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Network = IPv4Network | IPv6Network

TRANSLATED: Final = tuple(
    IPv6Network(text)
    for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96", "::ffff:0:0:0/96")
)
"""IPv6 networks whose addresses lead to IPv4 ones: NAT64, 6to4, Teredo, and those of RFC 4291, 2.5.5.1 and RFC 2765."""

LOCAL: Final = tuple(IPv6Network(text) for text in ("fec0::/10", "5f00::/16"))
"""IPv6 networks of one site that `is_global` does not know: deprecated ones (RFC 3879) and segments (RFC 9602)."""

PROXY_HEADERS: Final = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
"""By these a request tells that it came through a proxy: the address of its connection is not that of who asks."""

RESOLVE_SECONDS: Final = 5.0
"""How long a name may take to be resolved: what resolvers take for two servers that do not answer."""


class NotReachable(Exception):
    """There is no address of that name that may be connected to; the text is for viewers and operators.

    Attributes:
        code: `unresolved` or `forbidden`.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def is_allowed(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    """Return whether what is not configured may be at `address`."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in networks):
        return True
    special = isinstance(address, IPv6Address) and any(address in network for network in (*TRANSLATED, *LOCAL))
    return address.is_global and not address.is_multicast and not special


def is_refused(host: str, networks: Sequence[Network]) -> bool:
    """Return whether `host` is itself an address that may not be reached; a name is judged when it is resolved."""
    try:
        return not is_allowed(ip_address(host), networks)
    except ValueError:
        return False


def pick_allowed(host: str, networks: Sequence[Network]) -> str:
    """Return an address of `host` that is allowed, resolving it; blocks as long as the resolver does.

    Raises:
        NotReachable: when it has none.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotReachable("unresolved", "the host's name cannot be resolved") from None
    for *_, place in found:
        address = ip_address(str(place[0]).partition("%")[0])
        if is_allowed(address, networks):
            return str(address)
    raise NotReachable("forbidden", "the host is in a private network that this node may not reach (allow_networks)")


async def resolve_allowed(host: str, networks: Sequence[Network]) -> str:
    """Return what `pick_allowed` does, without blocking the event loop.

    Raises:
        NotReachable: likewise, or when the resolver takes too long.
    """
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            return await asyncio.to_thread(pick_allowed, host, networks)
    except TimeoutError:
        raise NotReachable("unresolved", "the host's name was not resolved in time") from None
