"""How a publisher proves its key: Basic (RFC 7617) and Digest (RFC 7616, also as its forerunner RFC 2069 has it).

The user's name says nothing; the password is the stream's key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

REALM: Final = "headrace"

_FIELD = re.compile(r'([a-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', re.IGNORECASE)
_HASHES: Final = {"md5": "md5", "sha-256": "sha256"}


@dataclass(frozen=True, slots=True)
class Password:
    """A key as it is."""

    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Digest:
    """A proof of a key."""

    fields: Mapping[str, str] = field(repr=False)


Credentials = Password | Digest | None


def challenges(nonce: str) -> list[tuple[str, str]]:
    """Return the headers that ask for a proof. MD5 is what every encoder knows; TLS is what keeps secrets."""
    return [
        ("WWW-Authenticate", f'Digest realm="{REALM}", nonce="{nonce}"'),
        ("WWW-Authenticate", f'Basic realm="{REALM}"'),
    ]


def parse_authorization(header: str) -> Credentials:
    """Return what the header Authorization gives, `None` where it gives nothing that is known."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() == "digest":
        return Digest({found[1].lower(): found[2] or found[3] or "" for found in _FIELD.finditer(rest)})
    if scheme.lower() != "basic":
        return None
    try:
        return Password(base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2])
    except ValueError:
        return None


def proves(digest: Digest, key: str, method: str, nonce: str) -> bool:
    """Return whether a digest proves that its maker has the key.

    Args:
        digest: that came with a request.
        key: of the stream.
        method: of the request.
        nonce: that was given to this connection.
    """
    given = digest.fields
    algorithm = _HASHES.get(given.get("algorithm", "MD5").lower())
    if algorithm is None or given.get("nonce") != nonce or given.get("realm") != REALM:
        return False

    def hashed(text: str) -> str:
        return hashlib.new(algorithm, text.encode(), usedforsecurity=False).hexdigest()

    parts = [hashed(f"{given.get('username', '')}:{REALM}:{key}"), nonce]
    if "qop" in given:
        parts += [given.get("nc", ""), given.get("cnonce", ""), given["qop"]]
    parts.append(hashed(f"{method}:{given.get('uri', '')}"))
    expected = hashed(":".join(parts))
    return hmac.compare_digest(expected.encode(), given.get("response", "").lower().encode())
