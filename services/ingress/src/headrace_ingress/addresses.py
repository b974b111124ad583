"""Which addresses a source may reach that this node's own configuration does not name."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

from headrace.registry.feed_uri import FeedUri
from headrace.transport.reaching import Network, NotReachable, is_refused, pick_allowed
from headrace_ingress.source import SourceBroken


def may_reach(uri: FeedUri, networks: Sequence[Network]) -> bool:
    """Return whether it is worth a try: `False` when the URI itself names an address that is not allowed."""
    return not is_refused(urlsplit(uri.address).hostname or "", networks)


def pinned(uri: FeedUri, networks: Sequence[Network]) -> str:
    """Return the URI for libav with its host resolved to an address that is allowed; a trusted one as it is.

    Raises:
        SourceBroken: when there is no such address.
    """
    if uri.trusted:
        return uri.address
    parts = urlsplit(uri.address)
    try:
        address = pick_allowed(parts.hostname or "", networks)
    except NotReachable as error:
        if error.code == "unresolved":
            raise SourceBroken("the source's host name cannot be resolved", error.code) from None
        raise SourceBroken(
            "the source is in a private network that this node may not reach (ingress.allow_networks)", error.code
        ) from None
    user, at, _ = parts.netloc.rpartition("@")
    host = f"[{address}]" if ":" in address else address
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=f"{user}{at}{host}{port}"))
