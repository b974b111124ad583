"""Pictures of a live stream, through the API: taken by an edge for a control API of its own, or in one process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from io import BytesIO
from typing import Any

import aiohttp
import av
import pytest
from pydantic import SecretStr

from headrace.http.listener import HttpListener
from headrace.http.proof import PROOF_HEADER, is_proven, prove
from headrace.identifiers import NodeId, StreamName
from headrace.media import still
from headrace.registry.memory import MemoryRegistry
from headrace.registry.records import NodeRecord, StreamRecord, TrackSummary
from headrace.relay.hub import Hub
from headrace.service.groups import Settings
from headrace.service.runtime import Component, Runtime
from headrace.session import stills
from headrace.session.stills import NoStill, StillRequest, Stills
from headrace_control_api.app import build as build_api
from headrace_edge.app import build as build_edge
from support.live_media import Publisher, make_clip

VIDEO = TrackSummary(track=1, kind="video", codec="avc1.64001f", width=320, height=180)
AUDIO = TrackSummary(track=1, kind="audio", codec="mp4a.40.2", sample_rate=48_000, channels=2)
SECRET = "what all nodes of the tests share"


def picture(data: bytes) -> tuple[str, int, int]:
    """Return codec, width and height of a picture, which must be one and not all of one colour."""
    with av.open(BytesIO(data), "r") as container:
        (frame,) = list(container.decode(video=0))
        luma = bytes(frame.reformat(format="gray").planes[0])
        assert len(set(luma)) > 8
        return container.streams.video[0].codec_context.name, frame.width, frame.height


class Api:
    """A control API and an HTTP client of it."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.http = http

    async def get(self, path: str) -> tuple[int, str, bytes]:
        async with self.http.get(self.url + path) as answer:
            return answer.status, answer.content_type, await answer.read()

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with self.http.post(self.url + path, json=body) as answer:
            return answer.status, await answer.json()


class Cluster:
    """A hub with real media, an edge that serves it, and control APIs."""

    def __init__(self, stack: contextlib.AsyncExitStack, api_secret: str = SECRET) -> None:
        self.stack = stack
        self.hub = Hub()
        self.registry = MemoryRegistry()
        self.settings = Settings.model_validate(
            {"edge": {"port": 0, "fmp4_port": 0}, "relay": {"secret": SECRET}, "control_api": {"port": 0}}
        )
        self.edge_url = ""

    async def start(self) -> None:
        await self.registry.start()
        self.stack.push_async_callback(self.registry.close)
        publisher = Publisher(self.hub.produce(StreamName("site7/cam1")))
        await publisher.start(make_clip(320, 180))
        self.stack.push_async_callback(publisher.stop)
        edge = build_edge(self.settings, Runtime(NodeId("edge-1"), "edge"), self.hub, self.registry)
        self.edge_url = await self._run(edge, "edge")
        url = self.edge_url.replace("http", "ws") + "/relay"
        self.registry.keep_node(NodeRecord(node="edge-1", role="edge", relay_url=url, streams=("site7/cam1",)))
        for name in ("site7/cam1", "away"):
            record = StreamRecord(stream=name, node="edge-1", epoch=1, state="live", tracks=(VIDEO,))
            self.registry.keep_stream(record)
        self.registry.keep_stream(StreamRecord(stream="promised", node="edge-1", epoch=0, state="interrupted"))
        self.registry.keep_stream(StreamRecord(stream="radio", node="edge-1", epoch=1, state="live", tracks=(AUDIO,)))

    async def api(self, *, own_hub: bool = False, settings: Settings | None = None) -> Api:
        runtime = Runtime(NodeId("api-1"), "control-api")
        hub = self.hub if own_hub else None
        url = await self._run(build_api(settings or self.settings, runtime, hub, self.registry), "control-api")
        return Api(url, await self.stack.enter_async_context(aiohttp.ClientSession()))

    async def _run(self, components: Sequence[Component], name: str) -> str:
        for component in components:
            await component.start()
            self.stack.push_async_callback(component.stop)
        (listener,) = (part for part in components if isinstance(part, HttpListener) and part.name == name)
        return f"http://127.0.0.1:{listener.bound_port}"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with contextlib.AsyncExitStack() as stack:
        cluster = Cluster(stack)
        await cluster.start()
        yield cluster


@pytest.mark.parametrize("own_hub", [False, True], ids=["by an edge", "in one process"])
async def test_a_picture_of_a_live_stream(cluster: Cluster, own_hub: bool) -> None:
    """JPEG or PNG, as wide as asked for and never wider than the stream; WCS's call gives a PNG in base64."""
    api = await cluster.api(own_hub=own_hub)
    path = "/api/v1/streams/site7%2Fcam1/snapshot"
    status, kind, data = await api.get(path)
    assert (status, kind, picture(data)) == (200, "image/jpeg", ("mjpeg", 320, 180))
    status, kind, data = await api.get(f"{path}?format=png&width=160")
    assert (status, kind, picture(data)) == (200, "image/png", ("png", 160, 90))
    assert picture((await api.get(f"{path}?width=4000"))[2])[1] == 320
    status, answer = await api.post("/rest-api/stream/snapshot", {"streamName": "site7/cam1", "more": 1})
    assert (status, picture(base64.b64decode(answer["data"]))[0]) == (200, "png")


async def test_what_has_no_picture(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown streams, one without media, wrong sizes and formats, in the shapes of both faces."""
    monkeypatch.setattr(stills, "PATIENCE_SECONDS", 0.3)
    api = await cluster.api()
    for path, expected in (
        ("nobody/snapshot", 404),
        ("promised/snapshot", 404),
        ("radio/snapshot", 404),
        ("away/snapshot", 503),
        ("away/snapshot?width=1", 400),
        ("away/snapshot?format=bmp", 400),
    ):
        assert (await api.get(f"/api/v1/streams/{path}"))[:2] == (expected, "application/problem+json")
    assert (await api.post("/rest-api/stream/snapshot", {"streamName": "nobody"}))[0] == 404
    assert (await api.post("/rest-api/stream/snapshot", {}))[0] == 400
    cluster.registry.keep_node(NodeRecord(node="edge-1", role="edge", relay_url="ws://127.0.0.1:1/relay"))
    status, _, body = await api.get("/api/v1/streams/site7%2Fcam1/snapshot")
    assert status == 503
    assert b"edge-1 cannot be asked" in body


async def test_only_the_cluster_is_answered(cluster: Cluster) -> None:
    """An edge takes pictures for who knows the secret, for that very request, and just now."""
    other = cluster.settings.model_copy(
        update={"relay": cluster.settings.relay.model_copy(update={"secret": _wrong()})}
    )
    api = await cluster.api(settings=other)
    status, _, body = await api.get("/api/v1/streams/site7%2Fcam1/snapshot")
    assert (status, b"only processes of this cluster" in body) == (503, True)
    proof = prove(SECRET, "/still/a", 1000.0)
    assert is_proven(SECRET, "/still/a", proof, 1010.0)
    for secret, what, shown, now in (
        (SECRET, "/still/b", proof, 1010.0),
        (SECRET, "/still/a", proof, 1100.0),
        ("other", "/still/a", proof, 1010.0),
        (SECRET, "/still/a", "", 1010.0),
        (SECRET, "/still/a", "x" * 100, 1010.0),
        (SECRET, "/still/a", "1010.\udcff", 1010.0),
    ):
        assert not is_proven(secret, what, shown, now)
    async with api.http.get(f"{cluster.edge_url}/still/site7/cam1", headers={PROOF_HEADER: proof}) as answer:
        assert answer.status == 403


def _wrong() -> SecretStr:
    return SecretStr("another secret")


async def test_few_are_decoded_at_once_and_each_for_all_who_ask(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred who ask for one picture within a second cost one; too many different ones are refused."""
    made = 0
    make: Callable[..., bytes] = still.make_still

    def count(*arguments: Any) -> bytes:
        nonlocal made
        made += 1
        return make(*arguments)

    monkeypatch.setattr(stills, "make_still", count)
    own = Stills(cluster.hub, Runtime(NodeId("x"), "edge").clock)
    name = StreamName("site7/cam1")
    found = await asyncio.gather(*(own.take(StillRequest(name, "jpeg")) for _ in range(100)))
    assert (len(set(found)), made) == (1, 1)
    wanted = [StillRequest(name, "jpeg", 16 + number) for number in range(stills.WAITING_MAX + 10)]
    answers = await asyncio.gather(*(own.take(each) for each in wanted), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, NoStill) and answer.busy]
    assert 0 < len(refused) <= 11
    await own.close()


def test_broken_media_is_no_picture() -> None:
    """Bytes that are no media, and a header that claims too large a picture, end in a sentence."""
    for data in (b"", b"nonsense" * 100):
        with pytest.raises(still.NoPicture):
            still.make_still(b"", data, "jpeg")
