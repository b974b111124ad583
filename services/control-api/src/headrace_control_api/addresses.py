"""Which addresses are refused before anybody tries them: what is wrong with them whoever carries them out.

The rules are those of who carries them out (`headrace.registry.feed_uri`, `headrace.transport.reaching`). A name is
judged there, when it is resolved, and so is a file, whose folder only that machine knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Final, Literal
from urllib.parse import urlsplit

from headrace.registry.feed_uri import BORDER_SCHEMES, InvalidUri, Scheme, parse_uri, redact
from headrace.registry.records import NodeRecord
from headrace.registry.sealing import SealError, Uri
from headrace.transport.reaching import Network, is_refused

Use = Literal["source", "pull", "push"]
"""What an address is for."""

WHIP: Final = frozenset({"http", "https"})
WHEP: Final = "whep"
"""What stands in the path of an address to play from by WebRTC, in whatever server: its scheme says nothing."""

_BORDER: Final = frozenset(scheme.value for scheme in BORDER_SCHEMES)
_FEEDS: Final = frozenset(scheme.value for scheme in Scheme) - _BORDER

SCHEMES: Final[dict[Use, frozenset[str]]] = {
    "source": _FEEDS,
    "pull": _FEEDS - {"udp", "test"} | _BORDER,
    "push": frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "srt", "file"}) | _BORDER | WHIP,
}

CARRIERS: Final[dict[Use, frozenset[str]]] = {
    "source": frozenset({"ingress", "standalone"}),
    "pull": frozenset({"ingress", "standalone"}),
    "push": frozenset({"edge", "standalone"}),
}
"""Roles of those who carry it out."""


class BadAddress(ValueError):
    """An address that cannot be; the sentence holds no credentials."""


def check_address(text: str, use: Use, nodes: Iterable[NodeRecord]) -> Uri:
    """Return the address that `text` is.

    Args:
        text: as it was given.
        use: what for.
        nodes: of the cluster: what none of them may reach is refused.

    Raises:
        BadAddress: when nobody could do anything with it; the sentence does not repeat it.
    """
    try:
        uri = Uri(text)
        if uri.scheme not in SCHEMES[use]:
            raise BadAddress(f"the scheme {uri.scheme[:16]!r} is none of {', '.join(sorted(SCHEMES[use]))}")
        parsed = parse_uri(text, trusted=False)
    except (SealError, InvalidUri) as error:
        # Without the address: what can be a key in a path depends on the scheme.
        raise BadAddress(str(error).removeprefix(f"{redact(text)}: ")) from None
    host = urlsplit(parsed.address).hostname or ""
    if parsed.scheme.is_network and (networks := reachable(use, nodes)) is not None and is_refused(host, networks):
        setting = "edge.allow_networks" if use == "push" else "ingress.allow_networks"
        raise BadAddress(f"its host is in a private network that {setting} of no node names")
    return uri


def reachable(use: Use, nodes: Iterable[NodeRecord]) -> tuple[Network, ...] | None:
    """Return the private networks that any who might carry it out may reach; `None` when one of them does not tell."""
    told = [node.reach for node in nodes if node.role in CARRIERS[use]]
    if not told:
        return None
    found: set[str] = set()
    for networks in told:
        if networks is None:
            return None
        found.update(networks)
    return tuple(ip_network(network) for network in sorted(found))
