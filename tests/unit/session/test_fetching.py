"""Fetching a stream: which parent is taken, when another is, and what viewers hear of it. No sockets."""

from __future__ import annotations

import asyncio

import pytest

from headrace.session import fetching
from headrace.session.fetching import Fetch
from headrace.testing import wait_until
from headrace.wire.stream import RouteHop, StreamState
from unit.relay.streams import video
from unit.session.parents import SWITCH_SECONDS, World, fetching_from, hops, pass_seconds, told


async def test_the_best_parent_is_asked_and_its_stream_passed_on() -> None:
    """Live from the newest random access point; the route gets this node as its last hop."""
    async with fetching_from("a", "b") as w:
        a = await w.fed_by("a")
        a.live("in")
        a.deliver(0, 1)
        assert a.asked == [None]
        assert w.broadcast.state.route == (*hops("in", "a"), RouteHop("me", "edge"))
        assert w.broadcast.last[1].id == video(1).id


async def test_a_part_of_its_parents_node_is_no_hop() -> None:
    """A process that is part of its parent's node tells the route as it came, and has none of its own."""
    async with fetching_from("a", own=()) as w:
        (await w.fed_by("a")).live("in")
        assert w.broadcast.state.route == hops("in", "a")


async def test_a_lost_parent_is_replaced_after_the_last_chunks() -> None:
    """At once, and without a word to viewers."""
    async with fetching_from("a", "b") as w:
        a = await w.fed_by("a")
        a.live("in")
        a.deliver(0, 1, 2)
        w.names.remove("a")
        a.lose()
        b = await w.fed_by("b")
        assert b.asked == [{1: video(2).id}]
        b.interrupted("nothing was received yet")
        b.live("in")
        b.deliver(3)
        await pass_seconds(2 * SWITCH_SECONDS)
        assert w.state is StreamState.LIVE
        assert w.switches("lost") == 1


async def test_viewers_are_told_when_nothing_comes_for_too_long() -> None:
    """And again when it does."""
    async with fetching_from("a") as w:
        a = await w.fed_by("a")
        a.live("in")
        a.deliver(0)
        w.unreachable.add("a")
        a.lose()
        assert w.broadcast.state.state.value == "live"
        await wait_until(lambda: w.state is StreamState.INTERRUPTED)
        assert w.broadcast.state.route == (RouteHop("me", "edge"),)
        assert w.fetch.is_orphan
        w.unreachable.clear()
        again = await w.fed_by("a")
        again.live("in")
        again.deliver(1)
        await wait_until(lambda: w.state is StreamState.LIVE)


async def test_a_parent_that_cannot_be_reached_is_passed_over() -> None:
    """The next one is asked at once."""
    async with fetching_from("a", "b") as w:
        w.unreachable.add("a")
        assert (await w.fed_by("b")).asked == [None]


async def test_with_nobody_known_the_stream_is_interrupted_and_the_registry_waited_for() -> None:
    """A change wakes the fetch."""
    async with fetching_from() as w:
        assert w.broadcast.state.reason == "it has not appeared here yet"
        await wait_until(lambda: "no node" in w.broadcast.state.reason)
        assert not w.fetch.is_orphan
        w.names.append("a")
        w.fetch.wake()
        await w.fed_by("a")


async def test_a_refusal_moves_to_the_next_and_avoids_the_first_for_a_while() -> None:
    """Then it is asked again."""
    async with fetching_from("a", "b") as w:
        a = await w.fed_by("a")
        a.feeds.pop(1).refused("too_many_streams", "no room")
        b = await w.fed_by("b")
        assert w.switches("refused") == 1
        w.clock.advance(fetching.AVOID_SECONDS + 1)
        b.lose()
        await w.fed_by("a")


async def test_a_parent_fed_by_this_node_is_dropped_at_once() -> None:
    """Its route contains us: a loop."""
    async with fetching_from("a", "b") as w:
        a = await w.fed_by("a")
        a.live("in", "me")
        assert a.let_go == 1
        await w.fed_by("b")
        assert w.switches("loop") == 1


async def test_a_route_that_cannot_be_passed_on_counts_as_a_loop() -> None:
    """Sixteen nodes are the limit, this one included."""
    async with fetching_from("a", "b") as w:
        a = await w.fed_by("a")
        a.live("in", *(f"n{number}" for number in range(14)))
        await w.fed_by("b")


async def test_a_parent_that_leaves_delivers_until_the_next_one_does() -> None:
    """Make before break."""
    async with fetching_from("a", "b") as w:
        a = await w.fed_by("a")
        a.live("in")
        a.deliver(0)
        a.feed.parent_leaving()
        b = await w.fed_by("b")
        a.deliver(1)
        assert a.let_go == 0
        b.interrupted("nothing was received yet")
        await pass_seconds(2 * SWITCH_SECONDS)
        a.deliver(2)
        assert w.state is StreamState.LIVE
        b.live("in")
        a.deliver(3)
        assert a.let_go == 0
        b.deliver(1, 2, 3, 4)
        assert a.let_go == 1
        assert w.broadcast.last[1].id == video(4).id
        assert w.broadcast.gaps == 0


async def test_a_parent_that_drains_no_longer_is_taken_again_at_once() -> None:
    """It sent the stream away, and was told to stay after all."""
    async with fetching_from("a") as w:
        a = await w.fed_by("a")
        a.live("in")
        a.deliver(0)
        a.feed.parent_leaving()
        w.fetch.wake()
        await pass_seconds(0.02)
        assert len(a.asked) == 1
        w.draining = {"a"}
        w.fetch.wake()
        w.draining = set()
        w.fetch.wake()
        await wait_until(lambda: len(a.asked) == 2)


async def test_a_parent_that_leaves_with_no_other_to_go_to_is_kept_to_its_end() -> None:
    """Nothing better is there."""
    async with fetching_from("a") as w:
        a = await w.fed_by("a")
        a.live("in")
        a.feed.parent_leaving()
        await pass_seconds(0.02)
        a.deliver(0)
        assert w.state is StreamState.LIVE
        assert w.fetch.parent == "a"


async def test_the_source_itself_being_away_moves_nobody() -> None:
    """The route begins at its owner: told at once, and the parent kept."""
    async with fetching_from("a", "b") as w:
        a = await w.fed_by("a")
        a.live("in")
        a.deliver(0)
        a.interrupted("the camera is away", "in")
        assert w.broadcast.state.reason == "the camera is away"
        await pass_seconds(0.02)
        assert w.fetch.parent == "a"


async def test_a_parent_that_lost_its_own_is_kept() -> None:
    """It looks for another itself: viewers are told at once, and news of other nodes move nobody either."""
    async with fetching_from("a", "b") as w:
        a = await w.fed_by("a")
        a.live("in")
        a.deliver(0)
        a.interrupted("the node it came from is away")
        assert w.state is StreamState.INTERRUPTED
        w.fetch.wake()
        w.fetch.tick()
        await pass_seconds(0.02)
        assert w.fetch.parent == "a"
        a.live("in")
        a.deliver(1)
        assert w.broadcast.state.state.value == "live"
        assert "b" not in w.links


async def test_a_parent_that_finds_no_way_to_the_source_for_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own link lives, but its route does not reach the owner any more, and it is cut off from all others."""
    monkeypatch.setattr(fetching, "ASTRAY_SECONDS", 0.1)
    async with fetching_from("a", "b") as w:
        a = await w.fed_by("a")
        a.live("in")
        a.deliver(0)
        a.interrupted("the node it came from is away")
        assert w.fetch.parent == "a"
        b = await w.fed_by("b")
        b.live("in")
        b.deliver(1)
        assert w.state is StreamState.LIVE
        assert w.switches("astray") == 1
        assert a.let_go == 1


async def test_a_parent_that_is_cut_off_is_kept_while_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Viewers are told; when another one appears it is taken."""
    monkeypatch.setattr(fetching, "ASTRAY_SECONDS", 0.05)
    async with fetching_from("a") as w:
        a = await w.fed_by("a")
        a.live("in")
        a.deliver(0)
        a.interrupted("the node it came from is away")
        assert w.state is StreamState.INTERRUPTED
        await wait_until(lambda: a.feed.is_overdue)
        assert w.fetch.parent == "a"
        w.names.append("b")
        w.fetch.wake()
        await w.fed_by("b")


async def test_a_parent_that_was_cut_off_and_recovers_goes_on() -> None:
    """Its patience begins anew each time."""
    async with fetching_from("a") as w:
        a = await w.fed_by("a")
        a.live("in")
        a.deliver(0)
        a.interrupted("the node it came from is away")
        a.live("in")
        a.deliver(1)
        assert w.state is StreamState.LIVE
        assert a.feed._patience is None


async def test_without_an_owner_in_the_registry_an_interruption_is_believed() -> None:
    """When the ingress itself died, every intermediate is as cut off as any other."""
    async with fetching_from("a", "b") as w:
        w.owner = None
        a = await w.fed_by("a")
        a.live("in")
        a.deliver(0)
        a.interrupted("the node it came from is away")
        await pass_seconds(0.02)
        assert w.fetch.parent == "a"


async def test_a_new_parent_that_has_nothing_for_long_is_left_for_another() -> None:
    """It may have to dial a chain itself, but not for ever."""
    original, fetching.PATIENCE_SECONDS = fetching.PATIENCE_SECONDS, 0.05
    try:
        async with fetching_from("a", "b") as w:
            a = await w.fed_by("a")
            a.interrupted("nothing was received yet")
            await w.fed_by("b")
    finally:
        fetching.PATIENCE_SECONDS = original


async def test_a_cold_parent_is_given_its_time_whatever_the_registry_says() -> None:
    """It has to dial a parent of its own: news of other nodes do not make it worse than they are."""
    async with fetching_from("a", "b") as w:
        a = await w.fed_by("a")
        a.interrupted("it has not appeared here yet")
        w.fetch.wake()
        await pass_seconds(0.02)
        assert w.fetch.parent == "a"
        a.live("in")
        a.deliver(0)
        assert w.switches("astray") == 0


async def test_ended_is_final_until_the_stream_lives_again() -> None:
    """A lost parent does not turn an ended stream into an interrupted one."""
    async with fetching_from("a") as w:
        a = await w.fed_by("a")
        a.feed.state_received(StreamState.ENDED, "over", hops("in", "a"))
        w.names.clear()
        a.lose()
        await pass_seconds(2 * SWITCH_SECONDS)
        assert w.state is StreamState.ENDED


async def test_cancelling_lets_every_subscription_go() -> None:
    """Those that are leaving included."""
    async with fetching_from("a", "b") as w:
        a = await w.fed_by("a")
        a.feed.parent_leaving()
        b = await w.fed_by("b")
    assert (a.let_go, b.let_go) == (1, 1)


async def test_a_cold_node_begins_where_its_child_asked() -> None:
    """Nothing had here yet: the child's place goes up the chain."""
    after = {1: video(7).id}
    world = World(["a"])
    fetch = Fetch(world.broadcast, lambda: after, world.fetch._context)
    task = asyncio.create_task(fetch.run())
    await wait_until(lambda: "a" in world.links and world.links["a"].asked == [after])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_viewer_that_resumes_at_a_cold_node_hears_nothing_until_it_is_known() -> None:
    """It may be there in a moment; somebody who comes without a past is told what there is."""
    async with fetching_from("a") as w:
        a = await w.fed_by("a")
        cursor, newcomer = w.broadcast.resume({1: video(0).id}), w.broadcast.join()
        a.interrupted("it has not appeared here yet")
        assert w.broadcast.read(cursor) == []
        assert [change.state for change in told(w, newcomer)] == [StreamState.INTERRUPTED]
        a.live("in")
        a.deliver(1)
        assert [change.state for change in told(w, cursor)] == [StreamState.LIVE]


async def test_a_viewer_that_resumes_at_a_cold_node_is_told_when_nothing_comes() -> None:
    """After as long as a switch may take."""
    async with fetching_from("a") as w:
        a = await w.fed_by("a")
        cursor = w.broadcast.resume({1: video(0).id})
        a.interrupted("the camera is away", "in")
        assert w.broadcast.read(cursor) == []
        await wait_until(lambda: not w.broadcast.awaited)
        assert [change.reason for change in told(w, cursor)] == ["the camera is away"]


async def test_a_stream_that_nobody_knows_costs_nothing() -> None:
    """It is looked for again when there is news, and not before: any viewer may ask for any name."""
    async with fetching_from() as w:
        await wait_until(lambda: w.fetch.is_unknown and not w.broadcast.awaited)
        looked = w.ranked
        await pass_seconds(0.1)
        assert w.fetch.tick() is None
        assert w.ranked == looked
        w.names.append("a")
        w.fetch.wake()
        await w.fed_by("a")
        assert not w.fetch.is_unknown


async def test_a_stream_that_flows_is_looked_at_when_there_is_news() -> None:
    """Its best parent delivers, nobody is avoided: the standby is remembered."""
    async with fetching_from("a", "b") as w:
        a = await w.fed_by("a")
        a.live("in")
        standby = w.fetch.tick()
        assert standby is not None
        assert standby.node == "b"
        looked = w.ranked
        assert w.fetch.tick() == standby
        assert w.ranked == looked
        w.names.remove("b")
        w.fetch.wake()
        assert w.fetch.tick() is None
        w.names.append("c")
        w.fetch.wake()
        w.unreachable.add("c")
        assert w.fetch.tick() is None
