"""The relay protocol's state machine on an open link, without sockets and without a clock."""

from __future__ import annotations

import pytest

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.relay import events
from headrace.relay.credentials import Credential
from headrace.relay.heartbeat import PINGS_BURST, PINGS_PER_SECOND
from headrace.relay.protocol import LinkState, NotCovered, TooManySubscriptions
from headrace.wire import relay as wire
from headrace.wire.stream import RouteHop, StreamState, Track
from unit.relay.pair import CLUSTER, Pair, chunk_message, identity, opened_pair
from unit.relay.streams import AUDIO, VIDEO, video

CAM = StreamName("cam1")
ROUTE = (RouteHop("in", "ingress"), RouteHop("a", "intermediate"))
AFTER = {1: ChunkId(Epoch(1), 1, 100, 3)}


# -- streams ---------------------------------------------------------------------------------------


def test_a_subscription_from_its_beginning_to_its_end() -> None:
    """Every message arrives as the event of its name."""
    pair = opened_pair()
    handle = pair.a.subscribe(CAM, AFTER)
    pair.pump()
    assert pair.got("b", events.SubscribeReceived) == [events.SubscribeReceived(handle, CAM, AFTER)]
    pair.b.send_state(handle, StreamState.LIVE, "", ROUTE)
    pair.b.send_tracks(handle, Epoch(1), (VIDEO, AUDIO))
    pair.b.send_gap(handle, video(4).id)
    pair.pump()
    pair.a.receive(chunk_message(handle, 4), pair.now, pair.utc_us)
    assert pair.events["a"] + pair.a.events() == [
        events.StateReceived(handle, StreamState.LIVE, "", ROUTE),
        events.TracksReceived(handle, Epoch(1), (VIDEO, AUDIO)),
        events.GapReceived(handle, video(4).id),
        events.ChunkReceived(handle, video(4), 5),
    ]
    pair.a.unsubscribe(handle)
    pair.pump()
    assert pair.got("b", events.UnsubscribeReceived) == [events.UnsubscribeReceived(handle, CAM)]


def test_live_is_a_subscription_without_a_place() -> None:
    """`after` is nil, and some of the past may be asked for."""
    pair = opened_pair()
    handle = pair.a.subscribe(CAM, None, 2.5)
    pair.pump()
    assert pair.got("b", events.SubscribeReceived) == [events.SubscribeReceived(handle, CAM, None, 2.5)]


def test_what_is_under_way_after_unsubscribe_is_ignored() -> None:
    """And a handle is not used again at once, so that it is not taken for another stream's."""
    pair = opened_pair()
    first = pair.a.subscribe(CAM)
    pair.a.unsubscribe(first)
    assert pair.a.subscribe(StreamName("other")) != first
    for late in (chunk_message(first), wire.encode(wire.Gap(handle=first, track=1, next=(1, 2, 3)))):
        pair.a.receive(late, pair.now, pair.utc_us)
    assert pair.a.events() == []
    assert pair.a.state is LinkState.OPEN


def test_handles_go_round_and_skip_those_in_use() -> None:
    """65,535 of them; then the link is full."""
    pair = opened_pair()
    kept = pair.a.subscribe(CAM)
    for _ in range(wire.HANDLE_MAX - 1):
        pair.a.unsubscribe(pair.a.subscribe(CAM))
    assert pair.a.subscribe(CAM) == kept + 1
    for _ in range(wire.HANDLE_MAX - 2):
        pair.a.subscribe(CAM)
    with pytest.raises(TooManySubscriptions):
        pair.a.subscribe(CAM)


def test_a_refusal_ends_the_subscription_on_both_sides() -> None:
    """Its handle is free."""
    pair = opened_pair()
    handle = pair.a.subscribe(CAM)
    pair.pump()
    pair.b.refuse(handle, "too_many_streams", "no room")
    pair.b.refuse(handle, "again", "is not sent")
    pair.pump()
    assert pair.got("a", events.RefusedReceived) == [events.RefusedReceived(handle, "too_many_streams", "no room")]
    assert not pair.b.serves(handle)


def test_an_unsubscribe_that_crosses_a_refusal_does_no_harm() -> None:
    """Each side thought of the same."""
    pair = opened_pair()
    handle = pair.a.subscribe(CAM)
    pair.pump()
    pair.a.unsubscribe(handle)
    pair.b.refuse(handle, "x", "y")
    pair.pump()
    assert pair.got("b", events.UnsubscribeReceived) == []
    assert pair.got("a", events.RefusedReceived) == []
    assert pair.b.state is LinkState.OPEN


def test_a_handle_in_use_cannot_be_taken_again() -> None:
    """That ends the link."""
    pair = opened_pair()
    for _ in range(2):
        pair.send_to_b(wire.encode(wire.Subscribe(handle=9, stream="cam1")))
    assert pair.got("b", events.LinkFailed)[0].code == "bad_handle"


def test_tracks_that_do_not_fit_refuse_the_subscription() -> None:
    """Not the link."""
    pair = opened_pair()
    handle = pair.a.subscribe(CAM)
    pair.pump()
    tracks = tuple(Track(track=n, kind="data", codec="c", timescale=1, header=b"h" * 65_536) for n in range(1, 9))
    pair.b.send_tracks(handle, Epoch(1), tracks)
    pair.pump()
    assert pair.got("a", events.RefusedReceived)[0].code == "too_large"


def test_long_reasons_are_cut() -> None:
    """To what the peer may take."""
    pair = opened_pair()
    handle = pair.a.subscribe(CAM)
    pair.pump()
    pair.b.send_state(handle, StreamState.INTERRUPTED, "r" * 2000, ())
    pair.pump()
    assert len(pair.got("a", events.StateReceived)[0].reason) == 500


# -- scopes and offers -----------------------------------------------------------------------------


def scoped_pair() -> Pair:
    """Return a pair whose `a` may offer `site7/*` and subscribe to `public/*`."""
    agent = Credential("site7", b"s7", offer=("site7/*",), subscribe=("public/*",))
    return opened_pair(a=identity("a", agent, (CLUSTER,)), b=identity("b", accepted=(CLUSTER, agent)))


def test_subscriptions_outside_the_scope_are_refused() -> None:
    """The link lives on."""
    pair = scoped_pair()
    pair.a.subscribe(CAM)
    inside = pair.a.subscribe(StreamName("public/hall"))
    pair.pump()
    assert [event.handle for event in pair.got("b", events.SubscribeReceived)] == [inside]
    assert [event.code for event in pair.got("a", events.RefusedReceived)] == ["forbidden"]


def test_what_the_peer_may_not_do_is_told_to_this_side() -> None:
    """For one log line and a metric; and a stream that the peer may not deliver is not asked for."""
    pair = scoped_pair()
    pair.a.subscribe(CAM)
    pair.a.offer({CAM: Epoch(6)})
    pair.pump()
    tried = pair.got("b", events.Overreached)
    assert [(event.what, event.stream) for event in tried] == [
        (events.Overreach.SUBSCRIBE, CAM),
        (events.Overreach.OFFER, CAM),
    ]
    with pytest.raises(NotCovered, match="key 'site7' does not cover that its holder delivers 'cam1'"):
        pair.b.subscribe(CAM)
    assert pair.b.events() == [events.Overreached(events.Overreach.DELIVER, CAM)]


def test_offers_outside_the_scope_are_not_believed() -> None:
    """Those inside are, until they are withdrawn."""
    pair = scoped_pair()
    gate = StreamName("site7/gate")
    pair.a.offer({gate: Epoch(5), CAM: Epoch(6)})
    pair.pump()
    assert pair.got("b", events.OffersChanged)[-1].offers == {gate: 5}
    pair.a.withdraw([gate, CAM])
    pair.pump()
    assert pair.got("b", events.OffersChanged)[-1].offers == {}


def test_many_offers_travel_in_several_messages() -> None:
    """Each within the limit of a control message."""
    pair = opened_pair()
    names = {StreamName(f"s{number}"): Epoch(number) for number in range(2500)}
    pair.a.offer(names)
    pair.pump()
    assert pair.got("b", events.OffersChanged)[-1].offers == names
    pair.a.withdraw(names)
    pair.pump()
    assert pair.got("b", events.OffersChanged)[-1].offers == {}


def test_more_offers_than_a_process_can_carry_end_the_link() -> None:
    """Memory is bounded."""
    pair = opened_pair()
    pair.a.offer({StreamName(f"s{number}"): Epoch(1) for number in range(10_001)})
    pair.pump()
    assert pair.got("b", events.LinkFailed)[0].code == "too_many"


def test_going_away_names_alternatives() -> None:
    """At most sixteen leave."""
    pair = opened_pair()
    alternatives = [wire.Alternative(node=f"n{number}", relay_url="ws://x/relay") for number in range(20)]
    pair.a.going_away(alternatives, 1500)
    pair.pump()
    assert pair.got("b", events.GoingAwayReceived) == [events.GoingAwayReceived(tuple(alternatives[:16]), 1500)]


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", "truncated"),
        (b"\x10", "truncated"),
        (b"\x0c\x80", "bad_message"),
        (wire.encode(wire.Proof(mac=b"m" * 32)), "unexpected"),
        (chunk_message(1)[:20], "truncated"),
        (b"\x06" + b"x" * 300_000, "too_large"),
    ],
    ids=["empty", "short chunk", "no members", "second proof", "cut chunk", "too large"],
)
def test_an_error_of_the_peer_ends_the_link_with_its_code(message: bytes, code: str) -> None:
    """1002, and only this connection."""
    pair = opened_pair()
    pair.send_to_b(message)
    failure = pair.got("b", events.LinkFailed)[0]
    assert (failure.close_code, failure.code) == (1002, code)
    assert pair.b.failure == failure
    assert pair.b.state is LinkState.CLOSED


def test_unknown_messages_are_counted_and_ignored() -> None:
    """A later minor version talks to us."""
    pair = opened_pair()
    pair.send_to_b(b"\x1fwhatever")
    assert pair.got("b", events.UnknownReceived) == [events.UnknownReceived(0x1F)]
    assert pair.b.state is LinkState.OPEN


def test_pings_without_a_break_end_the_link() -> None:
    """As many as a burst are answered, and then as many a second as may be; with 1008 `flood` it is over."""
    pair = opened_pair()
    ping = wire.encode(wire.Ping(id=1, sent_us=0))
    for _ in range(PINGS_BURST):
        pair.send_to_b(ping)
    pair.now += 1.0
    for _ in range(PINGS_PER_SECOND):
        pair.send_to_b(ping)
    assert pair.b.state is LinkState.OPEN
    assert len(pair.b.data_to_send()) == PINGS_BURST + PINGS_PER_SECOND
    pair.send_to_b(ping)
    failure = pair.got("b", events.LinkFailed)[0]
    assert (failure.close_code, failure.code) == (1008, "flood")
    assert pair.b.data_to_send() == []
