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
        roles: patterns of the roles that the holder may take.
        offer: patterns of streams it may deliver.
        subscribe: patterns of streams it may fetch.
    """

    key: str
    secret: bytes = field(repr=False)
    roles: tuple[str, ...] = EVERYTHING
    offer: tuple[str, ...] = EVERYTHING
    subscribe: tuple[str, ...] = EVERYTHING

    def may_be(self, role: str) -> bool:
        """Return whether the holder may take `role`."""
        return any(matches(pattern, role) for pattern in self.roles)

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

    def trusts(self, credential: Credential) -> bool:
        """Return whether a link that was opened with `credential`, on either side, could be opened with it now."""
        known = (self.accepted.get(credential.key), self.own)
        return any(mine is not None and credential in (mine, host_of(mine)) for mine in known)


class NotBelieved(Exception):
    """A peer's opening is no good; the text says why, without secrets, for this side's log alone."""


def host_of(credential: Credential) -> Credential:
    """Return what a peer may do that knows the secret of our own `credential` and has a key that we do not know.

    It is one of those who gave us ours: what we may deliver it may fetch, and what we may fetch it may deliver.
    """
    return Credential(
        credential.key, credential.secret, EVERYTHING, offer=credential.subscribe, subscribe=credential.offer
    )


@dataclass(frozen=True, slots=True)
class Opening:
    """One side's words in an opening, or the other's: who it is and what it sent to be proved with."""

    node: str
    role: str
    key: str
    nonce: bytes


def prove(me: Identity, own_nonce: bytes, peer: Opening) -> tuple[bytes, bytes]:
    """Return `mac` and `host_mac` of our proof to `peer` (docs/protocol.md, section 4.2).

    The second proves that we know the peer's secret, for a peer that does not know ours; it is empty when we do not.
    """
    mac = proof_mac(me.own.secret, peer.nonce, own_nonce, me.node, peer.node)
    of_peer = me.accepted.get(peer.key)
    if of_peer is None or of_peer == me.own:
        return mac, b""
    return mac, proof_mac(of_peer.secret, peer.nonce, own_nonce, me.node, peer.node)


def believe(me: Identity, own_nonce: bytes, peer: Opening, mac: bytes, host_mac: bytes) -> Credential:
    """Return what `peer`, which sent these two as its proof, may do.

    Raises:
        NotBelieved: when it may do nothing.
    """
    known = me.accepted.get(peer.key)
    if known is None and not host_mac:
        raise NotBelieved(f"uses a key that is not known here: {peer.key!r}")
    credential, given = (host_of(me.own), host_mac) if known is None else (known, mac)
    if not credential.secret and not me.allow_open:
        raise NotBelieved("uses a key with an empty secret, which only loopback may")
    expected = proof_mac(credential.secret, own_nonce, peer.nonce, peer.node, me.node)
    if not proof_is_good(given, expected):
        raise NotBelieved(_not_proved(peer.key, credential.key))
    if not credential.may_be(peer.role):
        raise NotBelieved(f"may not be {peer.role!r} with key {peer.key!r}")
    return credential


def _not_proved(named: str, proved: str) -> str:
    if named == proved:
        return f"does not know the secret of key {named!r}"
    return f"uses a key that is not known here, {named!r}, and does not know the secret of ours, {proved!r}"


def proof_mac(secret: bytes, receiver_nonce: bytes, sender_nonce: bytes, sender: str, receiver: str) -> bytes:
    """Return the `mac` of a proof message (docs/protocol.md, section 4.2).

    Both nonces make it worthless for another connection, both names keep it from being sent back to its maker.
    """
    text = receiver_nonce + sender_nonce + sender.encode() + b"\x00" + receiver.encode()
    return hmac.digest(secret, text, hashlib.sha256)


def proof_is_good(mac: bytes, expected: bytes) -> bool:
    """Compare two macs in a time that tells nothing."""
    return hmac.compare_digest(mac, expected)
