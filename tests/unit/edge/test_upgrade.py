"""The answer to a handshake."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from headrace_edge.upgrade import BadHandshake, answer, is_upgrade

GOOD = {
    "upgrade": "websocket",
    "connection": "keep-alive, Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def headers(**changes: str) -> CIMultiDict[str]:
    return CIMultiDict(GOOD | {name.replace("_", "-"): value for name, value in changes.items()})


def test_the_example_of_the_standard() -> None:
    """RFC 6455, section 1.3."""
    assert answer(headers()) == {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    }


def test_subprotocols() -> None:
    """The first of ours that is offered is chosen; none is when none is ours."""
    offered = headers(sec_websocket_protocol="a, b ,c")
    assert answer(offered, ["x", "b", "a"])["Sec-WebSocket-Protocol"] == "b"
    assert "Sec-WebSocket-Protocol" not in answer(offered, ["x"])


@pytest.mark.parametrize(
    "changes",
    [
        {"upgrade": "h2c"},
        {"connection": "keep-alive"},
        {"sec_websocket_version": "8"},
        {"sec_websocket_key": ""},
        {"sec_websocket_key": "dGhlIHNhbXBsZQ=="},
        {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ"},
        {"sec_websocket_key": "ümläut"},
    ],
)
def test_what_is_no_handshake(changes: dict[str, str]) -> None:
    """Each needed header is needed, and must say the right thing."""
    with pytest.raises(BadHandshake):
        answer(headers(**changes))


def test_whether_a_websocket_is_asked_for() -> None:
    """The word counts, in any case."""
    assert is_upgrade(headers(upgrade="WebSocket"))
    assert not is_upgrade(CIMultiDict())
