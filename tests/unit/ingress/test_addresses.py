"""Which addresses sources of others may reach."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from headrace.registry.feed_uri import parse_uri
from headrace.transport.reaching import is_allowed
from headrace_ingress.addresses import may_reach, pinned
from headrace_ingress.source import SourceBroken

NAMED = [ip_network("10.1.0.0/16"), ip_network("fd00:1::/32")]


@pytest.mark.parametrize("address", ["8.8.8.8", "2a00:1450::1", "10.1.2.3", "fd00:1::7", "::ffff:10.1.2.3"])
def test_public_and_named_addresses_are_allowed(address: str) -> None:
    """Public ones are free, private ones where the operator named their network, however they are written."""
    assert is_allowed(ip_address(address), NAMED)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.2.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "239.1.1.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00:2::1",
        "ff0e::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "::7f00:1",
        "::ffff:0:7f00:1",
        "fec0::1",
        "5f00::1",
    ],
)
def test_special_addresses_are_not(address: str) -> None:
    """Loopback, private, link-local (cloud metadata), site-local, shared, multicast, translated ones are refused."""
    assert not is_allowed(ip_address(address), NAMED)


def test_a_name_is_replaced_by_the_address_that_was_checked() -> None:
    """What is connected to is what was checked; user, port, path and query stay."""
    uri = parse_uri("rtsp://operator:secret@localhost:8554/cam?x=1", trusted=False)
    assert may_reach(uri, [])
    assert pinned(uri, [ip_network("127.0.0.0/8")]) == "rtsp://operator:secret@127.0.0.1:8554/cam?x=1"
    six = parse_uri("rtsp://[::1]/cam", trusted=False)
    assert pinned(six, [ip_network("::1/128")]) == "rtsp://[::1]/cam"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f.1"])
def test_refused_addresses_are_not_told(host: str) -> None:
    """However loopback is written it is refused, in words that show neither address nor credentials."""
    uri = parse_uri(f"rtsp://operator:secret@{host}/cam", trusted=False)
    with pytest.raises(SourceBroken) as refused:
        pinned(uri, [])
    assert "secret" not in str(refused.value)
    assert host not in str(refused.value)


def test_the_own_configuration_is_trusted() -> None:
    """Its addresses are left as they are, names included."""
    uri = parse_uri("rtsp://localhost/cam", trusted=True)
    assert pinned(uri, []) == uri.address


def test_a_literal_address_is_known_beforehand() -> None:
    """So that a node which may not reach it leaves it to others."""
    uri = parse_uri("rtsp://192.168.1.1/cam", trusted=False)
    assert not may_reach(uri, [])
    assert may_reach(uri, [ip_network("192.168.0.0/16")])
