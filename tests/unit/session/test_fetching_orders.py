"""Fetching a stream that was moved, that finds no room, or that loses a host. No sockets."""

from __future__ import annotations

from headrace.identifiers import NodeId
from headrace.testing import wait_until
from unit.session.test_fetching import fetching_from


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
        standby = world.fetch.standby
        assert standby is not None
        assert standby.node == "c"
        a.lose()
        await world.fed_by("c")
