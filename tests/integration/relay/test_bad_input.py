"""Peers that lie, break off, repeat what they heard, or tell another time: one clear line, a metric, nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest

from headrace.clock import SystemClock
from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.relay.events import RefusedReceived
from headrace.relay.link import POLICY_VIOLATION, Timing
from headrace.testing import wait_until
from headrace.transport.channel import Channel
from headrace.transport.dialling import dial
from headrace.wire import relay as wire
from headrace.wire.chunk import Flag, make_chunk
from integration.relay.child import Child
from integration.relay.mesh import CAM, MeshNode, Viewer, assert_complete, mesh

HOUR = 3600.0


def url_of(node: MeshNode) -> str:
    return node.node.record.relay_url


def ended(node: MeshNode, reason: str) -> float:
    return node.metric("headrace_relay_links_ended_total", reason=reason)


def lines(output: str, event: str) -> list[str]:
    """Return the warnings of one kind in what was logged."""
    return [line for line in output.splitlines() if f"[warning  ] {event}" in line]


class Receiver:
    """The receiver of a channel over which nothing is said by itself.

    Attributes:
        closed: code and reason, once it is over.
    """

    def __init__(self) -> None:
        self.closed: tuple[int, str] | None = None

    def message_received(self, message: bytes) -> None:
        """Nothing to do."""

    def bytes_received(self) -> None:
        """Nothing to do."""

    def became_writable(self) -> None:
        """Nothing to do."""

    def channel_closed(self, code: int, reason: str, by_peer: bool) -> None:
        """Remember it."""
        self.closed = (code, reason)


async def stranger(node: MeshNode) -> tuple[Channel, Receiver]:
    """Dial a node, and say nothing."""
    channel = await dial(url_of(node), wire.SUBPROTOCOL, max_size=2**20, send_limit_bytes=65_536)
    receiver = Receiver()
    channel.attach(receiver)
    return channel, receiver


# -- before the link is open -----------------------------------------------------------------------


async def test_strangers_do_not_keep_nodes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections prove nothing, a node that does comes in: the oldest of them makes room."""
    monkeypatch.setattr("headrace.session.door.LINKS_MAX", 4)
    monkeypatch.setattr("headrace.session.door.OPENINGS_MAX", 3)
    async with mesh() as m:
        parent = await m.add("ingress-1", "ingress")
        idle = [await stranger(parent) for _ in range(5)]
        await wait_until(lambda: idle[1][1].closed == (POLICY_VIOLATION, "crowded"))
        assert ended(parent, "crowded") == 2
        m.run(parent.produce())
        child = await m.add("edge-1", "edge")
        viewer = Viewer(child.hub)
        await wait_until(lambda: len(viewer.ids()) > 5)


async def test_a_recorded_opening_is_worth_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever heard a good one cannot repeat it: the other side's number is another."""
    said: list[bytes] = []
    send = Channel.send

    def overheard(channel: Channel, messages: Iterable[bytes]) -> None:
        messages = list(messages)
        said.extend(messages if channel is good_channel else ())
        send(channel, messages)

    async with mesh() as m:
        node = await m.add("mid", layer=1)
        good_channel = await dial(url_of(node), wire.SUBPROTOCOL, max_size=2**20, send_limit_bytes=65_536)
        monkeypatch.setattr(Channel, "send", overheard)
        good = Child(good_channel, "child", "", Timing(timeout=60.0))
        await wait_until(lambda: good.is_open and len(said) >= 2)
        channel, receiver = await stranger(node)
        channel.send(said[:2])
        await wait_until(lambda: receiver.closed is not None)
        assert receiver.closed == (1008, "bad_proof")
        assert ended(node, "bad_proof") == 1
        assert good.closed is None
    assert len(lines(capsys.readouterr().out, "link_refused")) == 1


async def test_a_second_process_of_the_same_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It cannot pass as the node it dials."""
    async with mesh() as m:
        node = await m.add("mid", layer=1)
        child = await Child.dial(url_of(node), name="mid")
        await wait_until(lambda: child.closed is not None)
        assert child.closed == (1008, "same_node")
        assert ended(node, "same_node") == 1
    (line,) = lines(capsys.readouterr().out, "link_refused")
    assert "give every node its own node.id" in line


async def test_another_version_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the code that the protocol names."""
    async with mesh() as m:
        node = await m.add("mid", layer=1)
        channel, receiver = await stranger(node)
        channel.send([b"\x01\x81\xa7version\x02"])
        await wait_until(lambda: receiver.closed is not None)
        assert receiver.closed == (1002, "bad_version")
        assert ended(node, "bad_version") == 1
    (line,) = lines(capsys.readouterr().out, "link_refused")
    assert "reason=bad_version" in line


# -- on a link that is open ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (b"\x05nonsense", "bad_message"),
        (wire.encode(wire.Subscribe(handle=1, stream="cam1"))[:-3], "bad_message"),
        (wire.chunk_prefix(1, 0) + b"\x01" * 20, "truncated"),
        (wire.encode(wire.Hello(version=1, node="x", role="edge", key="k", nonce=bytes(16))), "unexpected"),
    ],
    ids=["nonsense", "message breaks off", "chunk breaks off", "hello again"],
)
async def test_what_is_no_message_ends_that_link_only(
    capsys: pytest.CaptureFixture[str], wrong: bytes, code: str
) -> None:
    """It is told and counted, and others go on."""
    async with mesh() as m:
        node = await m.add("in", "ingress")
        m.run(node.produce())
        good, bad = await Child.dial(url_of(node), "good"), await Child.dial(url_of(node), "bad")
        await wait_until(lambda: good.is_open and bad.is_open)
        good.subscribe(CAM)
        bad.channel.send([wrong])
        await wait_until(lambda: bad.closed is not None)
        assert bad.closed == (1002, code)
        assert ended(node, code) == 1
        had = len(good.chunks)
        await wait_until(lambda: len(good.chunks) > had + 20 and good.closed is None)
    (line,) = lines(capsys.readouterr().out, "link_closed")
    assert f"reason={code}" in line


async def test_text_on_a_link_is_told_as_the_childs_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    """It is this node that closes, with the code and reason of the protocol."""
    async with mesh() as m:
        node = await m.add("mid", layer=1)
        channel, receiver = await stranger(node)
        channel._protocol.send_text(b"hello")
        channel.send([])
        await wait_until(lambda: receiver.closed is not None)
        assert receiver.closed == (1002, "text_message")
        await wait_until(lambda: ended(node, "text_message") == 1)
    (line,) = lines(capsys.readouterr().out, "link_refused")
    assert "reason=text_message" in line
    assert "closed by this node" in line


async def test_messages_of_a_later_version_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Each is counted, and the link goes on."""
    async with mesh() as m:
        node = await m.add("mid", layer=1)
        later = await Child.dial(url_of(node), "later")
        await wait_until(lambda: later.is_open)
        later.channel.send([b"\x1fnew", b"\x1fnew", b"\x1enew"])
        await wait_until(lambda: node.metric("headrace_relay_unknown_messages_total") == 3)
        assert later.closed is None
    told = [line for line in capsys.readouterr().out.splitlines() if "[info" in line and "unknown_message" in line]
    assert len(told) == 1


async def test_a_forged_chunk_reaches_nobody() -> None:
    """It comes over a subscription that was never made: the stream goes on as it was."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        edge = await m.add("edge", "edge")
        source = ingress.produce()
        m.run(source)
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 20)
        liar = await Child.dial(url_of(edge), "liar")
        await wait_until(lambda: liar.is_open)
        id = ChunkId(source.epoch, 1, source.segment + 1000, 0)
        forged = make_chunk(id, Flag.RANDOM_ACCESS, 0, 9000, 0, 1, 0, b"!")
        for handle in (1, 2, 65_535):
            liar.channel.send_shared([(wire.chunk_prefix(handle, 1), forged.record)])
        had = len(viewer.chunks)
        await wait_until(lambda: len(viewer.chunks) > had + 100)
        assert_complete(source, viewer)
        assert liar.closed is None


async def test_an_offer_takes_nobodys_stream() -> None:
    """A peer that offers a stream whose source is here is not asked for it, and viewers stay where they are."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        source = ingress.produce()
        m.run(source)
        viewer = Viewer(ingress.hub)
        await wait_until(lambda: len(viewer.chunks) > 20)
        liar = await Child.dial(url_of(ingress), "liar")
        await wait_until(lambda: liar.is_open)
        liar.connection.offer({CAM: Epoch(source.epoch + 1000), StreamName("other"): Epoch(1)})
        liar.flush()
        had = len(viewer.chunks)
        await wait_until(lambda: len(viewer.chunks) > had + 100)
        assert_complete(source, viewer)
        assert ingress.metric("headrace_relay_fetched_streams") == 0


# -- time ------------------------------------------------------------------------------------------


class Ahead(SystemClock):
    """The clock of a machine that is an hour ahead."""

    def utc(self) -> float:
        return time.time() + HOUR


async def test_a_clock_an_hour_off_is_told_and_costs_no_chunk(capsys: pytest.CaptureFixture[str]) -> None:
    """In the middle of a chain: it and its neighbours say so once, and transit times are right nevertheless."""
    async with mesh() as m:
        ingress = await m.add("in", "ingress")
        mid = await m.add("mid", layer=1, clock=Ahead())
        edge = await m.add("edge", "edge")
        source = ingress.produce()
        m.run(source)
        await m.settled()
        viewer = Viewer(edge.hub)
        await wait_until(lambda: len(viewer.chunks) > 100)
        for node, ahead in ((edge, HOUR), (ingress, HOUR), (mid, -HOUR)):
            await wait_until(lambda: abs(node.metric("headrace_relay_clock_offset_seconds") - ahead) < 10)  # noqa: B023
        assert_complete(source, viewer)
        count = edge.metric("headrace_relay_transit_seconds_count")
        assert edge.metric("headrace_relay_transit_seconds_sum") < count
    assert len(lines(capsys.readouterr().out, "clock_differs")) == 3


async def test_too_many_recalls_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond the limit in words; the others are answered, and make room for more."""
    monkeypatch.setattr("headrace.session.serving.RECALLS_MAX", 2)
    async with mesh() as m:
        parent = await m.add("ingress-1", "ingress")
        m.run(parent.produce())
        child = await Child.dial(url_of(parent))
        await wait_until(lambda: child.is_open and parent.hub.streams[CAM].last)

        def refusals() -> dict[int, str]:
            return {event.handle: event.code for event in child.events if isinstance(event, RefusedReceived)}

        for _ in range(4):
            child.connection.recall(CAM, 1.0)
        child.flush()
        await wait_until(lambda: len(refusals()) == 4)
        assert refusals() == {1: "done", 2: "done", 3: "busy", 4: "busy"}
        child.connection.recall(CAM, 1.0)
        child.flush()
        await wait_until(lambda: refusals().get(5) == "done")
