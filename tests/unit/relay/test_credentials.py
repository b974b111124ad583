"""Who may link, and what a link may carry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.relay.credentials import Credential, cluster_credential, matches, proof_is_good, proof_mac

PROOFS = json.loads((Path(__file__).parents[2] / "vectors" / "relay.json").read_text())["proofs"]


@pytest.mark.parametrize("vector", PROOFS, ids=[vector["name"] for vector in PROOFS])
def test_a_proof_is_the_mac_of_the_vector(vector: dict[str, str]) -> None:
    """HMAC-SHA-256 over both nonces and both names."""
    mac = proof_mac(
        vector["secret"].encode(),
        bytes.fromhex(vector["receiver_nonce"]),
        bytes.fromhex(vector["sender_nonce"]),
        vector["sender"],
        vector["receiver"],
    )
    assert mac.hex() == vector["mac"]
    assert proof_is_good(mac, bytes.fromhex(vector["mac"]))
    assert not proof_is_good(mac[:-1] + b"\x00", mac)


@pytest.mark.parametrize(
    ("pattern", "text", "covered"),
    [
        ("*", "anything/at all", True),
        ("site7/*", "site7/gate", True),
        ("site7/*", "site77/gate", False),
        ("site7/*", "site7", False),
        ("gate", "gate", True),
        ("gate", "gate2", False),
        ("gate*", "gate2", True),
        ("", "gate", False),
        ("a*b", "axb", False),
    ],
)
def test_a_pattern_is_a_name_or_a_beginning(pattern: str, text: str, covered: bool) -> None:
    """Only a star at the end means something."""
    assert matches(pattern, text) is covered


def test_scopes_of_a_credential() -> None:
    """A site agent may deliver its own streams and fetch none."""
    agent = Credential("site7", b"secret", roles=("ingress",), offer=("site7/*", "extra"), subscribe=())
    assert agent.may_be("ingress")
    assert not agent.may_be("edge")
    assert agent.may_offer("site7/gate")
    assert agent.may_offer("extra")
    assert not agent.may_offer("site8/gate")
    assert not agent.may_subscribe("site7/gate")


def test_a_cluster_secret_is_a_credential_with_all_rights() -> None:
    """The smallest deployment's form."""
    cluster = cluster_credential("secret")
    assert (cluster.key, cluster.secret) == ("cluster", b"secret")
    assert cluster.may_be("edge")
    assert cluster.may_offer("x")
    assert cluster.may_subscribe("y/z")


def test_secrets_are_not_shown() -> None:
    """Not in a log that holds the object."""
    assert "horse" not in repr(cluster_credential("correct horse"))
