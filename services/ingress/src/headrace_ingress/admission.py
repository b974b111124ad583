"""Who may publish what: keys by stream, and a limit on guessing them. Pure: the time is an argument.

Without a key for a stream, who comes from this machine by a door that listens on loopback only may publish it, and
nobody else.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

from headrace.identifiers import StreamName

WRONG_MAX: Final = 5
"""Wrong keys that one address may give within `WRONG_SECONDS`: a person mistypes twice."""

WRONG_SECONDS: Final = 60.0
"""How long a wrong key is remembered; who gave too many is not even asked before the first is forgotten."""

ADDRESSES_MAX: Final = 4096
"""Most addresses whose wrong keys are remembered; the oldest is forgotten first."""

IPV6_SITE_BITS: Final = 64
"""What of an IPv6 address one site may choose freely."""


class PublishRefused(Exception):
    """A publisher that may not; the sentence is for the publisher.

    Attributes:
        code: why, for metrics: `key`, `guessing`, `node`, `busy`, `sourced`, `limit`, `name`, `mode` or `passphrase`.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of streams.

    Attributes:
        by_name: by a stream's name, or by a beginning of names with `*` after it; the longest that matches counts.
    """

    by_name: Mapping[str, str]

    def of(self, name: StreamName) -> str | None:
        """Return the key of a stream, `None` when it has none."""
        if name in self.by_name:
            return self.by_name[name]
        fitting = [key for key in self.by_name if key.endswith("*") and name.startswith(key[:-1])]
        return self.by_name[max(fitting, key=len)] if fitting else None

    def opens(self, name: StreamName, given: str, *, is_local: bool) -> bool:
        """Return whether a publisher with this key may publish a stream; `is_local`: it need not have one."""
        key = self.of(name)
        if key is None:
            return is_local
        return hmac.compare_digest(key.encode(), given.encode("utf-8", "replace"))


class Guesses:
    """Remembers wrong keys by address."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    def note(self, address: str, now: float) -> None:
        """Take note of a wrong key."""
        site = site_of(address)
        times = [time for time in self._wrong.pop(site, []) if now - time < WRONG_SECONDS]
        self._wrong[site] = [*times[-WRONG_MAX:], now]
        while len(self._wrong) > ADDRESSES_MAX:
            self._wrong.popitem(last=False)

    def is_barred(self, address: str, now: float) -> bool:
        """Return whether an address gave too many wrong keys to be asked for one."""
        times = self._wrong.get(site_of(address), [])
        return sum(now - time < WRONG_SECONDS for time in times) >= WRONG_MAX


def site_of(address: str) -> str:
    """Return what one publisher cannot choose of its address: an IPv4 address, or the network of an IPv6 one."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(int(parsed) >> (128 - IPV6_SITE_BITS))
