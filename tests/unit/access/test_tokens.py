"""Viewer tokens."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from headrace.access.tokens import (
    InvalidKeys,
    Keys,
    TokenRefused,
    ViewerToken,
    issue_token,
    network,
    parse_jwks,
    secret_keys,
)

SECRET = "the first secret, of 32 bytes or more"
OTHER = "another secret, of 32 bytes and more!"
TOKEN = ViewerToken(
    id="t1",
    streams=("cam1", "site7/*"),
    expires=2_000_000_000.0,
    not_before=1_000_000_000.0,
    origins=("https://a.example", "b.example"),
    networks=(network("10.0.0.0/8"), network("::1")),
    viewers_max=3,
    subject="somebody",
)


def sign(claims: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    """Return a token with these claims."""
    return jwt.encode({"alg": algorithm}, claims, OctKey.import_key(secret.encode()))


def sign_as_javascript(claims: dict[str, Any]) -> str:
    """Return a token whose claims are written in ASCII, half characters as escapes, as `JSON.stringify` does."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"}, claims)]
    text = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    digest = hmac.digest(SECRET.encode(), text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def test_what_is_issued_is_read() -> None:
    """A token says what it was made with, whichever of the known secrets signed it."""
    assert secret_keys([OTHER, SECRET]).verify(issue_token(SECRET, TOKEN)) == TOKEN


def test_a_token_without_an_id_has_one() -> None:
    """A foreign token without `jti` is named by its digest: the same everywhere, another for another token."""
    keys = secret_keys([SECRET])
    texts = [sign({"stream": "a", "exp": 5}), sign({"stream": "b", "exp": 5})]
    ids = [keys.verify(text).id for text in (*texts, texts[0])]
    assert ids[0] == ids[2] != ids[1]
    assert len(ids[0]) == 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b.c",
        "ü.a.b",
        "x" * 5000,
        issue_token(OTHER, TOKEN),
        issue_token(SECRET, TOKEN)[:-4] + "AAAA",
        "eyJhbGciOiJub25lIn0.eyJzdHJlYW0iOiIqIiwiZXhwIjo5OTk5OTk5OTk5fQ.",
        "a.b.c.d.e",
    ],
)
def test_what_was_not_signed_by_a_known_key_is_refused(text: str) -> None:
    """Neither another secret, nor no signature (`none`), nor encryption, nor noise is taken."""
    with pytest.raises(TokenRefused) as refused:
        secret_keys([SECRET]).verify(text)
    assert refused.value.code == "bad_token"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"stream": "a"},
        {"exp": 5},
        {"stream": "", "exp": 5},
        {"stream": [], "exp": 5},
        {"stream": "a", "exp": "5"},
        {"stream": "a", "exp": -1},
        {"stream": "a", "exp": 5, "viewers": 0},
        {"stream": "a", "exp": 5, "viewers": "2"},
        {"stream": "a", "exp": 5, "origins": "a.example"},
        {"stream": "a", "exp": 5, "addresses": ["nowhere"]},
        {"stream": "a", "exp": 5, "jti": 7},
    ],
)
def test_claims_of_the_wrong_kind_are_refused(claims: dict[str, Any]) -> None:
    """A limit that cannot be read is not left out: the token is refused."""
    with pytest.raises(TokenRefused):
        secret_keys([SECRET]).verify(sign(claims))


def test_a_name_that_was_cut_within_a_character_can_be_stored() -> None:
    """A subject is written into the list of viewers, an id is digested: half of an emoji must not get that far."""
    keys = secret_keys([SECRET])
    token = keys.verify(sign_as_javascript({"stream": "a", "exp": 5, "sub": "Zoë \U0001f600\ud83d"}))
    assert token.subject == "Zoë \U0001f600?"
    with pytest.raises(TokenRefused):
        keys.verify(sign_as_javascript({"stream": "a", "exp": 5, "jti": "cut \ud83d"}))


def test_keys_of_a_set_are_changed_while_tokens_are_in_use() -> None:
    """Tokens of both the old and the new key are taken as long as both are in the set, and by type of key only."""
    old, new = RSAKey.generate_key(2048, {"kid": "old"}), ECKey.generate_key("P-256", {"kid": "new"})
    claims = {"stream": "a", "exp": 5}
    texts = [jwt.encode({"alg": "RS256", "kid": "old"}, claims, old), jwt.encode({"alg": "ES256"}, claims, new)]
    both = parse_jwks(json.dumps({"keys": [old.as_dict(private=False), new.as_dict(private=False)]}))
    assert [both.verify(text).streams for text in texts] == [("a",), ("a",)]
    later = parse_jwks(json.dumps({"keys": [new.as_dict(private=False)]}))
    assert later.verify(texts[1]).streams == ("a",)
    with pytest.raises(TokenRefused):
        later.verify(texts[0])


def test_a_public_key_is_no_secret() -> None:
    """A token signed by HS256 with the text of a public key is refused (algorithm confusion)."""
    key = RSAKey.generate_key(2048)
    keys = parse_jwks(json.dumps({"keys": [key.as_dict(private=False)]}))
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"}, {"stream": "*", "exp": 9e9})]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    mac = hmac.digest(key.as_pem(private=False), text, "sha256")
    with pytest.raises(TokenRefused):
        keys.verify(f"{text.decode()}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"keys": 5}', '{"keys": [{"kty": "oct"}]}', '{"keys": [5]}', "[" * 10_000]
)
def test_what_is_no_key_set_is_said_so(text: str) -> None:
    """A file that is none is refused in one sentence."""
    with pytest.raises(InvalidKeys):
        parse_jwks(text)


def test_keys_that_are_too_weak_or_too_many() -> None:
    """Short secrets and endless lists of keys are refused."""
    with pytest.raises(InvalidKeys):
        secret_keys(["short"])
    with pytest.raises(InvalidKeys):
        secret_keys([RSAKey.generate_key(2048).as_pem(private=False).decode()])
    with pytest.raises(InvalidKeys):
        Keys([OctKey.import_key(SECRET.encode())] * 17)


@given(st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}"))
def test_no_text_does_harm(text: str) -> None:
    """Whatever comes as a token is refused in the one documented way."""
    with pytest.raises(TokenRefused):
        secret_keys([SECRET]).verify(text)
