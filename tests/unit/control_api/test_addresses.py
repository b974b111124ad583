"""Which addresses the API refuses by itself."""

from __future__ import annotations

import re

import pytest

from headrace.registry.records import NodeRecord
from headrace_control_api.addresses import BadAddress, Use, check_address, reachable
from headrace_control_api.patterns import SOURCE_PATTERN


def node(role: str, *networks: str) -> NodeRecord:
    return NodeRecord(node=f"{role}-{len(networks)}", role=role, reach=networks)


def test_networks_of_all_who_could_carry_it_count() -> None:
    """One that may reach an address is enough; who does not tell may reach anything; nobody at all says nothing."""
    ingress, edge = node("ingress", "10.0.0.0/8"), node("edge", "192.168.0.0/16")
    assert [str(network) for network in reachable("pull", [ingress, edge]) or ()] == ["10.0.0.0/8"]
    assert [str(network) for network in reachable("push", [ingress, edge]) or ()] == ["192.168.0.0/16"]
    assert reachable("source", [ingress, NodeRecord(node="older", role="ingress")]) is None
    assert reachable("source", [edge]) is None


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("rtsp://10.2.0.1/", "source"),
        ("http://[fe80::1]/", "pull"),
        ("rtmp://127.0.0.1/app/hush", "push"),
        ("rtmp://there.example:0/app/hush", "push"),
        ("rtmp://there.example/app/hush#x=y", "push"),
        ("srt://127.0.0.1:9000?streamid=hush", "push"),
        ("rtsp://user:hush@127.0.0.1/?hush", "pull"),
        ("udp://239.1.2.3:5000", "source"),
        ("ws://cam.example", "source"),
        ("test:", "pull"),
        ("rtsp://cam.example/%00", "source"),
        ("rtsp://cam.example:70000/", "source"),
        ("rtsp://cam.example/#transport=smoke", "pull"),
        ("file://elsewhere/x.mp4", "pull"),
        ("nothing", "push"),
        ("", "push"),
    ],
)
def test_what_nobody_could_use(text: str, use: Use) -> None:
    """It is refused, in a sentence that does not repeat it: a path may be a key."""
    with pytest.raises(BadAddress) as refused:
        check_address(text, use, [node("standalone")])
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("rtsp://user:password@cam.example:8554/main?x=1", "source"),
        ("rtsp://localhost/", "source"),
        ("udp://10.0.0.1:5000", "source"),
        ("srt://8.8.8.8:9000?streamid=x", "source"),
        ("headrace://n1/cam1", "pull"),
        ("https://there.example/whip", "push"),
        ("file:cam1.mp4", "push"),
    ],
)
def test_what_somebody_might(text: str, use: Use) -> None:
    """It is taken as it is: names are judged when they are resolved."""
    assert check_address(text, use, [node("standalone", "10.0.0.0/8")]).reveal() == text


@pytest.mark.parametrize(
    "options",
    [
        "",
        "?size=128x64",
        "?size=3840x2160&rate=120",
        "?rate=29.97&gop=0",
        "?size=1280x720&rate=30000/1001&gop=600&audio=no",
        "?gop=2.5&audio=yes",
    ],
)
def test_what_the_test_pattern_may_look_like(options: str) -> None:
    """Its options are described, and those that are described are taken."""
    assert re.fullmatch(SOURCE_PATTERN, f"test:{options}")
    assert check_address(f"test:{options}", "source", []).reveal() == f"test:{options}"


@pytest.mark.parametrize(
    "options",
    [
        "?",
        "?size=126x64",
        "?size=3842x64",
        "?size=129x64",
        "?size=128x62",
        "?rate=0",
        "?rate=121",
        "?gop=601",
        "?x=1",
        "?gop=1&gop=2",
        "?audio=no&video=no",
    ],
)
def test_what_it_may_not(options: str) -> None:
    """The description says so as well."""
    assert not re.fullmatch(SOURCE_PATTERN, f"test:{options}")
