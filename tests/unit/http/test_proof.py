"""Who is believed to be of the cluster."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from headrace.http.proof import PROOF_HEADER, is_of_cluster, prove, with_body

NOW = 1_800_000_000.0
PATH = "/carried/cam1"


class Transport:
    """The transport of a connection from this machine."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 50_000) if name == "peername" else default

    def is_closing(self) -> bool:
        return False


def asked(secret: str, by: dict[str, str] | None = None, what: str = PATH) -> bool:
    """Return whether a request with a proof by `secret` is believed where that is the secret."""
    headers = {PROOF_HEADER: prove(secret, what, NOW), **(by or {})}
    request = make_mocked_request("GET", PATH, headers=headers, transport=Transport())
    return is_of_cluster(request, secret, NOW)


def test_the_secret_is_enough() -> None:
    """From anywhere, for that very request."""
    assert asked("a secret")
    assert asked("a secret", {"X-Forwarded-For": "203.0.113.7"})
    assert not asked("a secret", what="/carried/cam2")
    assert not asked("a secret", what=with_body(PATH, b"{}"))


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_without_one_only_this_machine_is_believed(header: str) -> None:
    """And nobody who comes through a proxy on it."""
    assert asked("")
    assert not asked("", {header: "203.0.113.7"})
