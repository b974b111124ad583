"""Which streams need a token, and whether a token lets a request in. Pure; the time is an argument."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from headrace.access.tokens import TOKEN_SECONDS_MAX, TokenRefused, ViewerToken
from headrace.identifiers import StreamName

Mode = Literal["public", "token", "webhook", "licence"]
"""What holds for a stream: anybody watches, or who has a token, whom the webhook lets in, whose page has a licence."""

MODES: Final = frozenset(get_args(Mode))

CLOCKS_SECONDS = 5.0
"""How far the clocks of an issuer and of this machine may be apart for `nbf`; the end is exact, for it is enforced."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to watch.

    Attributes:
        stream: what.
        token: as given, empty when none was.
        session: the viewing session, which stays the same when the viewer comes back, here or at another edge.
        origin: of the page, `None` when it is none.
        address: of the viewer.
        door: at which it asks.
        host: by which name it reached the edge.
        is_proxied: whether it came through a proxy, whose address `address` is then.
    """

    stream: StreamName
    token: str = ""
    session: str = ""
    origin: str | None = None
    address: str = ""
    door: str = ""
    host: str = ""
    is_proxied: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """What needs a token.

    Attributes:
        default: for streams that no rule is about.
        rules: names, or prefixes that end in `*`, and what holds for them; the longest that matches decides, the name
            itself before all.
    """

    default: Mode = "public"
    rules: Sequence[tuple[str, Mode]] = ()
    _of_names: Mapping[str, Mode] = field(init=False, repr=False, compare=False)
    _of_prefixes: Mapping[str, Mode] = field(init=False, repr=False, compare=False)
    _lengths: Sequence[int] = field(init=False, repr=False, compare=False)
    """Of the prefixes, the longest first: so many rules are looked at, and not all."""

    def __post_init__(self) -> None:
        prefixes = {pattern[:-1]: mode for pattern, mode in self.rules if pattern.endswith("*")}
        names = {pattern: mode for pattern, mode in self.rules if not pattern.endswith("*")}
        object.__setattr__(self, "_of_names", names)
        object.__setattr__(self, "_of_prefixes", prefixes)
        object.__setattr__(self, "_lengths", sorted({len(prefix) for prefix in prefixes}, reverse=True))

    def mode_of(self, name: StreamName) -> Mode:
        """Return what holds for a stream."""
        rule = self.rule_of(name)
        return self.default if rule is None else rule[1]

    def rule_of(self, name: StreamName) -> tuple[str, Mode] | None:
        """Return the rule that decides about a stream; `None` when none is about it."""
        mode = self._of_names.get(name)
        if mode is not None:
            return name, mode
        for length in self._lengths:
            mode = self._of_prefixes.get(name[:length])
            if mode is not None:
                return f"{name[:length]}*", mode
        return None

    @property
    def modes(self) -> frozenset[Mode]:
        """Everything that holds for some stream."""
        return frozenset({self.default, *(mode for _, mode in self.rules)})

    @property
    def is_open(self) -> bool:
        """Whether nothing needs a token."""
        return self.default == "public" and all(mode == "public" for _, mode in self.rules)


def check_token(token: ViewerToken, asked: Asked, now: float) -> None:
    """Compare a genuine token with a request.

    Raises:
        TokenRefused: `token_expired`, `token_long`, `token_early`, `token_stream`, `token_origin` or `token_address`.
    """
    if now >= token.expires:
        raise TokenRefused("token_expired", "this token has expired")
    if token.expires - now > TOKEN_SECONDS_MAX + CLOCKS_SECONDS:
        raise TokenRefused("token_long", "this token is valid for more than a year, longer than may be")
    if now < token.not_before - CLOCKS_SECONDS:
        raise TokenRefused("token_early", "this token is not valid yet")
    if not any(matches(pattern, asked.stream) for pattern in token.streams):
        raise TokenRefused("token_stream", "this token is for other streams")
    if token.origins is not None and not any(_is_origin(asked.origin, allowed) for allowed in token.origins):
        raise TokenRefused("token_origin", "this token is for pages of another origin")
    if token.networks is not None and not _is_inside(asked.address, token):
        raise TokenRefused("token_address", "this token is for viewers of another address")


def matches(pattern: str, name: str) -> bool:
    """Return whether `pattern` is `name`, or ends in `*` and is how `name` begins."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _is_origin(origin: str | None, allowed: str) -> bool:
    if origin is None:
        return False
    if "://" in allowed:
        return origin.lower() == allowed.lower().rstrip("/")
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    domain = allowed.lower().removeprefix("*.")
    return host == domain or host.endswith(f".{domain}")


def _is_inside(address: str, token: ViewerToken) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in token.networks or ())
