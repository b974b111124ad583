"""Who may ask the API."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from headrace_control_api.access import Access

OPEN = Access()
GUARDED = Access(("first-token", "second-token"))


def status(access: Access, peer: str | None = "127.0.0.1", **headers: str) -> int | None:
    """Return the status of the refusal, `None` when it is answered; `_` in names stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in {"Host": "localhost:8081", **headers}.items()}
    refusal = access.refusal(CIMultiDict(named), peer)
    return refusal.status if refusal else None


@pytest.mark.parametrize("host", ["localhost:8081", "127.0.0.1:8081", "127.8.8.8", "[::1]:8081", "LOCALHOST"])
def test_this_machine_is_answered_without_tokens(host: str) -> None:
    """Programs of this machine need no token while none is configured."""
    assert status(OPEN, Host=host) is None
    assert status(OPEN, "::1", Host=host) is None
    assert status(OPEN, "::ffff:127.0.0.1", Host=host) is None


@pytest.mark.parametrize("peer", ["10.0.0.7", "2001:db8::1", "", None])
def test_other_machines_are_refused_without_tokens(peer: str | None) -> None:
    """Without a token nobody else is answered."""
    assert status(OPEN, peer) == 403


@pytest.mark.parametrize("host", ["evil.example:8081", "10.0.0.7:8081", "", "localhost.evil.example", "[::1", "127.1"])
def test_names_that_only_resolve_to_this_machine_are_refused(host: str) -> None:
    """A name that an attacker's DNS points at loopback is not loopback (DNS rebinding)."""
    assert status(OPEN, Host=host) == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:9999", "https://127.0.0.1:8081"])
def test_pages_of_other_origins_are_refused(origin: str) -> None:
    """A page in the operator's browser asks with its origin, and only our own is taken."""
    assert status(OPEN, Origin=origin) == 403
    assert status(OPEN, Origin="http://localhost:8081") is None


@pytest.mark.parametrize("header", ["X_Forwarded_For", "Forwarded", "Via"])
def test_what_a_proxy_passes_on_is_refused(header: str) -> None:
    """Behind a reverse proxy on this machine every request comes from loopback: it is not this machine's own."""
    assert status(OPEN, **{header: "10.0.0.7"}) == 403


def test_any_configured_token_is_taken_from_anywhere() -> None:
    """With tokens it does not matter where a request comes from."""
    assert status(GUARDED, "10.0.0.7", Host="api.example", Authorization="Bearer first-token") is None
    assert status(GUARDED, "10.0.0.7", Host="api.example", Authorization="bearer second-token") is None


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Basic first-token", "first-token", "Bearer first-tokenx", "Bearer ü"],
)
def test_anything_else_is_refused_with_tokens(authorization: str) -> None:
    """With tokens configured, loopback is no excuse."""
    assert status(GUARDED, Authorization=authorization) == 401
