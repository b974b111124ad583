"""Who may ask: holders of a token, or, where there is none, programs of this machine only."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "Via")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: a status, and a sentence for whoever asked."""

    status: int
    detail: str


@dataclass(frozen=True, slots=True)
class Access:
    """The rule of one API.

    Attributes:
        tokens: bearer tokens, any of which is taken. Without any, a request must come from a loopback socket and
            name a loopback host, and must not come from a page of another origin: so neither another machine, nor a
            name that an attacker's DNS points at this one, nor a page in the operator's browser can ask.
    """

    tokens: Sequence[str] = ()

    def refusal(self, headers: Mapping[str, str], peer: str | None) -> Refusal | None:
        """Return why a request with these headers, from address `peer`, is refused, or `None` when it is not."""
        if self.tokens:
            return self._refuse_stranger(headers.get("Authorization", ""))
        return _refuse_remote(headers, peer)

    def _refuse_stranger(self, authorization: str) -> Refusal | None:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer" or not given:
            return Refusal(401, "A token is needed: send the header 'Authorization: Bearer <token>'.")
        # Every token is compared, and each in constant time: the time taken says nothing about them.
        matches = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in self.tokens]
        return None if any(matches) else Refusal(401, "This token is not known here.")


def _refuse_remote(headers: Mapping[str, str], peer: str | None) -> Refusal | None:
    if not is_loopback(peer or "") or any(name in headers for name in _PROXY_HEADERS):
        return Refusal(403, "Without configured tokens (control_api.tokens) only this machine is answered.")
    host = headers.get("Host", "")
    if not is_loopback(_hostname(f"//{host}")):
        return Refusal(403, f"Without configured tokens only loopback host names are answered, not {host[:80]!r}.")
    origin = headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != host:
        return Refusal(403, "Without configured tokens pages of another origin are not answered.")
    return None


def is_loopback(host: str) -> bool:
    """Return whether `host` is `localhost` or a loopback address."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
