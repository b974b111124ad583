"""Licences as Streamedian has them: a key that lets pages of one domain watch, so many at once, until a day. Pure.

A key is issued, assigned to a user, and activated for a domain, subdomains included; its time runs from the first
activation. After it one session at a time may still be opened. Without a licence only pages of the same machine watch.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import time
from collections.abc import Iterable
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from headrace.access.policy import Asked
from headrace.access.tokens import TokenRefused, ViewerToken

LICENCES_MAX: Final = 1_000
"""Most licences of a cluster: every edge holds them all."""

DAY_SECONDS: Final = 86_400.0

INVALID_DOMAIN: Final = "Invalid Domain (credentials)"
EXPIRED: Final = "License expired"
"""Streamedian's own words for these reasons."""

EXPIRED_WATCHERS: Final = 1
"""How many may watch at once with a licence whose time is over."""

Kind = Literal["test", "free", "full"]


class Licence(msgspec.Struct, frozen=True, kw_only=True):
    """One licence.

    Attributes:
        key: names it; who has it may activate it.
        kind: a test of half a year, free for a year and renewable, or as agreed.
        days: how long it holds, from its first activation.
        watchers_max: how many may watch at once in the cluster; `None` for any number.
        activations_left: how often it may still be activated.
        user: whom it is assigned to; empty for nobody yet.
        domain: what it is active for; empty while it is not.
        expires: UTC in seconds; 0 before its first activation.
        issued_us: UTC in microseconds.
    """

    key: str
    kind: Kind
    days: int
    watchers_max: int | None
    activations_left: int
    user: str = ""
    domain: str = ""
    expires: float = 0.0
    issued_us: int = 0

    @property
    def id(self) -> str:
        """What its viewers are counted and listed by; says nothing of the key."""
        return f"licence-{hashlib.blake2b(self.key.encode(), digest_size=6).hexdigest()}"

    def expires_at(self) -> str:
        """Return the end as Streamedian writes it, empty before the first activation."""
        return time.asctime(time.gmtime(self.expires)) if self.expires else ""

    def activated(self, domain: str, now: float) -> Licence:
        """Return it active for a domain.

        Raises:
            LicenceRefused: when it is active for another one, or may not be activated any more.
        """
        if self.domain == domain:
            return self
        if self.domain:
            raise LicenceRefused(f"it is active for {self.domain}; deactivate it there first")
        if self.activations_left < 1:
            raise LicenceRefused("no activation is left")
        if self.expires and now >= self.expires:
            raise LicenceRefused(EXPIRED)
        expires = self.expires or now + self.days * DAY_SECONDS
        left = self.activations_left - 1
        return msgspec.structs.replace(self, domain=domain, expires=expires, activations_left=left)

    def covers(self, host: str) -> bool:
        """Return whether it is active for a host: its domain, or one below it."""
        return bool(self.domain) and (host == self.domain or host.endswith(f".{self.domain}"))


class LicenceRefused(ValueError):
    """What cannot be done with a licence; the sentence says why."""


def requested_domain(asked: Asked) -> str:
    """Return the host of the page that asks; a page that asks its own server, and what is no page, names that host."""
    try:
        return (urlsplit(asked.origin).hostname or "" if asked.origin else asked.host).lower()
    except ValueError:
        return ""


def licensed(licences: Iterable[Licence], asked: Asked, now: float) -> ViewerToken:
    """Return what lets a viewer in: the licence of its page's domain, one in force before one whose time is over.

    Raises:
        TokenRefused: `licence_domain` when there is none, and the page is not of the same machine.
    """
    host = requested_domain(asked)
    found = max((each for each in licences if each.covers(host)), key=lambda each: each.expires, default=None)
    if found is None:
        if _is_loopback(host) and _is_loopback(asked.address) and not asked.is_proxied:
            return ViewerToken(id="", streams=(asked.stream,), expires=math.inf)
        raise TokenRefused("licence_domain", INVALID_DOMAIN)
    return ViewerToken(
        id=found.id,
        streams=(asked.stream,),
        expires=math.inf,  # who watches when it ends may stay
        viewers_max=found.watchers_max if now < found.expires else EXPIRED_WATCHERS,
        subject=found.user,
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return bool((getattr(address, "ipv4_mapped", None) or address).is_loopback)
