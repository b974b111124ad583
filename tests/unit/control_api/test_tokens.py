"""Viewer tokens by API."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from headrace.access.tokens import TOKEN_SECONDS_MAX, secret_keys
from headrace.access.viewing import MemoryViewing, TooManyRevoked
from headrace.clock import SystemClock
from headrace.http.application import make_application
from headrace.identifiers import NodeId
from headrace.registry.leases import StoreAway
from headrace.registry.memory import MemoryRegistry
from headrace.service.runtime import Runtime
from headrace_control_api.access import Access, Scope
from headrace_control_api.counting import api_metrics
from headrace_control_api.events import EventLog
from headrace_control_api.routes import add_routes
from headrace_control_api.tokens import TokenOffice

Client = TestClient[web.Request, web.Application]
SECRET = "a secret of thirty-two bytes or more"
WANTED = {"streams": ["site7/*"], "seconds": 60, "viewers": 2, "origins": ["a.example"], "addresses": ["10.0.0.9/8"]}


class FailingViewing(MemoryViewing):
    """A store that fails as it is told."""

    def __init__(self, error: Exception) -> None:
        super().__init__(SystemClock())
        self._error = error

    async def revoke(self, token: str, until: float) -> None:
        raise self._error


def client_of(viewing: MemoryViewing, secret: str = SECRET, access: Access | None = None) -> Client:
    """Return a client of the API."""
    runtime = Runtime(NodeId("api"), "control-api")
    app = make_application(runtime)
    registry = MemoryRegistry(clock=runtime.clock)
    events = EventLog(registry, runtime.clock)
    office = TokenOffice(viewing, runtime.clock, secret)
    add_routes(app, registry, access or Access(), api_metrics(runtime.metrics), events, office)
    return TestClient(TestServer(app))


async def test_a_token_that_was_made_is_taken() -> None:
    """What comes back is a token that the configured secret verifies, with what was asked for."""
    async with client_of(MemoryViewing(SystemClock())) as client:
        answer = await client.post("/api/v1/tokens", json=WANTED)
        made = await answer.json()
        assert (answer.status, answer.headers["Cache-Control"]) == (201, "no-store")
        token = secret_keys([SECRET]).verify(made["token"])
        assert (token.id, token.expires) == (made["id"], made["expires"])
        assert (token.streams, token.viewers_max, token.origins) == (("site7/*",), 2, ("a.example",))
        assert [str(network) for network in token.networks or ()] == ["10.0.0.0/8"]


async def test_revoked_tokens_are_listed() -> None:
    """A revoked token is remembered under its id; revoking it again changes nothing."""
    async with client_of(MemoryViewing(SystemClock())) as client:
        for _ in range(2):
            assert (await client.delete("/api/v1/tokens/abc.1")).status == 204
        found = await (await client.get("/api/v1/revoked-tokens")).json()
        assert [token["id"] for token in found["revoked"]] == ["abc.1"]
        assert (await client.delete("/api/v1/tokens/abc.2")).status == 204
        page = await (await client.get("/api/v1/revoked-tokens?limit=1")).json()
        assert (page["revoked"][0]["id"], page["total"], page["next"]) == ("abc.1", 2, "abc.1")
        rest = await (await client.get("/api/v1/revoked-tokens?limit=1&after=abc.1")).json()
        assert ([token["id"] for token in rest["revoked"]], rest.get("next")) == (["abc.2"], None)


async def test_revocations_are_remembered_until_the_token_ends() -> None:
    """However far that is; the longer of two ends holds; what has ended needs none; nonsense is 400."""
    now = SystemClock().utc()
    in_three_years = round(now) + 3 * TOKEN_SECONDS_MAX
    async with client_of(MemoryViewing(SystemClock())) as client:
        for id, expires in (("short", round(now) + 600), ("long", in_three_years), ("over", round(now) - 600)):
            answer = await client.delete(f"/api/v1/tokens/{id}", params={"expires": expires})
            assert answer.status == 204
        for id in ("plain", "long"):
            assert (await client.delete(f"/api/v1/tokens/{id}")).status == 204
        for wrong in ("-1", "never", str(2**40)):
            assert (await client.delete("/api/v1/tokens/bad", params={"expires": wrong})).status == 400
        found = (await (await client.get("/api/v1/revoked-tokens")).json())["revoked"]
    until = {token["id"]: token["until"] for token in found}
    assert sorted(until) == ["long", "plain", "short"]
    assert 600 <= until["short"] - now <= 700
    assert 0 <= until["long"] - in_three_years <= 100
    assert abs(until["plain"] - now - TOKEN_SECONDS_MAX) < 60


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"streams": []}, "body.streams"),
        ({"streams": ["../x"]}, "body.streams.0"),
        ({"seconds": "60"}, "body.seconds"),
        ({"seconds": True}, "body.seconds"),
        ({"viewers": 0}, "body.viewers"),
        ({"addresses": ["10.0.0.300"]}, "body.addresses.0"),
        ({"subject": "a\0b"}, "body.subject"),
        ({"colour": 1}, "body.colour"),
    ],
)
async def test_wrong_members_are_told(change: dict[str, Any], field: str) -> None:
    """Each wrong member is 400 and named."""
    async with client_of(MemoryViewing(SystemClock())) as client:
        answer = await client.post("/api/v1/tokens", json={**WANTED, **change})
        assert (answer.status, [error["field"] for error in (await answer.json())["errors"]]) == (400, [field])


async def test_bodies_that_are_none() -> None:
    """What is no JSON, says that it is something else, or is too long, is refused by its own status."""
    async with client_of(MemoryViewing(SystemClock())) as client:
        as_json = {"Content-Type": "application/json"}
        statuses = [
            (await client.post("/api/v1/tokens", data=b"{", headers=as_json)).status,
            (await client.post("/api/v1/tokens", data=b"\xff\0", headers=as_json)).status,
            (await client.post("/api/v1/tokens", data=b"{}", headers={"Content-Type": "text/plain"})).status,
            (await client.post("/api/v1/tokens", data=b" " * 70_000, headers=as_json)).status,
        ]
        assert statuses == [400, 400, 415, 413]


async def test_only_admins_may() -> None:
    """A token of a lesser scope is 403, in words."""
    access = Access({"reads-only": Scope.READ, "may-write": Scope.WRITE, "may-all": Scope.ADMIN})
    async with client_of(MemoryViewing(SystemClock()), access=access) as client:
        statuses = []
        for token in access.tokens:
            shown = {"Authorization": f"Bearer {token}"}
            statuses.append((await client.post("/api/v1/tokens", json=WANTED, headers=shown)).status)
        assert statuses == [403, 403, 201]


async def test_what_cannot_be_done_is_said() -> None:
    """Without a secret nothing is signed; a full list and a store that is away have their own status."""
    async with client_of(MemoryViewing(SystemClock()), secret="") as client:
        assert (await client.post("/api/v1/tokens", json=WANTED)).status == 409
    for error, status in ((TooManyRevoked(), 409), (StoreAway("gone"), 503)):
        async with client_of(FailingViewing(error)) as client:
            assert (await client.delete("/api/v1/tokens/abc")).status == status
