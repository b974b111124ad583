"""Keys of tokens at a URL: fetched, changed, and kept while it is away."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc import jwt
from joserfc.jwk import ECKey

from headrace.access import keyring
from headrace.access.tokens import KEYS_MAX
from headrace.testing import wait_until
from integration.access.rig import GuardedRig
from integration.access.test_doors import refusal_of

OLD, NEW = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")


def signed(key: ECKey) -> str:
    """Return a token for `demo`."""
    return jwt.encode({"alg": "ES256"}, {"stream": "demo", "exp": time.time() + 600}, key)


class Provider:
    """Answers with a key set."""

    def __init__(self) -> None:
        self.keys = [OLD]
        self.status = 200
        self.asked = 0
        app = web.Application()
        app.router.add_get("/jwks", self._answer)
        self.server = TestServer(app)

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]}, status=self.status)


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    monkeypatch.setattr(keyring, "RETRY_SECONDS", 0.2)
    provider = Provider()
    await provider.server.start_server()
    yield provider
    await provider.server.close()


async def test_keys_come_change_and_stay(provider: Provider) -> None:
    """A token with a new key makes the edge ask again soon; an error changes nothing but what ready says."""
    url = str(provider.server.make_url("/jwks"))
    provider.status = 503
    async with GuardedRig(secrets=[], jwks_url=url) as rig:
        assert await refusal_of(rig, f"demo?token={signed(OLD)}") == "away"
        assert "access.jwks_url: it answered 503" in str(rig.runtime.health.problems())
        provider.status = 200

        async def takes(key: ECKey) -> bool:
            return await refusal_of(rig, f"demo?token={signed(key)}") == ""

        async def takes_old() -> bool:
            return await takes(OLD)

        async def takes_new() -> bool:
            return await takes(NEW)

        await wait_until(takes_old)
        assert rig.runtime.health.problems() == {}
        asked = provider.asked
        provider.keys = [NEW]
        await wait_until(takes_new)
        assert await refusal_of(rig, f"demo?token={signed(OLD)}") == "bad_token"
        assert provider.asked - asked < 20
        provider.status = 500
        await wait_until(rig.runtime.health.problems)
        assert await takes(NEW)


async def test_more_keys_than_are_taken_end_no_edge(provider: Provider) -> None:
    """A set that is too large beside the secrets is told by ready; the keys from before stay."""
    url = str(provider.server.make_url("/jwks"))
    async with GuardedRig(jwks_url=url, jwks_seconds=5) as rig:

        async def takes_old() -> bool:
            return await refusal_of(rig, f"demo?token={signed(OLD)}") == ""

        await wait_until(takes_old)
        provider.keys = [OLD, *(ECKey.generate_key("P-256") for _ in range(KEYS_MAX - 1))]
        assert await refusal_of(rig, f"demo?token={signed(NEW)}") == "bad_token"  # which makes the edge ask again
        await wait_until(lambda: "17 keys, at most 16" in str(rig.runtime.health.problems()))
        assert await takes_old()
        provider.keys = [NEW]

        async def is_well() -> bool:
            return await refusal_of(rig, f"demo?token={signed(NEW)}") == "" and rig.runtime.health.problems() == {}

        await wait_until(is_well)
