"""Fetching a stream that was moved, that finds no room, or that loses a host. No sockets."""

from __future__ import annotations

import pytest

from headrace.identifiers import NodeId
from headrace.session import aims
from headrace.testing import wait_until
from unit.session.parents import fetching_from, pass_seconds


async def test_a_moved_stream_takes_the_new_parent_before_it_leaves_the_old_one() -> None:
    """What both deliver counts once, and the old one is not avoided afterwards."""
    async with fetching_from("a", "b") as world:
        a = await world.fed_by("a")
        a.live("in")
        a.deliver(0, 1)
        world.moved_to = NodeId("b")
        world.fetch.wake()
        b = await world.fed_by("b")
        assert a.feeds, "the old one delivers until the new one does"
        a.deliver(2)
        b.live("in")
        b.deliver(2, 3)
        assert not a.feeds
        assert world.broadcast.last[1].id.chunk == 3
        assert world.broadcast.gaps == 0
        assert world.switches("moved") == 1
        world.moved_to = None
        world.fetch.wake()
        assert world.fetch.parent == "b", "nothing moves back by itself"
        world.moved_to = NodeId("a")
        world.fetch.wake()
        await world.fed_by("a")


async def test_a_stream_is_not_moved_to_who_cannot_take_it() -> None:
    """The new parent is full, away, or not there: the old one stays."""
    async with fetching_from("a", "b") as world:
        a = await world.fed_by("a")
        a.live("in")
        a.deliver(0)
        for full, unreachable, wanted in (({"b"}, set(), "b"), (set(), {"b"}, "b"), (set(), set(), "c")):
            world.full, world.unreachable, world.moved_to = full, unreachable, NodeId(wanted)
            world.fetch.wake()
            assert a.feeds
            assert not a.feed.ended.done()


async def test_more_room_is_looked_for_when_every_parent_is_full() -> None:
    """The full ones are asked nevertheless, and refuse."""
    async with fetching_from("a") as world:
        world.full = {"a"}
        a = await world.fed_by("a")
        a.feeds.pop(1).refused("full", "no room")
        await wait_until(lambda: world.searches > 0, 2)


async def test_a_loss_is_followed_by_a_parent_on_another_host() -> None:
    """What killed the parent may have killed its host."""
    async with fetching_from("a", "b", "c") as world:
        world.hosts = {"a": "one", "b": "one", "c": "two"}
        a = await world.fed_by("a")
        a.live("in")
        a.deliver(0)
        standby = world.fetch.tick()
        assert standby is not None
        assert standby.node == "c"
        a.lose()
        await world.fed_by("c")


async def test_a_move_that_is_refused_keeps_the_parent_and_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is subscribed to anew, the stream flows all the time, and it is tried again after waits that grow."""
    async with fetching_from("a", "b") as world:
        a = await world.fed_by("a")
        a.live("in")
        a.deliver(0)
        world.moved_to = NodeId("b")
        for tries in (1, 2, 3):
            world.fetch.wake()
            b = await world.fed_by("b")
            b.feeds.popitem()[1].refused("forbidden", "not for you")
            await wait_until(lambda: world.fetch.parent == "a" and not a.feed.ended.done())
            world.fetch.wake()
            world.fetch.tick()
            await pass_seconds(0.02)
            assert len(b.asked) == tries
            a.deliver(tries)
            world.clock.advance(aims.RETRY_SECONDS * 2 ** (tries - 1))
        assert len(a.asked) == 1
        assert world.broadcast.last[1].id.chunk == 3
    assert capsys.readouterr().out.count("[warning  ] move_failed") == 1


async def test_a_stream_that_went_past_its_layer_goes_back_when_that_has_been_there_for_a_while() -> None:
    """The old parent delivers until the new one does, and nothing goes anywhere after that."""
    async with fetching_from("near", "far") as world:
        world.distances = {"far": 2}
        world.unreachable = {"near"}
        far = await world.fed_by("far")
        far.live("in")
        far.deliver(0)
        world.unreachable = set()
        world.fetch.tick()
        world.clock.advance(aims.RETURN_SECONDS / 2 - 1)
        world.fetch.tick()
        await pass_seconds(0.02)
        assert world.fetch.parent == "far"
        world.clock.advance(aims.RETURN_SECONDS / 2 + 1)
        world.fetch.tick()
        near = await world.fed_by("near")
        far.deliver(1)
        assert far.let_go == 0
        near.live("in")
        near.deliver(1, 2)
        assert far.let_go == 1
        assert world.switches("nearer") == 1
        for _ in range(5):
            world.clock.advance(aims.RETURN_SECONDS)
            world.fetch.tick()
        await pass_seconds(0.02)
        assert world.fetch.parent == "near"
