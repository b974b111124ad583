"""Who may ask: holders of a token, or, where there is none, programs of this machine only."""

from __future__ import annotations

import enum
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from headrace.transport.reaching import PROXY_HEADERS


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: a status, a sentence for whoever asked, and when to come again, if that helps."""

    status: int
    detail: str
    retry_seconds: int = 0


class Scope(enum.IntEnum):
    """What a token allows; each allows what those before it do."""

    READ = 1
    WRITE = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Access:
    """The rule of one API.

    Attributes:
        tokens: bearer tokens and what each allows. Without any, a request must come from a loopback socket and name a
            loopback host, and must not come from a page of an origin that is not in `origins`: so neither another
            machine, nor a name that an attacker's DNS points at this one, nor a page in the operator's browser can ask.
        origins: origins of pages that may ask though they come from elsewhere; `*` is all.
    """

    tokens: Mapping[str, Scope] = field(default_factory=dict)
    origins: frozenset[str] = frozenset()

    def grant(self, headers: Mapping[str, str], peer: str | None) -> Scope | Refusal:
        """Return what a request with these headers, from address `peer`, may do, or why it is refused."""
        if self.tokens:
            return self._scope_of(headers.get("Authorization", ""))
        return _refuse_remote(headers, peer, self) or Scope.ADMIN

    def allows_origin(self, origin: str) -> bool:
        """Return whether pages of `origin` may read what is answered."""
        return "*" in self.origins or origin in self.origins

    def _scope_of(self, authorization: str) -> Scope | Refusal:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer" or not given:
            return Refusal(401, "A token is needed: send the header 'Authorization: Bearer <token>'.")
        # Every token is compared, and each in constant time: the time taken says nothing about them. What is no UTF-8
        # stands as surrogates in the header.
        shown = given.strip().encode(errors="surrogateescape")
        matches = [scope for token, scope in self.tokens.items() if hmac.compare_digest(shown, token.encode())]
        return max(matches) if matches else Refusal(401, "This token is not known here.")


def _refuse_remote(headers: Mapping[str, str], peer: str | None, access: Access) -> Refusal | None:
    if not is_loopback(peer or "") or any(name in headers for name in PROXY_HEADERS):
        return Refusal(403, "Without configured tokens (control_api.tokens) only this machine is answered.")
    host = headers.get("Host", "")
    if not is_loopback(_hostname(f"//{host}")):
        return Refusal(403, f"Without configured tokens only loopback host names are answered, not {host[:80]!r}.")
    origin = headers.get("Origin")
    if origin is not None and not _is_own(origin, host) and not access.allows_origin(origin):
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


def _is_own(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
