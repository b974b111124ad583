"""The small decisions of the doors: names, rates, addresses."""

from __future__ import annotations

import pytest

from headrace.identifiers import InvalidName
from headrace.registry.records import NodeRecord
from headrace.testing import FakeClock
from headrace_edge.addresses import EDGES_MAX, rank_edges, socket_url
from headrace_edge.handshake import MESSAGES_BURST, MESSAGES_PER_SECOND, Bucket, Flood
from headrace_edge.plain import requested_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/cam1", "cam1"),
        ("/site7/gate", "site7/gate"),
        ("/1f2e-33;*cam", "cam"),
        ("/UUID;*list.lst", "list.lst"),
    ],
)
def test_names_in_paths(path: str, name: str) -> None:
    """The path is the name, but for what EvoStream's player puts before playlists."""
    assert requested_name(path) == name


@pytest.mark.parametrize("path", ["/", "/;*cam", "/a;*b;*c", "/a b", "//a", "/" + "x" * 65 + ";*cam"])
def test_paths_without_a_name(path: str) -> None:
    """Anything else is no name."""
    with pytest.raises(InvalidName):
        requested_name(path)


def test_the_rate_of_messages() -> None:
    """A burst is taken, then as many as the rate allows."""
    clock = FakeClock()
    bucket = Bucket(clock)
    for _ in range(MESSAGES_BURST):
        bucket.take()
    with pytest.raises(Flood):
        bucket.take()
    clock.advance(1.0)
    for _ in range(MESSAGES_PER_SECOND):
        bucket.take()
    with pytest.raises(Flood):
        bucket.take()
    clock.advance(3600.0)
    for _ in range(MESSAGES_BURST):
        bucket.take()
    with pytest.raises(Flood):
        bucket.take()


@pytest.mark.parametrize(
    ("public", "url"),
    [
        ("http://a:8088", "ws://a:8088"),
        ("https://a/headrace/", "wss://a/headrace"),
        ("wss://a/", "wss://a"),
    ],
)
def test_socket_urls(public: str, url: str) -> None:
    """Players append a path to the WebSocket form of the public URL."""
    assert socket_url(public) == url


def node(name: str, **fields: object) -> NodeRecord:
    known = {"role": "edge", "public_url": f"http://{name}"} | fields
    return NodeRecord(node=name, **known)  # type: ignore[arg-type]


def test_ranking_edges() -> None:
    """The same region first, then the least loaded; those that do not serve or go away are left out."""
    nodes = [
        node("far", region="south"),
        node("busy", region="north", load=0.9),
        node("idle", region="north", load=0.1),
        node("alone", role="standalone", region="north", load=0.2),
        node("me", region="north"),
        node("middle", role="intermediate", region="north"),
        node("hidden", public_url="", region="north"),
        node("leaving", draining=True, region="north"),
        node("twin", public_url="http://idle", region="south"),
    ]
    assert rank_edges("me", "north", nodes) == ("ws://idle", "ws://alone", "ws://busy", "ws://far")


def test_a_long_list_of_edges_is_cut() -> None:
    """Players are told as many as they could ever try."""
    assert len(rank_edges("me", "", (node(f"edge-{number}") for number in range(100)))) == EDGES_MAX
