"""Addresses: masked for people, sealed for the store."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.registry.sealing import URI_MAX_CHARACTERS, SealError, Uri, Vault

VAULT = Vault(["new secret", "old secret"])
CAMERA = Uri("rtsp://admin:s3cret@10.0.0.5:554/1?token=s3cret")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:s3cret@10.0.0.5:554/1?token=s3cret", "rtsp://***@10.0.0.5:554/1?***"),
        ("rtmp://user:s3cret@host/app/s3cret", "rtmp://host/***"),
        ("srt://host:9000?passphrase=s3cret", "srt://host:9000/***"),
        ("https://host/whip/cam1", "https://host/whip/cam1"),
        ("test:clock", "test:clock"),
        ("test:?size=640x360&rate=25", "test:?size=640x360&rate=25"),
    ],
)
def test_people_see_no_credentials(text: str, shown: str) -> None:
    """Neither `str` nor `repr` shows what could be a credential; `reveal` shows everything."""
    uri = Uri(text)
    assert str(uri) == shown
    assert "s3cret" not in repr(uri)
    assert uri.reveal() == text


@pytest.mark.parametrize(
    "text", ["", "x" * (URI_MAX_CHARACTERS + 1), "no scheme", "rtsp//x", "rtsp://a b", "a:\0", ":x"]
)
def test_what_is_no_address(text: str) -> None:
    """Refused, without quoting it."""
    with pytest.raises(SealError):
        Uri(text)


def test_sealed_is_no_address_of_anybody() -> None:
    """Nobody can hand in what looks sealed."""
    with pytest.raises(SealError, match="sealed"):
        Uri("sealed:1:AAAA")


def test_sealed_opens_with_either_secret_in_its_own_record_only() -> None:
    """An older secret still opens; another record's context and another cluster's secret do not."""
    for vault in (VAULT, Vault(["old secret"]), Vault([b"new secret"])):
        stored = vault.seal(CAMERA, "source:cam1")
        assert "s3cret" not in stored
        assert "admin" not in stored
        assert VAULT.open(stored, "source:cam1") == CAMERA
        assert VAULT.open(stored, "source:cam2").is_locked
        assert Vault(["another"]).open(stored, "source:cam1").is_locked
    locked = Vault().open(VAULT.seal(CAMERA, "x"), "x")
    with pytest.raises(SealError, match="does not have"):
        locked.reveal()
    assert locked != locked  # noqa: PLR0124  # two that cannot be read are never known to be the same


def test_same_address_is_never_sealed_alike() -> None:
    """Who reads the store cannot tell which cameras share a password."""
    assert VAULT.seal(CAMERA, "x") != VAULT.seal(CAMERA, "x")


@pytest.mark.parametrize("text", ["rtsp://u@h/1", "http://h/1?x=1", "rtmp://h/app/key", "srt://h:1", "http://h/#x"])
def test_without_a_secret_no_credentials_are_stored(text: str) -> None:
    """What may hold credentials is refused; the sentence names the setting and quotes no secret."""
    with pytest.raises(SealError, match=r"relay\.secret"):
        Vault().seal(Uri(text), "x")


def test_without_a_secret_the_rest_is_stored_as_it_is() -> None:
    """An address without credentials needs no secret, and is read with one too."""
    for text in ("rtsp://10.0.0.5/1", "test:?size=640x360"):
        stored = Vault([""]).seal(Uri(text), "x")
        assert stored == text
        assert VAULT.open(stored, "x") == Uri(stored)


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda data: f"sealed:1:{data.hex()}")))
def test_whatever_is_stored(stored: str) -> None:
    """Anything is an address, locked, or refused."""
    try:
        VAULT.open(stored, "x")
    except SealError:
        return
