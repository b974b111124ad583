"""Who may ask the API."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from headrace_control_api.access import Access, Refusal, Scope

OPEN = Access()
GUARDED = Access({"first-token": Scope.ADMIN, "second-token": Scope.READ})


def status(access: Access, peer: str | None = "127.0.0.1", **headers: str) -> int | None:
    """Return the status of the refusal, `None` when it is answered; `_` in names stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in {"Host": "localhost:8081", **headers}.items()}
    granted = access.grant(CIMultiDict(named), peer)
    return granted.status if isinstance(granted, Refusal) else None


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


def test_tokens_allow_what_they_are_configured_for() -> None:
    """A token's scope is what was configured; without tokens this machine may do everything."""
    shown = CIMultiDict({"Authorization": "Bearer second-token"})
    assert GUARDED.grant(shown, "10.0.0.7") is Scope.READ
    assert OPEN.grant(CIMultiDict({"Host": "localhost"}), "127.0.0.1") is Scope.ADMIN


def test_configured_origins_are_taken_from_this_machine() -> None:
    """A page of a configured origin may ask without a token, but not by way of another machine."""
    access = Access(origins=frozenset({"https://ops.example"}))
    assert status(access, Origin="https://ops.example") is None
    assert status(access, Origin="https://evil.example") == 403
    assert status(access, "10.0.0.7", Origin="https://ops.example") == 403
    assert status(Access(origins=frozenset({"*"})), Origin="https://any.example") is None
