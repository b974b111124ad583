"""Viewer tokens: JSON Web Tokens that say which streams may be watched, until when, from where and by how many.

| claim | is |
|---|---|
| `stream` | a stream's name, a prefix that ends in `*`, or a list of those; needed |
| `exp` | when it ends, UTC in seconds; needed |
| `nbf` | when it begins |
| `jti` | its id, by which it is revoked and its viewers are counted; without one its digest is the id |
| `origins` | list of origins (`https://a.example`) or domains, subdomains included, whose pages may use it |
| `addresses` | list of addresses or networks that may use it |
| `viewers` | how many may watch with it at once, in the whole cluster |
| `sub` | whom it is for, in somebody's words |

Members that are not known are ignored, those that are known must have their type.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey
from msgspec import Meta

TOKEN_MAX_BYTES: Final = 4096
"""Longest token: it travels in URLs."""

KEYS_MAX: Final = 16
"""Most keys: with two each of a few issuers there is room to change them."""

TOKEN_SECONDS_MAX: Final = 366 * 24 * 3600
"""Most that may be left of a token's life, a year: so long a revocation is remembered, which names no end."""

SECRET_MIN_BYTES: Final = 32
"""Shortest secret for HS256: RFC 7518, section 3.2 wants one as long as the digest."""

JWKS_MAX_BYTES: Final = 256 * 1024
"""Largest set of keys."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Key: TypeAlias = OctKey | RSAKey | ECKey | OKPKey

_ALGORITHMS: Final = {
    "oct": frozenset({"HS256", "HS384", "HS512"}),
    "RSA": frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "EC": frozenset({"ES256", "ES384", "ES512"}),
    "OKP": frozenset({"EdDSA", "Ed25519"}),
}
"""What a key may verify, by its type alone: a token cannot make a public key a secret."""

_Text = Annotated[str, Meta(min_length=1, max_length=256)]
_Texts = Annotated[tuple[_Text, ...], Meta(min_length=1, max_length=64)]
_Time = Annotated[float, Meta(ge=0, le=1e11)]


class TokenRefused(Exception):
    """A token that is not taken.

    Attributes:
        code: a short word for programs and metrics.
        reason: for people; says nothing of the token's secret parts.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class InvalidKeys(ValueError):
    """Keys that cannot be used; the sentence says why, without them."""


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    stream: _Text | _Texts
    exp: _Time
    nbf: _Time = 0.0
    jti: Annotated[str, Meta(max_length=128)] = ""
    sub: Annotated[str, Meta(max_length=256)] = ""
    origins: _Texts | None = None
    addresses: _Texts | None = None
    viewers: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None


@dataclass(frozen=True, slots=True)
class ViewerToken:
    """What a genuine token says; nothing of it has been compared with a request yet.

    Attributes:
        id: names the token.
        streams: names, or prefixes that end in `*`.
        expires: UTC in seconds.
        not_before: UTC in seconds.
        origins: of pages; `None` for any, and for what is no page.
        networks: of viewers; `None` for any.
        viewers_max: at once, in the cluster; `None` for any number.
        subject: whom it is for.
    """

    id: str
    streams: tuple[str, ...]
    expires: float
    not_before: float = 0.0
    origins: tuple[str, ...] | None = None
    networks: tuple[Network, ...] | None = None
    viewers_max: int | None = None
    subject: str = ""


class Keys:
    """The keys that tokens may be signed with; several, so that they can be changed while tokens are in use."""

    def __init__(self, keys: Sequence[Key]) -> None:
        """Take `keys` in the order in which they are tried.

        Raises:
            InvalidKeys: when there are too many.
        """
        if len(keys) > KEYS_MAX:
            raise InvalidKeys(f"{len(keys)} keys, at most {KEYS_MAX} are allowed")
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __add__(self, other: Keys) -> Keys:
        return Keys((*self._keys, *other._keys))

    def verify(self, text: str) -> ViewerToken:
        """Return what a token says, if one of the keys signed it. Time is not looked at.

        Raises:
            TokenRefused: `bad_token`.
        """
        if len(text) > TOKEN_MAX_BYTES or text.count(".") != 2 or not text.isascii():
            raise TokenRefused("bad_token", "this is no token")
        for key in self._keys:
            try:
                found = jwt.decode(text, key, algorithms=sorted(_ALGORITHMS[key.key_type]))
            except (JoseError, ValueError, TypeError, KeyError):
                continue
            return _read(text, found.claims)
        raise TokenRefused("bad_token", "this token was not signed by a key that is known here")


def secret_keys(secrets: Sequence[str]) -> Keys:
    """Return keys for HS256 of shared secrets.

    Raises:
        InvalidKeys: when one is too short, or a public key.
    """
    if any(len(secret.encode()) < SECRET_MIN_BYTES for secret in secrets):
        raise InvalidKeys(f"a secret for tokens has at least {SECRET_MIN_BYTES} bytes")
    try:
        return Keys([OctKey.import_key(secret.encode()) for secret in secrets])
    except ValueError:
        raise InvalidKeys("a public key is no secret; it belongs into a key set") from None


def parse_jwks(text: str) -> Keys:
    """Return the keys of a JSON Web Key Set (RFC 7517).

    Raises:
        InvalidKeys: when it is none, or a key of it cannot be used.
    """
    if len(text) > JWKS_MAX_BYTES:
        raise InvalidKeys(f"a key set has at most {JWKS_MAX_BYTES} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a key that is too short to be safe
            keys = KeySet.import_key_set(json.loads(text)).keys
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError, Warning) as error:
        raise InvalidKeys(f"this is no key set (RFC 7517): {type(error).__name__}") from None
    return Keys([key for key in keys if key.key_type in _ALGORITHMS])


def issue_token(secret: str, token: ViewerToken) -> str:
    """Return a token signed with HS256.

    Raises:
        InvalidKeys: when the secret is too short.
        TokenRefused: when it would not be taken: its claims are out of range.
    """
    secret_keys([secret])
    claims: dict[str, Any] = {
        "jti": token.id,
        "stream": token.streams[0] if len(token.streams) == 1 else list(token.streams),
        "exp": round(token.expires),
    }
    optional: dict[str, Any] = {
        "nbf": round(token.not_before) or None,
        "sub": token.subject or None,
        "origins": token.origins and list(token.origins),
        "addresses": token.networks and [str(network) for network in token.networks],
        "viewers": token.viewers_max,
    }
    claims |= {name: value for name, value in optional.items() if value is not None}
    text = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(secret.encode()))
    _read(text, claims)
    if len(text) > TOKEN_MAX_BYTES:
        raise TokenRefused("bad_token", f"the token would have {len(text)} bytes, at most {TOKEN_MAX_BYTES} are taken")
    return text


def network(text: str) -> Network:
    """Return the network that `text` is, or that it is an address of.

    Raises:
        ValueError: when it is neither.
    """
    return ipaddress.ip_network(text, strict=False)


def _read(text: str, claims: dict[str, Any]) -> ViewerToken:
    try:
        found = msgspec.convert(claims, _Claims)
        networks = None if found.addresses is None else tuple(map(network, found.addresses))
        found.jti.encode()  # which fails for half a character: "\ud83d" is JSON, but no text that can be stored
    except (msgspec.ValidationError, ValueError) as error:
        raise TokenRefused("bad_token", f"this token's claims cannot be read: {error}") from None
    return ViewerToken(
        id=found.jti or hashlib.sha256(text.encode()).hexdigest()[:32],
        streams=(found.stream,) if isinstance(found.stream, str) else found.stream,
        expires=found.exp,
        not_before=found.nbf,
        origins=found.origins,
        networks=networks,
        viewers_max=found.viewers,
        subject=found.sub.encode(errors="replace").decode(),  # a name that was cut within a character
    )
