"""The play door, by a real WebSocket client."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from headrace.registry.records import NodeRecord
from headrace.testing import wait_until
from headrace.wire import play
from headrace.wire.stream import StreamState
from integration.edge.rig import EdgeRig
from unit.edge.synthetic import AUDIO, OTHER_VIDEO, VIDEO


async def test_joining(rig: EdgeRig) -> None:
    """A player is welcomed, told state and tracks, and gets every chunk from a random access point on, in order."""
    feed = rig.feed()
    feed.push(13)
    async with rig.play() as player:
        assert player.welcome.edge == "edge-1"
        assert player.welcome.stream == "demo"
        assert player.welcome.edges == (f"ws://{rig.address()}",)
        assert player.welcome.heartbeat_ms == 500
        assert await player.expect(play.State) == play.State(state=StreamState.LIVE, route=feed.broadcast.state.route)
        assert (await player.expect(play.Tracks)).tracks == (VIDEO, AUDIO)
        assert await player.chunks(6) == feed.sent[20:]
        for _ in range(5):
            assert feed.push() == await player.chunks(2)
    await rig.wait_viewers(0)
    assert rig.hub.demands(feed.broadcast.name) == 0


async def test_waiting_for_a_stream(rig: EdgeRig) -> None:
    """A stream that nobody publishes yet is interrupted; it begins by itself."""
    async with rig.play() as player:
        state = await player.expect(play.State)
        assert (state.state, bool(state.reason)) == (StreamState.INTERRUPTED, True)
        feed = rig.feed()
        feed.push(3)
        assert await player.chunks(6) == feed.sent


async def test_resuming_on_another_connection(rig: EdgeRig) -> None:
    """A player that comes back with its last chunks loses nothing and gets nothing twice."""
    feed = rig.feed()
    feed.push(4)
    async with rig.play() as player:
        had = await player.chunks(7)
    feed.push(20)
    async with rig.play(after={chunk.id.track: chunk.id for chunk in had}) as player:
        rest = await player.chunks(len(feed.sent) - len(had))
        assert had + rest == feed.sent
        assert feed.push() == await player.chunks(2)


async def test_interruption_and_another_epoch(rig: EdgeRig) -> None:
    """The viewer stays through an interruption and is told the new tracks before their first chunk."""
    feed = rig.feed()
    feed.push(2)
    async with rig.play() as player:
        await player.chunks(4)
        feed.interrupt()
        assert (await player.expect(play.State)).reason == "the camera is silent"
        feed.open(OTHER_VIDEO, AUDIO)
        chunks = feed.push()
        assert (await player.expect(play.Tracks)).tracks == (OTHER_VIDEO, AUDIO)
        assert await player.chunks(2) == chunks


async def test_the_end_of_a_stream_closes_in_good_order(rig: EdgeRig) -> None:
    """Everything is delivered, the state is told, and the close code says that coming back makes no sense."""
    feed = rig.feed()
    feed.push(2)
    async with rig.play() as player:
        feed.end()
        await player.chunks(4)
        await wait_until(lambda: rig.edge.viewers == 0)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await player.next()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000
    assert player.said[-1] == play.State(
        state=StreamState.ENDED, reason="the programme is over", route=feed.broadcast.state.route
    )


async def test_heartbeat_and_clock() -> None:
    """Players are pinged as announced and may ask for the edge's clock; all other messages are taken in silence."""
    async with EdgeRig(heartbeat_seconds=0.1) as rig:
        rig.feed()
        async with rig.play() as player:
            ping = await player.expect(play.Ping)
            assert (await player.expect(play.Ping)).id == ping.id + 1
            await player.socket.send('{"type":"time","sent":12.5}')
            answer = await player.expect(play.TellTime)
            assert answer.sent == 12.5
            assert abs(answer.utc_us / 1e6 - rig.runtime.clock.utc()) < 5
            await player.socket.send('{"type":"pong","id":1}')
            await player.socket.send('{"type":"something newer","id":1}')
            await player.expect(play.Ping)


async def test_reports_become_metrics(rig: EdgeRig) -> None:
    """Latency and buffer are observed, totals are counted by what they grew, nonsense is left out."""
    rig.feed()
    async with rig.play() as player:
        for report in (
            {"latency_ms": 240, "buffer_ms": 300, "stalls": 1, "dropped_frames": 2},
            {"latency_ms": -5, "buffer_ms": 1e30, "stalls": 3},
            {"stalls": 4},
        ):
            await player.socket.send(json.dumps({"type": "report", **report}))
        await wait_until(lambda: rig.value("viewer_stalls_total") == 4)
    assert rig.value("viewer_dropped_frames_total") == 2
    assert rig.value("viewer_latency_seconds_count") == 1
    assert rig.value("viewer_latency_seconds_sum") == pytest.approx(0.24)
    assert rig.value("viewer_buffer_seconds_count") == 1


async def test_who_joins_while_edges_are_away_hears_of_their_return() -> None:
    """A player whose welcome names fewer edges than others were told is told when they are back."""
    async with EdgeRig(heartbeat_seconds=0.3) as rig:
        rig.feed()
        two = NodeRecord(node="edge-2", role="edge", public_url="http://two.example")
        rig.registry.keep_node(two)
        async with rig.play() as first:
            assert "ws://two.example" in first.welcome.edges
            await first.expect(play.Ping)
            rig.registry.keep_node(msgspec.structs.replace(two, draining=True))
            async with rig.play() as second:
                assert "ws://two.example" not in second.welcome.edges
                rig.registry.keep_node(two)
                assert "ws://two.example" in (await second.expect(play.Edges)).edges


async def test_the_list_of_edges(rig: EdgeRig) -> None:
    """Other edges with a public URL are told after this one, and again when the list changes."""
    others = (
        NodeRecord(node="edge-2", role="edge", public_url="https://two.example/x/", load=0.5),
        NodeRecord(node="edge-3", role="edge", public_url="http://three.example", load=0.1),
        NodeRecord(node="edge-4", role="edge", public_url="http://four.example", draining=True),
        NodeRecord(node="middle", role="intermediate", public_url="http://five.example"),
    )
    async with rig.play() as player:
        for other in others:
            rig.registry.keep_node(other)
        changed = await player.expect(play.Edges)
        assert changed.edges == ("ws://three.example", "wss://two.example/x")
    async with rig.play() as player:
        assert player.welcome.edges == (f"ws://{rig.address()}", "ws://three.example", "wss://two.example/x")


@pytest.mark.parametrize(
    ("messages", "code", "reason"),
    [
        (['{"type":"time","sent":1}'], 1002, "bad_order"),
        (['{"type":"play","session":"a"}', '{"type":"play","session":"a"}'], 1002, "bad_order"),
        (["no json"], 1002, "bad_json"),
        (['{"type":"play","session":"a b"}'], 1002, "bad_message"),
        ([b"binary"], 1002, "bad_message"),
        (['{"type":"play","session":"a"}', '{"type":"pong","id":"x"}'], 1002, "bad_message"),
        (['{"type":"play","session":"a"}'] + ['{"type":"pong","id":1}'] * 100, 1008, "flood"),
        ([" " * 20_000], 1009, ""),
    ],
)
async def test_bad_messages_end_that_connection(
    rig: EdgeRig, messages: list[str | bytes], code: int, reason: str
) -> None:
    """Whoever does not follow the protocol is closed with a code and a word, counted, and nobody else notices."""
    feed = rig.feed()
    async with rig.play() as other, rig.dial() as socket:
        with pytest.raises(ConnectionClosed) as closed:
            for message in messages:
                await socket.send(message)
            while True:
                await asyncio.wait_for(socket.recv(), 10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code
        if reason:
            assert closed.value.rcvd.reason == reason
            assert rig.value("refused_total", door="play", reason=reason) == 1
        await rig.wait_viewers(1)
        assert feed.push() == await other.chunks(2)


async def test_a_bad_name_is_refused(rig: EdgeRig) -> None:
    """An invalid name is refused by a message and close code 1008, without waiting for the hello."""
    async with rig.dial("a..%20b") as socket:
        message = play.decode_from_edge(await socket.recv())
        assert isinstance(message, play.Refused)
        assert message.code == "bad_name"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


async def test_saying_nothing_is_refused(rig: EdgeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A player that does not say what it wants is let go."""
    monkeypatch.setattr("headrace_edge.play.HELLO_SECONDS", 0.1)
    async with rig.dial() as socket:
        message = play.decode_from_edge(await asyncio.wait_for(socket.recv(), 10))
        assert isinstance(message, play.Refused)
        assert message.code == "no_hello"
    await rig.wait_viewers(0)


async def test_more_viewers_than_allowed() -> None:
    """The viewer beyond the limit gets a sentence by HTTP; a place is free again when somebody leaves."""
    async with EdgeRig(viewers_max=1) as rig:
        rig.feed()
        async with rig.play():
            with pytest.raises(InvalidStatus) as refused:
                await rig.dial()
            assert refused.value.response.status_code == 503
            assert b"1 viewers, its limit" in (refused.value.response.body or b"")
        await rig.wait_viewers(0)
        async with rig.play():
            pass
        assert rig.value("refused_total", door="play", reason="full") == 1


async def test_other_requests_get_a_sentence(rig: EdgeRig, http: aiohttp.ClientSession) -> None:
    """Without the subprotocol, or without a WebSocket at all, the answer says what is missing."""
    with pytest.raises(InvalidStatus) as refused:
        await rig.dial(subprotocols=["other"])
    assert refused.value.response.status_code == 400
    async with http.get(f"http://{rig.address()}/play/demo") as response:
        assert response.status == 426
        assert "WebSocket" in await response.text()


async def test_going_away_with_an_alternative() -> None:
    """A stopping edge tells players where to go, lets them take their time, and closes those that remain."""
    async with EdgeRig() as rig:
        feed = rig.feed()
        rig.registry.keep_node(NodeRecord(node="edge-2", role="edge", public_url="http://two.example"))
        async with rig.play() as leaving, rig.play() as staying:
            stopping = asyncio.create_task(rig.stop())
            assert (await leaving.expect(play.GoingAway)).edges == ("ws://two.example",)
            feed.push(1)
            await leaving.chunks(2)
            await leaving.socket.close()
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await staying.next()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
            await stopping
            with pytest.raises((OSError, InvalidStatus)):
                await rig.dial()


async def test_a_drained_edge_sends_its_players_elsewhere_and_stays() -> None:
    """Its node's record says that it drains: players are told where to go and fed until they have; no new ones come."""
    async with EdgeRig() as rig:
        feed = rig.feed()
        async with rig.play() as player:
            own = NodeRecord(node=rig.edge.options.node, role="edge", public_url="http://one.example")
            rig.registry.keep_node(msgspec.structs.replace(own, draining=True))
            rig.registry.keep_node(NodeRecord(node="edge-2", role="edge", public_url="http://two.example"))
            assert (await player.expect(play.GoingAway)).edges == ("ws://two.example",)
            feed.push(1)
            await player.chunks(2)
            with pytest.raises(InvalidStatus):
                await rig.dial()
            rig.registry.keep_node(own)
            await wait_until(lambda: not rig.registry.nodes[rig.edge.options.node].draining)
            await asyncio.sleep(0)
            async with rig.play():
                pass


async def test_stopping_without_an_alternative_is_quick(rig: EdgeRig) -> None:
    """When there is nowhere to go nobody waits."""
    rig.feed().push()
    async with rig.play() as player:
        async with asyncio.timeout(5):
            await rig.stop()
        with pytest.raises(ConnectionClosed):
            while True:
                await player.next()


async def test_a_viewer_that_does_not_answer_does_not_hold_up_the_end(rig: EdgeRig) -> None:
    """Whoever does not answer the close is cut off well before anybody wonders why Ctrl-C takes so long."""
    rig.feed().push()
    reader, writer = await asyncio.open_connection(*rig.address("fmp4").split(":"))
    request = "GET /demo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    writer.write(f"{request}Sec-WebSocket-Key: {'x' * 22}==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    assert b"101" in await reader.readline()
    await rig.wait_viewers(1)
    async with asyncio.timeout(1.8):
        await rig.stop()
    writer.close()


async def test_names_that_nobody_publishes_are_forgotten(rig: EdgeRig) -> None:
    """Asking for a name costs nothing once whoever asked has left."""
    for number in range(5):
        async with rig.play(f"unknown-{number}") as player:
            await player.expect(play.State)
    await wait_until(lambda: not rig.hub.streams)


async def test_too_many_streams(rig: EdgeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name beyond what this process can carry is closed with the code for trying again later."""
    monkeypatch.setattr("headrace.relay.hub.STREAMS_MAX", 1)
    rig.feed()
    async with rig.play(), rig.dial("other") as socket:
        await socket.send('{"type":"play","session":"a"}')
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await asyncio.wait_for(socket.recv(), 10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013


async def test_everything_leaves_with_the_viewers(rig: EdgeRig) -> None:
    """Viewers that vanish without a word leave nothing behind."""
    feed = rig.feed()
    feed.push()
    players = [await rig.dial() for _ in range(10)]
    for player in players:
        await player.send('{"type":"play","session":"a"}')
        assert await player.recv()
    await rig.wait_viewers(10)
    for player in players:
        player.transport.abort()
    await rig.wait_viewers(0)
    assert feed.broadcast.listeners == set()
    assert rig.value("outputs", door="play") == 0
