"""The file of credentials that `relay.credentials_file` names. Pure: text in, credentials out.

own = "core-2026"                       # the key that this node proves to others

[keys.core-2026]
secret = "..."                          # openssl rand -hex 32

[keys.site7]
secret = "..."
roles = ["ingress"]                     # what its holder may be; everything when absent
offer = ["site7/*"]                     # streams that its holder may deliver; everything when absent
subscribe = []                          # streams that its holder may fetch; everything when absent
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from headrace.relay.credentials import EVERYTHING, Credential, matches

SECRET_MIN_CHARACTERS = 16
"""Shortest secret in a file: whoever reaches a node can try one after the other."""

KEYS_MAX = 1000
"""Most keys: every site of a large cluster has one, and two while it changes."""

PATTERNS_MAX = 100
"""Most patterns of one kind for a key; each is looked at for every offer and subscription."""

KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What a key may be called: it stands in logs and in the hello."""

_Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Patterns = Annotated[tuple[_Pattern, ...], msgspec.Meta(max_length=PATTERNS_MAX)]


class _Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    secret: Annotated[str, msgspec.Meta(min_length=SECRET_MIN_CHARACTERS)]
    roles: _Patterns = EVERYTHING
    offer: _Patterns = EVERYTHING
    subscribe: _Patterns = EVERYTHING


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    own: str
    keys: Annotated[dict[str, _Key], msgspec.Meta(max_length=KEYS_MAX)]


ROLES = ("ingress", "intermediate", "edge", "control-api", "standalone", "publisher", "subscriber")
"""What a node can be; a pattern that covers none of them is a mistake."""


class InvalidKeyring(ValueError):
    """A text is no file of credentials; the sentence says where, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The credentials of one node.

    Attributes:
        own: what it proves to others.
        accepted: what it believes, by key; `own` is among them.
    """

    own: Credential
    accepted: Mapping[str, Credential]


def _check(key: str, rights: _Key) -> None:
    if not KEY.fullmatch(key):
        raise InvalidKeyring(f"keys.{key[:64]!r}: a key has 1 to 64 letters, digits, '.', '_' and '-'")
    for pattern in (*rights.roles, *rights.offer, *rights.subscribe):
        if "*" in pattern[:-1]:
            raise InvalidKeyring(f"keys.{key}: {pattern!r}: only a '*' at the end means something")
    for pattern in rights.roles:
        if not any(matches(pattern, role) for role in ROLES):
            raise InvalidKeyring(f"keys.{key}.roles: {pattern!r} is no role; roles are {', '.join(ROLES)}")


def parse_keyring(text: str) -> Keyring:
    """Read a file of credentials.

    Raises:
        InvalidKeyring: when it is none.
    """
    try:
        # Neither tells values in its errors: one says line and column, the other which field.
        file = msgspec.convert(tomllib.loads(text), _File)
    except tomllib.TOMLDecodeError as error:
        raise InvalidKeyring(f"this is no TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise InvalidKeyring(f"{error}") from None
    for key, rights in file.keys.items():
        _check(key, rights)
    if file.own not in file.keys:
        raise InvalidKeyring(f"own = {file.own[:64]!r}: there is no such key in the file")
    accepted = {key: Credential(key, k.secret.encode(), k.roles, k.offer, k.subscribe) for key, k in file.keys.items()}
    return Keyring(accepted[file.own], accepted)
