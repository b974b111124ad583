"""The file of credentials."""

from __future__ import annotations

import pytest

from headrace.relay.credentials import Credential
from headrace.relay.keyring import InvalidKeyring, parse_keyring

GOOD = """
own = "core-2026"
[keys.core-2026]
secret = "0123456789abcdef"
[keys.site7]
secret = "fedcba9876543210"
roles = ["ingress"]
offer = ["site7/*"]
subscribe = []
"""


def test_a_file_says_what_this_node_proves_and_what_it_believes() -> None:
    """Rights that are not named are all."""
    keyring = parse_keyring(GOOD)
    assert keyring.own == Credential("core-2026", b"0123456789abcdef")
    site = Credential("site7", b"fedcba9876543210", ("ingress",), ("site7/*",), ())
    assert keyring.accepted == {"core-2026": keyring.own, "site7": site}


def test_secrets_are_not_shown() -> None:
    """Not in a log that holds the object."""
    assert "0123456789abcdef" not in repr(parse_keyring(GOOD))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("own = [", "this is no TOML"),
        ("", "missing required field `own`"),
        (GOOD.replace('"core-2026"', '"other"', 1), "own = 'other': there is no such key"),
        (GOOD.replace("subscribe", "subscribes"), r"unknown field `subscribes` - at `\$\.keys\[\.\.\.\]`"),
        (GOOD.replace("0123456789abcdef", "hush"), "length >= 16"),
        (GOOD.replace('"fedcba9876543210"', "17"), "Expected `str`"),
        (GOOD.replace("keys.site7", "keys.'site 7'"), "a key has 1 to 64 letters"),
        (GOOD.replace("[]", '[""]'), "length >= 1"),
        (GOOD.replace('"ingress"', '"ingres"'), r"keys\.site7\.roles: 'ingres' is no role; roles are ingress, "),
        (GOOD.replace("site7/*", "*/gate"), r"keys\.site7: '\*/gate': only a '\*' at the end"),
        (GOOD.replace('"fedcba9876543210"', '"fedcba9876543210'), "this is no TOML"),
    ],
)
def test_what_is_wrong_is_told_without_the_secret(text: str, says: str) -> None:
    """In a sentence that names the place."""
    with pytest.raises(InvalidKeyring, match=says) as told:
        parse_keyring(text)
    assert not any(secret in str(told.value) for secret in ("0123456789abcdef", "fedcba9876543210", "hush"))
