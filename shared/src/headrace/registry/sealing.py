"""Addresses that may hold credentials: masked wherever people see them, sealed wherever they are stored.

A vault seals under a key derived from a secret that all nodes of the cluster know. What is sealed is bound to the
record that it stands in, so that nobody who may write to the store can have one camera's password sent to another's
address. Without a secret only addresses that hold no credentials can be stored.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from headrace.telemetry.masking import MASK, mask_uris

URI_MAX_CHARACTERS: Final = 2048
"""Longest address, in characters: what browsers and cameras agree on."""

SEALED_MAX_CHARACTERS: Final = 4 * URI_MAX_CHARACTERS
"""Longest sealed address, in characters: every character may be three bytes, and Base64 makes four of three."""

SECRETS_MAX: Final = 8
"""Most secrets that a vault opens with: a rotation knows two."""

_SCHEME: Final = "sealed:"
_MARK: Final = "sealed:1:"
_NONCE_BYTES: Final = 12  # what AES-GCM is specified for, NIST SP 800-38D 5.2.1.1
_KEY_BYTES: Final = 32
_SECRET_PATHS: Final = ("rtmp", "rtmps", "srt")
"""Schemes whose path or query is itself the right to publish."""

_SECRETLESS: Final = ("test",)
"""Schemes that lead nowhere: there is nothing to be let into."""


class SealError(ValueError):
    """An address that cannot be sealed, opened or accepted; the sentence never quotes it."""


class Uri:
    """An address; `repr` and `str` show it without credentials, `reveal` with them.

    Attributes:
        is_locked: it was sealed with a secret that this process does not have.
    """

    __slots__ = ("_text", "is_locked")

    def __init__(self, text: str) -> None:
        """Take an address as somebody wrote it.

        Raises:
            SealError: when it is empty, too long, has no scheme, or holds white space or control characters.
        """
        if not 0 < len(text) <= URI_MAX_CHARACTERS:
            raise SealError(f"address of {len(text)} characters: 1 to {URI_MAX_CHARACTERS} are allowed")
        if any(character <= " " or character == "\x7f" for character in text):
            raise SealError("address with white space or control characters: percent-encode them")
        if not text.partition(":")[0].replace("+", "").replace("-", "").replace(".", "").isalnum() or ":" not in text:
            raise SealError("address without a scheme: it begins with one and a colon, for example rtsp://")
        if text.startswith(_SCHEME):
            raise SealError(f"address with the scheme {_SCHEME[:-1]!r}: that is what sealed ones are stored under")
        self._text = text
        self.is_locked = False

    @classmethod
    def locked(cls) -> Uri:
        """Return an address that cannot be read here."""
        uri = cls.__new__(cls)
        uri._text = ""
        uri.is_locked = True
        return uri

    def reveal(self) -> str:
        """Return the address with its credentials; for connecting, never for showing.

        Raises:
            SealError: when it is locked.
        """
        if self.is_locked:
            raise SealError("the address is sealed with a secret that this node does not have")
        return self._text

    @property
    def scheme(self) -> str:
        """The scheme in lower case; empty when locked."""
        return self._text.partition(":")[0].lower()

    @property
    def may_hold_credentials(self) -> bool:
        """Whether anything in it could be a credential: a user, a query, or a path that is a key."""
        if self.scheme in _SECRETLESS:
            return False
        try:
            parts = urlsplit(self._text)
        except ValueError:
            return True
        return "@" in self._text or bool(parts.query or parts.fragment) or parts.scheme.lower() in _SECRET_PATHS

    def __str__(self) -> str:
        if self.is_locked:
            return "(sealed)"
        if self.scheme in _SECRET_PATHS:
            host = self._text.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]
            return f"{self.scheme}://{host}/{MASK}"
        if self.scheme in _SECRETLESS:
            return self._text
        base, mark, _ = self._text.partition("?")
        return mask_uris(base) + (f"?{MASK}" if mark else "")

    def __repr__(self) -> str:
        return f"Uri({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Uri):
            return NotImplemented
        return not self.is_locked and not other.is_locked and self._text == other._text

    def __hash__(self) -> int:
        return hash((Uri, self._text))


class Vault:
    """Seals addresses with the first of some secrets, and opens those sealed with any of them.

    Args:
        secrets: the newest first; empty ones are ignored. None at all: only addresses without credentials are stored.
    """

    def __init__(self, secrets: Sequence[str | bytes] = ()) -> None:
        given = [secret.encode() if isinstance(secret, str) else secret for secret in secrets if secret]
        self._ciphers = [AESGCM(_derive(secret)) for secret in given[:SECRETS_MAX]]
        self._tag_key = _derive(given[0], b"headrace tags v1") if given else b""

    def __repr__(self) -> str:
        return f"<Vault with {len(self._ciphers)} keys>"

    def tag(self, text: str) -> str:
        """Return a word for a text that may hold credentials: the same for all who know the newest secret.

        Nobody else can try out which text it stands for. Of other texts it is another, as far as 96 bits go.
        """
        return hashlib.blake2b(text.encode(), key=self._tag_key, digest_size=12).hexdigest()

    def seal(self, uri: Uri, context: str) -> str:
        """Return what to store for `uri` in the record that `context` names.

        Raises:
            SealError: when it may hold credentials and there is no secret, or when it is locked.
        """
        text = uri.reveal()
        if self._ciphers:
            nonce = secrets.token_bytes(_NONCE_BYTES)
            data = nonce + self._ciphers[0].encrypt(nonce, text.encode(), context.encode())
            return _MARK + base64.urlsafe_b64encode(data).decode()
        if uri.may_hold_credentials:
            raise SealError(
                f"address {uri} may hold credentials, and without a cluster secret (relay.secret) they would be "
                "stored in clear"
            )
        return text

    def open(self, stored: str, context: str) -> Uri:
        """Return the address that `seal` made `stored` of; a locked one when no secret fits.

        Raises:
            SealError: when it is neither sealed nor an address.
        """
        if not stored.startswith(_SCHEME):
            return Uri(stored)
        if not stored.startswith(_MARK) or len(stored) > SEALED_MAX_CHARACTERS:
            raise SealError("sealed address of a kind that is not known here")
        try:
            data = base64.urlsafe_b64decode(stored[len(_MARK) :].encode())
        except (binascii.Error, ValueError):
            raise SealError("sealed address that is no Base64") from None
        for cipher in self._ciphers:
            try:
                return Uri(cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], context.encode()).decode())
            except (InvalidTag, ValueError):
                continue
        return Uri.locked()


def _derive(secret: bytes, purpose: bytes = b"headrace desired records v1") -> bytes:
    """Return the key for a secret; secrets are long and random, so no slow hash is needed (RFC 5869)."""
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=purpose).derive(secret)
