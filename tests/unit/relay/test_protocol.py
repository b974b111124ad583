"""The relay protocol's state machine, without sockets and without a clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.relay import events
from headrace.relay.credentials import Credential, cluster_credential
from headrace.relay.heartbeat import PINGS_BURST, PINGS_PER_SECOND
from headrace.relay.protocol import LinkState, NotCovered, RelayConnection, Timing, TooManySubscriptions
from headrace.wire import relay as wire
from headrace.wire.stream import RouteHop, StreamState, Track
from unit.relay.pair import CLUSTER, Pair, identity, loopback, opened_pair
from unit.relay.streams import AUDIO, VIDEO, video

CAM = StreamName("cam1")
ROUTE = (RouteHop("in", "ingress"), RouteHop("a", "intermediate"))
AFTER = {1: ChunkId(Epoch(1), 1, 100, 3)}


def chunk_message(handle: int, number: int = 0, sent_us: int = 5) -> bytes:
    return wire.chunk_prefix(handle, sent_us) + video(number).record


# -- opening ---------------------------------------------------------------------------------------


def test_both_sides_open_when_both_proofs_are_good() -> None:
    """Each learns who the other is."""
    pair = Pair()
    pair.pump()
    expected = events.LinkOpened("b", "intermediate", "cluster", "headrace test")  # type: ignore[arg-type]
    assert pair.got("a", events.LinkOpened) == [expected]
    assert [event.node for event in pair.got("b", events.LinkOpened)] == ["a"]
    assert (pair.a.state, pair.b.state) == (LinkState.OPEN, LinkState.OPEN)


def test_the_secret_does_not_travel() -> None:
    """Not in any message of an opening."""
    pair = Pair()
    said = b"".join(pair.a.data_to_send() + pair.b.data_to_send())
    assert b"horse" not in said


def test_a_wrong_secret_is_refused_by_both() -> None:
    """With a policy violation that says no more."""
    pair = Pair(b=identity("b", cluster_credential("other"), (cluster_credential("other"),)))
    pair.pump()
    for side, connection in (("a", pair.a), ("b", pair.b)):
        failure = pair.got(side, events.LinkFailed)[0]
        assert (failure.close_code, failure.code) == (1008, "bad_proof")
        assert connection.state is LinkState.CLOSED
        assert "horse" not in failure.detail
        assert "does not know the secret" in failure.detail


def test_an_unknown_key_is_refused() -> None:
    """Its name is told to the operator only."""
    mallory = Credential("mallory", b"x")
    pair = Pair(b=identity("b", mallory, (mallory,)))
    pair.pump()
    assert "key that is not known here: 'mallory'" in pair.got("a", events.LinkFailed)[0].detail


def test_who_gave_us_our_key_needs_no_key_that_we_know() -> None:
    """A site holds its own key alone; the centre proves that it knows that, and may do what the site serves."""
    site = Credential("site7", b"s7", ("ingress",), offer=("site7/*",), subscribe=())
    pair = opened_pair(
        a=replace(identity("site", site, (site,)), role="ingress"), b=identity("centre", CLUSTER, (CLUSTER, site))
    )
    assert pair.b.peer_credential == site
    centre = pair.a.peer_credential
    assert centre is not None
    assert centre.key == "site7"
    assert (centre.may_subscribe("site7/gate"), centre.may_subscribe("other")) == (True, False)
    assert not centre.may_offer("site7/gate")


def test_a_key_that_is_known_must_be_proved_itself() -> None:
    """Knowing the receiver's key gives nobody the rights of a third."""
    site = Credential("site7", b"s7", offer=("site7/*",), subscribe=())
    liar = Credential("cluster", b"guessed")
    pair = Pair(a=identity("a", site, (site, CLUSTER)), b=identity("b", liar, (liar, site)))
    pair.pump()
    assert "does not know the secret of key 'cluster'" in pair.got("a", events.LinkFailed)[0].detail


def test_a_host_that_does_not_know_our_key_is_refused() -> None:
    """An unknown key and a wrong second proof."""
    site = Credential("site7", b"s7")
    pair = Pair(a=identity("a", site, (site,)), b=identity("b", CLUSTER, (CLUSTER, replace(site, secret=b"old"))))
    pair.pump()
    assert "does not know the secret of ours, 'site7'" in pair.got("a", events.LinkFailed)[0].detail


def test_proofs_know_no_time() -> None:
    """Clocks that differ by an hour keep nobody out."""
    opened_pair(skew_us=3_600_000_000)


def test_a_link_is_trusted_as_long_as_its_keys_stay_as_they_were() -> None:
    """On both sides: a key that is gone, has another secret or covers other streams ends the trust."""
    site = Credential("site7", b"s7", offer=("site7/*",), subscribe=())
    centre = identity("centre", CLUSTER, (CLUSTER, site))
    pair = opened_pair(a=identity("site", site, (site,)), b=centre)
    assert pair.a.is_trusted_by(identity("site", site, (site,)))
    assert pair.b.is_trusted_by(centre)
    for changed in (replace(site, secret=b"new"), replace(site, offer=("*",)), replace(site, key="site7b")):
        assert not pair.b.is_trusted_by(identity("centre", CLUSTER, (CLUSTER, changed)))
        assert not pair.a.is_trusted_by(identity("site", changed, (changed,)))
    both = identity("site", replace(site, key="site7b"), (replace(site, key="site7b"), site))
    assert pair.a.is_trusted_by(both)
    rotated = identity("centre", replace(CLUSTER, key="new"), (replace(CLUSTER, key="new"), CLUSTER, site))
    assert pair.b.is_trusted_by(rotated)


def test_a_role_that_the_credential_does_not_cover_is_refused() -> None:
    """A site agent cannot be an edge."""
    agent = Credential("site7", b"s", roles=("ingress",))
    pair = Pair(a=identity("a", accepted=(CLUSTER, agent)), b=identity("b", agent, (CLUSTER, agent)))
    pair.pump()
    assert "may not be 'intermediate'" in pair.got("a", events.LinkFailed)[0].detail


def test_the_same_node_id_is_refused() -> None:
    """Two processes of one name would take each other's place."""
    pair = Pair(b=identity("a"))
    pair.pump()
    failure = pair.got("a", events.LinkFailed)[0]
    assert (failure.close_code, failure.code) == (1008, "same_node")
    assert "node.id" in failure.detail


def test_another_version_is_refused() -> None:
    """Before anything else of its hello is looked at."""
    pair = Pair()
    pair.send_to_b(b"\x01\x81\xa7version\x02")
    failure = pair.got("b", events.LinkFailed)[0]
    assert (failure.close_code, failure.code) == (1002, "bad_version")


@pytest.mark.parametrize(
    "early",
    [wire.encode(wire.Ping(id=1, sent_us=2)), wire.encode(wire.Proof(mac=b"m" * 32)), chunk_message(1), b"\x63what"],
    ids=["ping", "proof", "chunk", "unknown type"],
)
def test_anything_but_hello_first_is_refused(early: bytes) -> None:
    """A stranger learns nothing."""
    pair = Pair()
    pair.send_to_b(early)
    failure = pair.got("b", events.LinkFailed)[0]
    assert (failure.close_code, failure.code) == (1008, "bad_proof")


def test_a_second_hello_instead_of_the_proof_is_refused() -> None:
    """Hello comes once."""
    pair = Pair()
    hello = pair.a.data_to_send()[0]
    pair.send_to_b(hello)
    pair.send_to_b(hello)
    assert pair.got("b", events.LinkFailed)[0].code == "bad_proof"


def test_a_recorded_opening_is_worth_nothing() -> None:
    """Another connection has another nonce."""
    recorded = Pair()
    hello = recorded.a.data_to_send()
    recorded.send_to_b(hello[0])
    for message in recorded.b.data_to_send():
        recorded.a.receive(message, recorded.now, recorded.utc_us)
    proof = recorded.a.data_to_send()
    fresh = RelayConnection(identity("b"), Timing(), b"C" * 16, 0.0)
    for message in hello + proof:
        fresh.receive(message, 0.0, 0)
    assert fresh.state is LinkState.CLOSED


def test_ones_own_proof_sent_back_is_worth_nothing() -> None:
    """A mirror that only renames itself cannot pass."""
    side = RelayConnection(identity("a"), Timing(), b"A" * 16, 0.0)
    hello = wire.decode(side.data_to_send()[0])
    assert isinstance(hello, wire.Hello)
    mirrored = wire.Hello(version=1, node="mirror", role="edge", key=hello.key, nonce=hello.nonce)
    side.receive(wire.encode(mirrored), 0.0, 0)
    for message in side.data_to_send():
        side.receive(message, 0.0, 0)
    assert side.state is LinkState.CLOSED


def test_an_empty_secret_needs_permission() -> None:
    """It is believed only where the caller says that it may be: loopback, or by configuration."""
    empty = cluster_credential("")
    refused = Pair(a=identity("a", empty, (empty,)))
    assert refused.a.data_to_send() == []
    refused.pump()
    failure = refused.got("a", events.LinkFailed)[0]
    assert (failure.close_code, failure.code) == (1008, "no_secret")
    assert "relay.secret" in failure.detail
    opened_pair(a=loopback(identity("a", empty, (empty,))), b=loopback(identity("b", empty, (empty,))))


def test_an_empty_secret_of_the_peer_needs_permission_too() -> None:
    """An accepted credential without a secret is as open as no credential."""
    empty = Credential("guest", b"")
    pair = Pair(a=identity("a", accepted=(CLUSTER, empty)), b=replace(identity("b", empty), allow_open=True))
    pair.pump()
    assert "only loopback may" in pair.got("a", events.LinkFailed)[0].detail


def test_an_opening_that_takes_too_long_fails() -> None:
    """Five seconds by default, as a timer that is asked for."""
    pair = Pair(timing=Timing(opening=5.0))
    assert pair.a.next_timer() == pair.now + 5
    pair.tick(4.9)
    assert pair.a.state is LinkState.HELLO
    pair.tick(0.2)
    assert pair.got("a", events.LinkFailed)[0].code == "opening_timeout"
    assert pair.a.next_timer() is None


def test_nothing_is_taken_and_nothing_leaves_after_the_end() -> None:
    """A closed connection is closed."""
    pair = opened_pair()
    pair.b.close()
    pair.a.subscribe(CAM)
    pair.pump()
    pair.b.send_gap(1, video(0).id)
    pair.b.handle_timer(pair.now + 100, 0)
    assert pair.b.data_to_send() == []
    assert pair.b.events() == []


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


# -- time ------------------------------------------------------------------------------------------


def test_each_side_pings_at_the_interval_and_is_answered_at_once() -> None:
    """Offset and round trip are known after one exchange."""
    pair = opened_pair(skew_us=7_000_000)
    pair.delay = 0.015
    pair.tick(0.0)
    pair.pump()
    sample = pair.got("a", events.ClockSampled)[0].sample
    assert sample.round_trip == pytest.approx(0.030)
    assert sample.offset == pytest.approx(7.0)
    assert pair.a.clock == sample
    assert pair.b.clock is not None
    assert pair.b.clock.offset == pytest.approx(-7.0)


def test_transit_time_is_told_in_our_own_clock() -> None:
    """Whatever the peer's clock says."""
    pair = opened_pair(skew_us=7_000_000)
    assert pair.a.transit_seconds(0, 0) is None
    pair.tick(0.0)
    pair.pump()
    left_b_us = pair.utc_us + pair.skew_us
    pair.now += 0.040
    assert pair.a.transit_seconds(left_b_us, pair.utc_us) == pytest.approx(0.040)
    assert pair.a.transit_seconds(left_b_us + 10**9, pair.utc_us) == 0.0


def test_silence_ends_the_link() -> None:
    """At the time-out, not before."""
    pair = opened_pair(timing=Timing(heartbeat=0.1, timeout=0.4))
    for _ in range(3):
        pair.tick(0.1)
    assert pair.a.state is LinkState.OPEN
    pair.tick(0.1)
    assert pair.got("a", events.LinkFailed)[0].code == "heartbeat_timeout"


def test_anything_heard_keeps_the_link() -> None:
    """A chunk, or a part of one that takes long to arrive."""
    pair = opened_pair(timing=Timing(heartbeat=0.1, timeout=0.4))
    for number in range(20):
        pair.tick(0.1)
        if number % 2:
            pair.a.heard(pair.now)
        else:
            pair.a.receive(chunk_message(77), pair.now, 0)
    assert pair.a.state is LinkState.OPEN
    assert pair.b.state is LinkState.CLOSED


def test_timers_are_data() -> None:
    """Following `next_timer` alone gives ten pings a second, as long as none is answered."""
    pair = opened_pair(timing=Timing(heartbeat=0.1, timeout=0.4))
    pings = 0
    end = pair.now + 1.0
    while True:
        due = pair.a.next_timer()
        assert due is not None
        if due > end:
            break
        pair.now = max(pair.now, due)
        pair.a.handle_timer(pair.now, pair.utc_us)
        pings += len(pair.a.data_to_send())
        pair.a.heard(pair.now)
    assert 9 <= pings <= 11


def test_media_are_a_heartbeat() -> None:
    """Who sends chunks says nothing else but a ping each second; who receives them says so with them."""
    pair = opened_pair(timing=Timing(heartbeat=0.1, timeout=0.4))
    for _ in range(20):  # until both know the clock
        pair.tick(0.1)
        pair.pump()
    said: dict[str, list[int]] = {"a": [], "b": []}
    for _ in range(20):
        pair.tick(0.1)
        pair.a.said(pair.now)
        pair.b.receive(chunk_message(77), pair.now, pair.utc_us)
        for name, side, other in (("a", pair.a, pair.b), ("b", pair.b, pair.a)):
            for message in side.data_to_send():
                side.said(pair.now)
                said[name].append(message[0])
                other.receive(message, pair.now, pair.utc_us)
    assert said["a"].count(wire.Ping.type) <= 3
    assert len(said["a"]) <= 8
    assert 18 <= len(said["b"]) <= 22
    assert pair.a.state is pair.b.state is LinkState.OPEN


def test_a_quiet_link_has_one_message_of_each_side_in_an_interval() -> None:
    """Neither answers the other's answer."""
    pair = opened_pair(timing=Timing(heartbeat=0.1, timeout=0.4))
    for _ in range(20):
        pair.tick(0.1)
        pair.pump()
    told = 0
    for _ in range(400):
        pair.tick(0.01)
        to_b, to_a = pair.a.data_to_send(), pair.b.data_to_send()
        while to_a or to_b:
            told += len(to_a) + len(to_b)
            for message in to_b:
                pair.a.said(pair.now)
                pair.b.receive(message, pair.now, pair.utc_us)
            for message in to_a:
                pair.b.said(pair.now)
                pair.a.receive(message, pair.now, pair.utc_us)
            to_b, to_a = pair.a.data_to_send(), pair.b.data_to_send()
    assert 60 <= told <= 90
    assert pair.a.state is pair.b.state is LinkState.OPEN


def test_a_timer_that_fires_early_does_nothing() -> None:
    """The shell may arm one for several."""
    pair = opened_pair()
    pair.tick(0.0)
    pair.pump()
    pair.a.handle_timer(pair.now + 0.01, 0)
    assert pair.a.data_to_send() == []
