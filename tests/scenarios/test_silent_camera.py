"""A camera that falls silent moves nobody: liveness is a matter between neighbours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from chaos.scraping import Sample, grown, scrape
from chaos.viewer import Viewer
from headrace.testing import free_port, wait_until
from support.redis_server import RedisServer
from support.rtsp_server import RtspServer, available
from support.services import Service, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.redis,
    pytest.mark.gstreamer,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not available(), reason="GStreamer's RTSP server is not installed"),
]


@pytest.fixture
def camera() -> Iterator[RtspServer]:
    with RtspServer() as server:
        yield server


@pytest.fixture(params=["none", "built-in"])
def slate(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def nodes(camera: RtspServer, slate: str) -> Iterator[tuple[Service, ...]]:
    """One ingress, two intermediates, two edges."""
    with RedisServer() as store:
        common = {"registry.url": store.url, "relay.secret": "a secret of the tests"}
        sources = json.dumps({"cam": camera.uri})
        own = {"ingress.sources": sources, "ingress.stall_seconds": "1", "ingress.slate": slate}
        services = [
            Service("ingress", "ingress-1", {**common, **own, "ingress.port": "0"}),
            *(Service("intermediate", f"mid-{n}", {**common, "intermediate.port": "0"}) for n in (1, 2)),
            *(
                Service("edge", f"edge-{n}", {**common, "edge.port": str(free_port()), "edge.fmp4_port": "0"})
                for n in (1, 2)
            ),
        ]
        with running(*services):
            yield tuple(services)


async def samples(nodes: tuple[Service, ...]) -> dict[str, Sample]:
    """Return the counters of all nodes."""
    found = await asyncio.gather(*(asyncio.to_thread(scrape, node) for node in nodes))
    return {node.node: sample for node, sample in zip(nodes, found, strict=True) if sample is not None}


async def test_a_silent_camera_moves_nobody(camera: RtspServer, nodes: tuple[Service, ...], slate: str) -> None:
    """It stands still and goes on: viewers are told and stay, no node and no viewer goes elsewhere, nothing is lost.

    Where there is a slate, its chunks come to all of them meanwhile, and the stream is interrupted all the same.
    """
    viewers = [Viewer(f"viewer-{edge.node}", "cam", f"ws://127.0.0.1:{edge.port()}") for edge in nodes[-2:]]
    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(viewer.run()) for viewer in viewers]
        await wait_until(lambda: all(viewer.report()["silence"] < 0.5 for viewer in viewers), 60)
        before = await samples(nodes)
        assert before.keys() == {node.node for node in nodes}

        camera.freeze()
        try:
            await wait_until(lambda: all(viewer.state == "interrupted" for viewer in viewers), 30)
            await asyncio.sleep(3)  # several times what a link's heartbeat would take to move anybody
            if slate != "none":
                await wait_until(lambda: all(viewer.report()["silence"] < 0.5 for viewer in viewers), 30)
                assert {viewer.state for viewer in viewers} == {"interrupted"}
        finally:
            camera.thaw()
        epoch = max(last.position[0] for last in viewers[0].check.last.values())
        await wait_until(lambda: all(viewer.state == "live" for viewer in viewers), 60)
        await wait_until(lambda: all(viewer.report()["silence"] < 0.5 for viewer in viewers), 30)

        after = await samples(nodes)
        for task in watching:
            task.cancel()
    for node in nodes:
        for counter in ("headrace_relay_switches_total", "headrace_relay_links_ended_total"):
            assert grown(before[node.node], after[node.node], counter) == 0, (node.node, counter)
    for viewer in viewers:
        figures = viewer.check.figures
        assert (figures.moves, figures.lost, figures.duplicated) == (0, 0, 0), figures
        assert viewer.check.last[1].position[0] >= epoch
