"""Which addresses a source may reach that this node's own configuration does not name.

Public addresses are free; private, loopback, link-local and other special ones only where the operator named their
network. A name is resolved here and the address that was checked is the one that is connected to.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from headrace_ingress.source import SourceBroken
from headrace_ingress.uri import FeedUri

Network = IPv4Network | IPv6Network

TRANSLATED: Final = tuple(IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))
"""IPv6 networks whose addresses lead to IPv4 ones: NAT64, 6to4 and Teredo."""


def is_allowed(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    """Return whether a source of others may be at `address`."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in networks):
        return True
    translated = isinstance(address, IPv6Address) and any(address in network for network in TRANSLATED)
    return address.is_global and not address.is_multicast and not translated


def may_reach(uri: FeedUri, networks: Sequence[Network]) -> bool:
    """Return whether it is worth a try: `False` when the URI itself names an address that is not allowed."""
    try:
        return is_allowed(ip_address(urlsplit(uri.address).hostname or ""), networks)
    except ValueError:
        return True  # a name: asked when it is connected to


def pinned(uri: FeedUri, networks: Sequence[Network]) -> str:
    """Return the URI for libav with its host resolved to an address that is allowed; a trusted one as it is.

    Raises:
        SourceBroken: when there is no such address.
    """
    if uri.trusted:
        return uri.address
    parts = urlsplit(uri.address)
    try:
        found = socket.getaddrinfo(parts.hostname, None, type=socket.SOCK_STREAM)
    except OSError:
        raise SourceBroken("the source's host name cannot be resolved") from None
    for *_, place in found:
        address = ip_address(str(place[0]).partition("%")[0])
        if is_allowed(address, networks):
            user, at, _ = parts.netloc.rpartition("@")
            host = f"[{address}]" if address.version == 6 else str(address)
            port = f":{parts.port}" if parts.port else ""
            return urlunsplit(parts._replace(netloc=f"{user}{at}{host}{port}"))
    raise SourceBroken("the source is in a private network that this node may not reach (ingress.allow_networks)")
