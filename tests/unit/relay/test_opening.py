"""How two nodes open a link: proofs, roles, refusals; no sockets and no clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace.identifiers import StreamName
from headrace.relay import events
from headrace.relay.credentials import Credential, cluster_credential
from headrace.relay.protocol import LinkState, RelayConnection, Timing
from headrace.wire import relay as wire
from unit.relay.pair import CLUSTER, Pair, chunk_message, identity, loopback, opened_pair
from unit.relay.streams import video

CAM = StreamName("cam1")


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
