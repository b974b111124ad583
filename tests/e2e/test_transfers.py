"""Transfers as people and scripts see them: in a browser's player, and by WCS's own REST client in a page."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from integration.transfers.rig import KEY_SECRET, PATTERN, Cluster, cluster, credentials
from support.browser import WatchedPage, open_page, requires_chromium

CLIENT = Path(__file__).parent / "players" / "node_modules" / "@flashphoner" / "websdk" / "flashphoner-rest-api.js"

pytestmark = [pytest.mark.redis, pytest.mark.browser, pytest.mark.timeout(240), requires_chromium]

requires_client = pytest.mark.skipif(
    not CLIENT.is_file(), reason="no WCS client: run `npm ci` in tests/e2e/players to install it"
)


@asynccontextmanager
async def two_clusters(folder: Path, origin: str = "") -> AsyncIterator[tuple[Cluster, Cluster, str]]:
    """Run two clusters; give them, and the address that the first pushes to."""
    sources = {
        "ingress.sources": json.dumps({"demo": PATTERN}),
        "control_api.cors_origins": json.dumps([origin] if origin else []),
    }
    nodes = {"ingress-1": "ingress", "edge-1": "edge", "api-1": "control-api"}
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(cluster("a", nodes, sources))
        file = credentials(folder, "b")
        theirs = await stack.enter_async_context(cluster("b", nodes, {"relay.credentials_file": str(file)}))
        await ours.until_stream("demo", "live")
        port = theirs.node("ingress-1").port()
        yield ours, theirs, f"ws://partner:{KEY_SECRET.replace(' ', '%20')}@127.0.0.1:{port}"


async def test_a_pushed_stream_plays_in_a_browser_there(tmp_path: Path) -> None:
    """A push by REST makes the picture play from an edge of the other cluster; its end is told to the player."""
    async with two_clusters(tmp_path) as (ours, theirs, uri):
        body = {"uri": uri, "localStreamName": "demo", "remoteStreamName": "from/demo"}
        assert (await ours.ask("POST", "/rest-api/pull/push", body))[0] == 200
        await ours.until("demo", "PROCESSED_REMOTE")
        await theirs.until_stream("from%2Fdemo", "live")
        async with open_page(f"{theirs.url('edge-1')}/watch/from/demo") as page:
            await page.wait_for_player(
                "video.currentTime > 2 && stats.state === 'live' && video.videoWidth === 320", 40
            )
            rate = await page.measure_rate(5)
            assert rate.rate == pytest.approx(1.0, abs=0.2)
            names = {"localStreamName": "demo", "remoteStreamName": "from/demo"}
            assert (await ours.ask("POST", "/rest-api/pull/terminate", names))[0] == 200
            await page.wait_for_player("stats.state === 'ended'", 30)
        await theirs.until_stream("from%2Fdemo", None)


@asynccontextmanager
async def foreign_page() -> AsyncIterator[str]:
    """Serve a page with WCS's client from an origin of its own."""

    async def index(request: web.Request) -> web.Response:
        return web.Response(text='<script src="/client.js"></script>', content_type="text/html")

    async def client(request: web.Request) -> web.Response:
        return web.Response(text=CLIENT.read_text(), content_type="text/javascript")

    app = web.Application()
    app.add_routes([web.get("/", index), web.get("/client.js", client)])
    server = TestServer(app)
    await server.start_server()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        await server.close()


async def call(page: WatchedPage, api: str, method: str, *arguments: Any) -> Any:
    """Call a method of WCS's client in the page; return what it resolved to, or the status it was rejected with."""
    script = """async ([api, path, given]) => {
        const instance = FlashphonerRestApi.instance(api, api);
        const method = path.split('.').reduce((of, name) => of[name], instance);
        try { return {ok: await method(...given) ?? null}; }
        catch (error) { return {failed: error?.status ?? error?.code ?? String(error)}; }
    }"""
    return await page.page.evaluate(script, [api, method, list(arguments)])


@requires_client
async def test_the_client_of_wcs_in_a_page(tmp_path: Path) -> None:
    """push, findAll, pull, terminate and stream.find of the real client, and what it is told when they fail."""
    async with foreign_page() as origin, two_clusters(tmp_path, origin) as (ours, theirs, uri):
        api = ours.url("api-1")
        async with open_page(origin) as page:
            assert "failed" in await call(page, api, "pull.findAll")
            assert "ok" in await call(page, api, "pull.push", uri, "demo", "from/demo")
            await ours.until("demo", "PROCESSED_REMOTE")
            (found,) = (await call(page, api, "pull.findAll"))["ok"]
            assert (found["localStreamName"], found["remoteStreamName"]) == ("demo", "from/demo")
            assert (found["status"], KEY_SECRET in json.dumps(found)) == ("PROCESSED_REMOTE", False)
            assert "failed" in await call(page, api, "pull.push", uri, "demo", "from/demo")
            edge = theirs.url("edge-1", "ws")
            assert "ok" in await call(page, api, "pull.pull", edge, "back", "from/demo")
            await ours.until("back", "PROCESSED_REMOTE")
            assert "failed" in await call(page, api, "pull.pull", edge, "demo", "from/demo")
            (stream,) = (await call(page, api, "stream.find", None, "back"))["ok"]
            assert (stream["name"], stream["status"]) == ("back", "PUBLISHING")
            assert "ok" in await call(page, api, "pull.terminate", "back", "from/demo")
            assert "ok" in await call(page, api, "pull.terminate", "demo", "from/demo")
            assert "failed" in await call(page, api, "pull.terminate", "demo", "from/demo")
            await theirs.until_stream("from%2Fdemo", None)
            # Another API of another cluster lets no page of this origin in: CORS is by configuration.
            assert "failed" in await call(page, theirs.url("api-1"), "stream.find", None, "demo")
