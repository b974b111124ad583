"""Which sources a node could run, of those that the cluster was asked for."""

from __future__ import annotations

from headrace.clock import SystemClock
from headrace.identifiers import StreamName
from headrace.registry.desired import Desired, DesiredSource, desired_key
from headrace.registry.memory import MemoryRegistry
from headrace.registry.sealing import Uri
from headrace.registry.transfers import OPTION_PUBLISHER, OPTION_SLATE, PUSHED
from headrace_ingress.wanted import SourceRequest, Wanted


async def looked_at(*records: Desired) -> dict[StreamName, SourceRequest]:
    """Return what could be run when `records` are desired."""
    registry = MemoryRegistry()
    await registry.start()
    try:
        for record in records:
            await registry.put_desired(record)
        wanted = Wanted({}, {}, False, [], registry, SystemClock())
        wanted.look([desired_key(record) for record in records])
        return dict(wanted.requests)
    finally:
        await registry.close()


async def test_what_may_not_be_fetched_is_refused() -> None:
    """Somebody has to say why, so it counts as what this node could do."""
    inside = DesiredSource(stream="cam1", uris=(Uri("rtsp://10.0.0.5/cam"),))
    (request,) = (await looked_at(inside)).values()
    assert (request.uris, "private network" in request.refusal) == ((), True)


async def test_a_slate_by_order_is_a_word() -> None:
    """Whoever may write records chooses no file of this machine."""
    for asked, expected in (("built-in", "built-in"), ("none", "none"), ("/etc/passwd", None), (None, None)):
        options = {} if asked is None else {OPTION_SLATE: asked}
        (request,) = (await looked_at(DesiredSource(stream="cam1", uris=(Uri("test:"),), options=options))).values()
        assert request.slate == expected


async def test_what_is_pushed_is_left_to_its_publisher() -> None:
    """Nobody fetches it, and whoever claimed it only to say so would keep out the publisher when it comes back."""
    pushed = DesiredSource(stream="cam1", uris=(Uri(PUSHED),), options={OPTION_PUBLISHER: "push-1"})
    assert await looked_at(pushed) == {}
