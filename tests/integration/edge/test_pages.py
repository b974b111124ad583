"""The pages, by an HTTP client."""

from __future__ import annotations

import aiohttp
import pytest

from headrace.registry.records import StreamRecord, TrackSummary
from integration.edge.rig import EdgeRig


async def test_the_index(rig: EdgeRig, http: aiohttp.ClientSession) -> None:
    """The first page loads nothing from elsewhere and runs no inline script."""
    async with http.get(f"http://{rig.address()}/") as response:
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert response.status == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script>" not in page


async def test_the_watch_page(rig: EdgeRig, http: aiohttp.ClientSession) -> None:
    """It plays the stream in its address, muted."""
    async with http.get(f"http://{rig.address()}/watch/site7/gate") as response:
        page = await response.text()
    assert response.status == 200
    assert '<headrace-player src="/play/site7/gate" muted' in page
    assert '<script type="module" src="/player/headrace-player.js"></script>' in page


@pytest.mark.parametrize("name", ["a%22b", "%3Cscript%3E", "a%20b", "x%2F%2Fy"])
async def test_a_page_for_no_name(rig: EdgeRig, http: aiohttp.ClientSession, name: str) -> None:
    """What is no stream name gets a sentence as plain text."""
    async with http.get(f"http://{rig.address()}/watch/{name}") as response:
        assert response.status == 404
        assert response.content_type == "text/plain"


async def test_the_modules_of_the_player(rig: EdgeRig, http: aiohttp.ClientSession) -> None:
    """They are served as JavaScript, for pages of any origin, and not sent twice."""
    url = f"http://{rig.address()}/player/headrace-player.js"
    async with http.get(url) as response:
        body = await response.read()
        assert response.status == 200
        assert response.content_type == "text/javascript"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert b"customElements.define" in body
    async with http.get(url, headers={"If-None-Match": response.headers["ETag"]}) as response:
        assert response.status == 304


@pytest.mark.parametrize(
    "path",
    ["/player/", "/player/none.js", "/player/..%2fapp.py", "/player/.gitkeep", "/site/../app.py", "/site/", "/nothing"],
)
async def test_files_that_are_not_there(rig: EdgeRig, http: aiohttp.ClientSession, path: str) -> None:
    """No path reaches anything but the files of the pages."""
    async with http.get(f"http://{rig.address()}{path}") as response:
        assert response.status == 404


@pytest.mark.parametrize("path", ["/site/style.css", "/site/index.js", "/site/icon.svg", "/favicon.ico"])
async def test_files_of_the_pages(rig: EdgeRig, http: aiohttp.ClientSession, path: str) -> None:
    """What the pages name is there."""
    async with http.get(f"http://{rig.address()}{path}") as response:
        assert response.status == 200
        assert await response.read()


async def test_the_list_of_streams(rig: EdgeRig, http: aiohttp.ClientSession) -> None:
    """The list is the registry's view of the whole cluster."""
    track = TrackSummary(track=1, kind="video", codec="avc1.64001f", width=640, height=360)
    rig.registry.keep_stream(StreamRecord(stream="cam1", node="ingress-1", epoch=5, state="live", tracks=(track,)))
    async with http.get(f"http://{rig.address()}/streams") as response:
        answer = await response.json()
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert answer["node"] == "edge-1"
    (stream,) = answer["streams"]
    assert (stream["name"], stream["state"], stream["owner"]) == ("cam1", "live", "ingress-1")
    assert stream["tracks"][0]["codec"] == "avc1.64001f"
