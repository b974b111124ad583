"""Sound and picture stay together where a stream begins anew."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator

import pytest

from support.alignment import read_alignment
from support.live_cluster import LiveCluster, live_cluster, wait_filled

OFF_MAX_SECONDS = 0.02

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def cluster() -> Iterator[LiveCluster]:
    with live_cluster() as made:
        yield made


async def test_sound_and_picture_stay_together_over_epochs(cluster: LiveCluster) -> None:
    """Three epochs, decoded in one go: each beep is heard within 20 ms of the second that the picture shows."""
    ingress, url = cluster.ingress, cluster.urls()[0]
    await wait_filled(url, epochs=1, segments=4)
    for epochs in (2, 3):
        ingress.kill()
        ingress.stop()
        ingress.start()
        await wait_filled(url, epochs=epochs, segments=4)
    options = {"live_start_index": "0"}
    found = await asyncio.to_thread(read_alignment, f"{url}/live/demo/index.m3u8", 18.0, options)
    errors = [error for _, error in found.errors()]
    jumps = found.jumps()
    print(
        f"{len(found.pictures)} pictures, {len(errors)} beeps, {len(jumps)} epochs begun: sound later by "
        f"{statistics.median(errors) * 1000:+.1f} ms ({min(errors) * 1000:+.1f} to {max(errors) * 1000:+.1f})"
    )
    assert len(jumps) >= 2
    assert len(errors) >= 10
    for begin, end in zip([0.0, *jumps], [*jumps, 2e10], strict=True):
        assert [error for time, error in found.errors() if begin <= time < end], "an epoch without a beep"
    assert max(abs(error) for error in errors) < OFF_MAX_SECONDS
