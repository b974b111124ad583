"""Who may link, and what a link may carry: credentials, their scopes and the proof that one is known. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

CLUSTER_KEY = "cluster"
"""The name of the credential that a plain cluster secret stands for."""

EVERYTHING = ("*",)


@dataclass(frozen=True, slots=True)
class Credential:
    """A named secret and what its holder may do.

    A pattern is a name, or the beginning of one followed by `*`: `site7/*` covers `site7/gate`, `*` everything.

    Attributes:
        key: its name, which travels in the hello.
        secret: known to both sides; it never travels. Empty means that anybody is believed.
        role: pattern of the roles that the holder may take.
        offer: patterns of streams it may deliver.
        subscribe: patterns of streams it may fetch.
    """

    key: str
    secret: bytes = field(repr=False)
    role: str = "*"
    offer: tuple[str, ...] = EVERYTHING
    subscribe: tuple[str, ...] = EVERYTHING

    def may_be(self, role: str) -> bool:
        """Return whether the holder may take `role`."""
        return matches(self.role, role)

    def may_offer(self, stream: str) -> bool:
        """Return whether the holder may deliver `stream`."""
        return any(matches(pattern, stream) for pattern in self.offer)

    def may_subscribe(self, stream: str) -> bool:
        """Return whether the holder may fetch `stream`."""
        return any(matches(pattern, stream) for pattern in self.subscribe)


def matches(pattern: str, text: str) -> bool:
    """Return whether `pattern`, a name or a beginning followed by `*`, covers `text`."""
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    return text == pattern


def cluster_credential(secret: str) -> Credential:
    """Return the credential that a plain cluster secret stands for: key `cluster`, all rights."""
    return Credential(CLUSTER_KEY, secret.encode())


@dataclass(frozen=True, slots=True)
class Identity:
    """What one side of a link brings to the opening.

    Attributes:
        node: its node id.
        role: what it is.
        own: the credential it proves.
        accepted: the credentials it believes, by key.
        allow_open: whether an empty secret will do. The caller sets it when both ends of the connection are loopback
            addresses, or when the operator's configuration says so.
        software: name and version for the peer's log.
    """

    node: str
    role: str
    own: Credential
    accepted: Mapping[str, Credential]
    allow_open: bool = False
    software: str = ""


def proof_mac(secret: bytes, receiver_nonce: bytes, sender_nonce: bytes, sender: str, receiver: str) -> bytes:
    """Return the `mac` of a proof message (docs/protocol.md, section 4.2).

    Both nonces make it worthless for another connection, both names keep it from being sent back to its maker.
    """
    text = receiver_nonce + sender_nonce + sender.encode() + b"\x00" + receiver.encode()
    return hmac.digest(secret, text, hashlib.sha256)


def proof_is_good(mac: bytes, expected: bytes) -> bool:
    """Compare two macs in a time that tells nothing."""
    return hmac.compare_digest(mac, expected)
