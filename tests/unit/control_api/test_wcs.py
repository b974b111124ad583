"""The face of Flashphoner WCS."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from headrace.clock import SystemClock
from headrace.registry.memory import MemoryRegistry
from headrace.registry.records import StreamRecord, TrackSummary
from headrace_control_api.transfers import Engine
from headrace_control_api.wcs import Filter, describe, find_streams, wcs_routes

VIDEO = TrackSummary(track=1, kind="video", codec="avc1.64001f", width=1280, height=720, bandwidth=2_000_000)
AUDIO = TrackSummary(track=2, kind="audio", codec="mp4a.40.2", sample_rate=48_000, channels=2)
RECORDS = [
    StreamRecord(stream="cam2", node="n1", epoch=8, state="interrupted"),
    StreamRecord(stream="cam1", node="n1", epoch=7, state="live", tracks=(VIDEO, AUDIO)),
    StreamRecord(stream="cam0", node="n1", epoch=6, state="ended"),
]


def test_a_stream_as_wcs_describes_it() -> None:
    """Members that scripts read have WCS's names and values."""
    stream = describe(RECORDS[1])
    assert (stream["name"], stream["status"], stream["published"]) == ("cam1", "PUBLISHING", True)
    assert (stream["hasVideo"], stream["videoCodec"], stream["width"], stream["height"]) == (True, "H264", 1280, 720)
    assert (stream["hasAudio"], stream["audioCodec"], stream["mediaType"]) == (True, "mpeg4-generic", "publish")
    assert len(stream["mediaSessionId"]) == 36


def test_session_ids_name_a_publication() -> None:
    """The same publication has the same id everywhere, another one another."""
    again = StreamRecord(stream="cam1", node="n2", epoch=7, state="live")
    later = StreamRecord(stream="cam1", node="n1", epoch=9, state="live")
    ids = [describe(record)["mediaSessionId"] for record in (RECORDS[1], again, later)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({}, ["cam1", "cam2"]),
        ({"name": "cam1"}, ["cam1"]),
        ({"status": "PENDING"}, ["cam2"]),
        ({"published": False}, []),
        ({"mediaSessionId": describe(RECORDS[1])["mediaSessionId"]}, ["cam1"]),
        ({"display": ["metrics"], "whatever": 1}, ["cam1", "cam2"]),
    ],
)
def test_filters(wanted: dict[str, Any], names: list[str]) -> None:
    """Known members filter, unknown ones are ignored, streams that ended are not there."""
    assert [stream["name"] for stream in find_streams(RECORDS, Filter.model_validate(wanted))] == names


async def test_over_http() -> None:
    """GET and POST answer an array, 404 when there is none, and errors have WCS's shape."""
    registry = MemoryRegistry(clock=SystemClock())
    await registry.start()
    app = web.Application()
    app.add_routes(wcs_routes(registry, Engine(registry, SystemClock()), lambda request: ""))
    async with TestClient(TestServer(app)) as client:
        nobody = await client.get("/rest-api/stream/find_all")
        assert (nobody.status, (await nobody.json())["path"]) == (404, "/rest-api/stream/find_all")
        registry.keep_stream(RECORDS[1])
        for answer in (
            await client.get("/rest-api/stream/find_all"),
            await client.post("/rest-api/stream/find_all"),
            await client.post("/rest-api/stream/find", json={"name": "cam1", "unknown": {}}),
        ):
            assert (answer.status, [stream["name"] for stream in await answer.json()]) == (200, ["cam1"])
        wrong: list[tuple[bytes, int]] = [(b"{", 400), (b"[]", 400), (b'{"name": 5}', 400), (b'{"name": "x"}', 404)]
        for body, status in wrong:
            answer = await client.post("/rest-api/stream/find", data=body)
            assert (answer.status, (await answer.json())["status"]) == (status, status)
        assert (await client.post("/rest-api/call/startup")).status == 404
    await registry.close()
