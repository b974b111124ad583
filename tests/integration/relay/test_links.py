"""Links on real sockets: who is let in, who is not, what slow ones get, and when links and streams are let go."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp
import pytest

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.relay.broadcast import RingLimits
from headrace.relay.credentials import Credential, cluster_credential
from headrace.relay.events import SubscribeReceived
from headrace.session.options import RelayOptions
from headrace.testing import wait_until
from headrace.transport.dialling import DialError, dial
from headrace.wire import relay as wire
from headrace.wire.chunk import Flag, make_chunk
from headrace.wire.stream import RouteHop, StreamState
from integration.relay.child import Child
from integration.relay.mesh import CAM, FAST, VIDEO, MeshNode, Viewer, assert_complete, mesh
from integration.relay.narrow import narrow_way
from integration.relay.shapes import diamond, direct


def with_secret(secret: str) -> RelayOptions:
    own = cluster_credential(secret)
    return replace(FAST, own=own, accepted=(own,))


def url_of(node: MeshNode) -> str:
    return node.node.record.relay_url


# -- who is let in ---------------------------------------------------------------------------------


async def test_the_same_secret_links() -> None:
    """Over the chain as without one."""
    async with mesh(with_secret("correct horse")) as m:
        w = await direct(m)
        assert_complete(w.source, w.viewer)


async def test_a_wrong_secret_is_refused_with_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    """On both sides; the stream is interrupted, and the secret is in no line."""
    async with mesh(with_secret("correct horse")) as m:
        ingress = await m.add("in", "ingress")
        edge = await m.add("edge", "edge", options=with_secret("battery staple"))
        ingress.produce()
        viewer = Viewer(edge.hub)
        await wait_until(lambda: edge.metric("headrace_relay_dials_failed_total", reason="bad_proof") >= 1)
        assert viewer.chunks == []
        assert ingress.metric("headrace_relay_links_ended_total", reason="bad_proof") >= 1
        assert edge.node.problem is not None
    said = capsys.readouterr().out
    assert said.count("link_refused") == 1
    assert "does not know the secret of key 'cluster'" in said
    assert "horse" not in said
    assert "staple" not in said


async def test_a_message_larger_than_any_chunk_is_not_read() -> None:
    """The WebSocket itself refuses it: 1009; and before the opening is done, any that is larger than control."""
    async with mesh() as m:
        node = await m.add("mid", layer=1)
        stranger = await Child.dial(url_of(node), "stranger")
        stranger.channel.send([bytes(wire.CONTROL_MAX_BYTES + 1)])
        child = await Child.dial(url_of(node))
        await wait_until(lambda: child.is_open)
        child.channel.send_shared([(b"\x3f", bytes(wire.MESSAGE_MAX_BYTES))])
        await wait_until(lambda: child.closed is not None and stranger.closed is not None)
        assert child.closed is not None
        assert stranger.closed is not None
        assert (child.closed[0], stranger.closed[0]) == (1009, 1009)


async def test_a_link_over_a_border_is_no_way_to_a_node() -> None:
    """Whoever fetches streams over a border delivers nothing, whatever name it says: parents are dialled still."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        edge = await m.add("edge", "edge")
        stranger = await Child.dial(url_of(edge), "in", role="subscriber")
        await wait_until(lambda: stranger.is_open)
        source = ingress.produce()
        viewer = Viewer(edge.hub)
        await wait_until(lambda: viewer.opened != [])
        source.step()
        await wait_until(lambda: viewer.chunks != [])


async def test_a_publisher_hears_that_it_may_not_offer() -> None:
    """Its link ends, so that it need not wait for somebody to fetch the stream."""
    key = Credential("cluster", b"s", ("publisher",), ("from/*",), ())
    async with mesh(replace(FAST, own=key, accepted=(key,))) as m:
        node = await m.add("in", "ingress")
        child = await Child.dial(url_of(node), "push-1", "s", role="publisher")
        await wait_until(lambda: child.is_open)
        child.connection.offer({StreamName("from/a"): Epoch(1)})
        child.connection.offer({StreamName("other/a"): Epoch(1)})
        child.flush()
        await wait_until(lambda: child.closed is not None)
        assert child.closed == (1008, "forbidden")


async def test_web_pages_are_sent_away() -> None:
    """A page that a browser opened anywhere must not become a node of a cluster on loopback."""
    async with mesh() as m, aiohttp.ClientSession() as session:
        node = await m.add("mid", layer=1)
        http = url_of(node).replace("ws:", "http:")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url_of(node), protocols=[wire.SUBPROTOCOL], origin="http://evil.example")
        assert refused.value.status == 403
        assert (await session.get(http)).status == 426


async def test_a_client_of_another_protocol_is_sent_away() -> None:
    """The subprotocol must be offered."""
    async with mesh() as m:
        node = await m.add("mid", layer=1)
        with pytest.raises(DialError) as failed:
            await dial(url_of(node), "headrace.play.v1", max_size=1000, send_limit_bytes=1000)
        assert "HTTP 400" in str(failed.value)


# -- heartbeat -------------------------------------------------------------------------------------


async def test_a_silent_child_is_cut_off() -> None:
    """The parent does not wait for it."""
    async with mesh() as m:
        node = await m.add("mid", layer=1)
        child = await Child.dial(url_of(node))
        await wait_until(lambda: child.is_open)
        child.channel.send = lambda messages: None  # type: ignore[method-assign]
        await wait_until(lambda: child.closed is not None)
        assert node.metric("headrace_relay_links_ended_total", reason="heartbeat_timeout") == 1


async def test_clocks_are_compared_and_transit_is_measured() -> None:
    """One machine has one clock: the offset is next to nothing, and every chunk took some time."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        await m.add("mid", layer=1)
        edge = await m.add("edge", "edge")
        source = ingress.produce()
        m.run(source)
        await m.settled()
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 100)
        mid = m.nodes["mid"]
        assert edge.metric("headrace_relay_transit_seconds_count") > 50
        assert mid.metric("headrace_relay_residence_seconds_count") > 20
        assert edge.metric("headrace_relay_round_trip_seconds_count") > 3
        offset = next(iter(edge.node.links.open_links)).clock_offset
        assert offset is not None
        assert abs(offset) < 0.05


# -- on demand -------------------------------------------------------------------------------------


async def test_a_stream_nobody_wants_costs_nothing_and_leaves_after_the_linger() -> None:
    """The first viewer's demand pulls it up the chain, the last one's leaving lets it go on every node."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        mid = await m.add("mid", layer=1)
        edge = await m.add("edge", "edge")
        source = ingress.produce()
        m.run(source)
        await m.settled()
        assert not mid.node.links.all
        assert CAM not in mid.hub.streams
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 20)
        assert mid.metric("headrace_relay_fetched_streams") == 1
        viewer.leave()
        await wait_until(lambda: CAM not in edge.hub.streams and CAM not in mid.hub.streams)
        await wait_until(lambda: ingress.hub.demands_total == 0)
        await wait_until(lambda: not edge.node.links.all and not mid.node.links.all, what="idle links closed")
        assert edge.metric("headrace_relay_links_ended_total", reason="idle") == 1


async def test_a_viewer_who_comes_back_within_the_linger_finds_the_stream_there() -> None:
    """The same broadcast, the same subscription."""
    async with mesh(replace(FAST, linger_seconds=5.0)) as m:
        w = await direct(m)
        ingress, edge = w.ingress, w.edge
        broadcast = edge.hub.streams[CAM]
        w.viewer.leave()
        assert ingress.metric("headrace_relay_served_subscriptions") == 1
        again = Viewer(edge.hub)
        assert again.broadcast is broadcast
        await wait_until(lambda: len(again.chunks) > 20)
        assert edge.metric("headrace_relay_links_ended_total", reason="idle") == 0


async def test_many_streams_share_one_link() -> None:
    """One connection for each pair of nodes."""
    names = [StreamName(f"cam{number}") for number in range(20)]
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        edge = await m.add("edge", "edge")
        sources = {name: ingress.produce(name) for name in names}
        for source in sources.values():
            m.run(source, 0.05)
        viewers = {name: Viewer(edge.hub, name) for name in names}
        await wait_until(lambda: all(len(viewer.chunks) > 30 for viewer in viewers.values()))
        assert len(ingress.node.links.open_links) == 1
        for name, viewer in viewers.items():
            assert_complete(sources[name], viewer)


async def test_a_demand_before_the_stream_exists_is_served_when_it_begins() -> None:
    """The viewer waits; the registry tells when there is somebody to ask."""
    async with mesh() as m:
        edge = await m.add("edge", "edge")
        viewer = Viewer(edge.hub)
        await asyncio.sleep(0.05)
        ingress = await m.add("in", "ingress")
        source = ingress.produce()
        m.run(source)
        await wait_until(lambda: len(viewer.chunks) > 20)
        assert_complete(source, viewer)


async def test_the_next_best_parent_is_kept_warm() -> None:
    """So that a switch needs no dialling, and a standby that is dead is known before it is needed."""
    async with mesh() as m:
        w = await diamond(m)
        links = w.edge.node.links
        await wait_until(lambda: {link.peer for link in links.open_links} == {"left", "right"})
        warm = next(link for link in links.open_links if link.peer != w.parent.id)
        await asyncio.sleep(2 * FAST.linger_seconds)
        assert warm.is_open
        w.parent.cut()
        await wait_until(lambda: w.edge.node.parent(CAM) == warm.peer)
        await w.gets(50)
        assert warm.feeds
        assert_complete(w.source, w.viewer)


async def test_a_peer_that_dialled_may_offer_streams() -> None:
    """A site behind a router dials out: what it offers is fetched over its own link, when somebody wants it."""
    async with mesh() as m:
        node = await m.add("mid", layer=1)
        viewer = Viewer(node.hub)
        site = await Child.dial(url_of(node), "site7")
        await wait_until(lambda: site.is_open)
        site.connection.offer({CAM: Epoch(1)})
        site.flush()
        asked: list[SubscribeReceived] = []

        def subscribed() -> bool:
            asked.extend(event for event in site.events if isinstance(event, SubscribeReceived))
            return bool(asked)

        await wait_until(subscribed)
        handle = asked[0].handle
        site.connection.send_state(handle, StreamState.LIVE, "", (RouteHop("site7", "ingress"),))
        site.connection.send_tracks(handle, Epoch(1), (VIDEO,))
        site.flush()
        chunk = make_chunk(ChunkId(Epoch(1), 1, 5, 0), Flag.RANDOM_ACCESS, 0, 9000, 0, 1, 0, b"media")
        site.channel.send_shared([(wire.chunk_prefix(handle, 1), chunk.record)])
        await wait_until(lambda: viewer.ids() == [chunk.id])
        assert [hop.node for hop in viewer.states[-1].route] == ["site7", "mid"]


# -- slow children ---------------------------------------------------------------------------------


async def test_a_child_that_does_not_read_is_moved_forward_and_disturbs_nobody() -> None:
    """What waits for it is bounded by the send limit and the ring; when it reads again it goes on at a random access
    point, is told the gap, and the others had every chunk all the time."""
    options = replace(FAST, timeout_seconds=30.0, send_limit_bytes=65_536)
    async with mesh(options) as m:
        m.ring = RingLimits(seconds=3.0, bytes=2 * 1024 * 1024)
        ingress = await m.add("in", "ingress")
        edge = await m.add("edge", "edge")
        source = ingress.produce(size=20_000)
        m.run(source, 0.005)
        slow = await Child.dial(url_of(ingress), "slow")
        await wait_until(lambda: slow.is_open)
        slow.subscribe(CAM)
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(slow.chunks) > 10 and len(viewer.chunks) > 10)
        slow.pause()
        link = next(link for link in ingress.node.links.open_links if link.peer == "slow")
        await wait_until(lambda: not link.writable)
        sent = len(source.sent)
        await wait_until(lambda: len(source.sent) > sent + 400)
        assert link.channel.buffered_bytes < 65_536 + 2 * 131_072
        before = slow.chunks[-1].chunk
        slow.resume()
        await wait_until(lambda: slow.gaps and slow.chunks[-1].chunk.id.position > slow.gaps[-1].next.position)
        first = next(e.chunk for e in slow.chunks if e.chunk.id == next(g.next for g in slow.gaps if g.next.track == 1))
        assert first.random_access
        assert first.id.position > before.id.position
        numbers = [e.chunk.id.position for e in slow.chunks if e.chunk.id.track == 1]
        assert numbers == sorted(set(numbers))
        await wait_until(lambda: viewer.chunks[-1].id.position >= first.id.position)
        assert_complete(source, viewer)


async def test_a_child_that_pings_without_a_break_is_cut_off() -> None:
    """It keeps the node from nothing: others' pictures go on while it tries."""
    async with mesh(replace(FAST, timeout_seconds=60.0, send_limit_bytes=65_536)) as m:
        node = await m.add("in", "ingress")
        m.run(node.produce())
        viewer = Viewer(node.hub)
        child = await Child.dial(url_of(node))
        await wait_until(lambda: child.is_open)
        child.pause()
        pings = [wire.encode(wire.Ping(id=number, sent_us=0)) for number in range(1000)]

        def ask() -> bool:
            if child.channel.buffered_bytes < 2**20:
                child.channel.send(pings)
            return node.metric("headrace_relay_links_ended_total", reason="flood") == 1

        await wait_until(ask)
        had = len(viewer.chunks)
        await wait_until(lambda: len(viewer.chunks) > had + 20)
        child.channel.abort()
        await child.channel.wait_closed()


async def test_heartbeats_do_not_wait_behind_media() -> None:
    """A child that fetches as much as a link gives is not taken for dead, and sees answers in good time."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        edge = await m.add("edge", "edge")
        names = [StreamName(f"cam{number}") for number in range(10)]
        for name in names:
            m.run(ingress.produce(name, size=50_000), 0.01)
        viewers = [Viewer(edge.hub, name) for name in names]
        await wait_until(lambda: all(len(viewer.chunks) > 100 for viewer in viewers), timeout=30)
        assert edge.metric("headrace_relay_links_ended_total", reason="heartbeat_timeout") == 0
        assert ingress.metric("headrace_relay_links_ended_total", reason="heartbeat_timeout") == 0


async def test_a_link_too_narrow_for_its_stream_lives_and_skips_forward() -> None:
    """A chunk that takes longer than the time-out to arrive is a sign of life; what does not fit through is skipped at
    random access points and told, and little of it ever waits in front of a heartbeat."""
    options = replace(FAST, heartbeat_seconds=0.1, timeout_seconds=0.4, send_limit_bytes=65_536)
    async with mesh(options) as m:
        m.ring = RingLimits(seconds=2.0, bytes=4 * 1024 * 1024)
        ingress = await m.add("in", "ingress")
        edge = await m.add("edge", "edge")
        source = ingress.produce(size=300_000)
        async with narrow_way(ingress.listener.bound_port, 600_000) as way:
            edge.hide(ingress, f"ws://127.0.0.1:{way.port}/relay")
            m.run(source, 0.1)
            viewer = Viewer(edge.hub)
            await wait_until(lambda: sum(gap.next.track == 1 for gap in viewer.gaps) >= 2, timeout=40)
            await wait_until(lambda: viewer.chunks[-1].id.position > viewer.gaps[-1].next.position, timeout=20)
        assert edge.metric("headrace_relay_links_ended_total", reason="heartbeat_timeout") == 0
        assert ingress.metric("headrace_relay_links_ended_total", reason="heartbeat_timeout") == 0
        numbers = [chunk.id.position for chunk in viewer.chunks if chunk.id.track == 1]
        assert numbers == sorted(set(numbers))
