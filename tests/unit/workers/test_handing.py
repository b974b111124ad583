"""The node's settings, handed on to its workers."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.service.settings import Settings
from headrace_edge.workers.handing import plain

FULL: dict[str, Any] = {
    "node": {"id": "edge-1", "region": "eu"},
    "relay": {"secret": "a secret of the tests", "upstreams": ["wss://up.example/relay"]},
    "ingress": {
        "sources": {"cam1": ["rtsp://user:hush@camera/1", "file:/slate.mp4"]},
        "publish_keys": {"*": "a key of 1"},
    },
    "edge": {"allow_networks": ["10.0.0.0/8"], "record_root": "/tmp", "workers": 2},
    "access": {
        "policy": "token",
        "secrets": ["a secret of the tests, of 32 bytes or more"],
        "streams": {"open*": "public"},
    },
    "tls": {"certificate": "/c.pem", "key": "/k.pem"},
    "control_api": {"tokens": ["a token of tests"]},
}


def test_settings_arrive_as_they_are() -> None:
    """All of them, secrets included, by what travels between the processes."""
    settings = Settings.model_validate(FULL)
    travelled = msgspec.msgpack.decode(msgspec.msgpack.encode(plain(settings, {})))
    assert Settings.model_validate(travelled) == settings
    assert Settings.model_validate(plain(Settings(), {})) == Settings()


def test_some_are_replaced() -> None:
    """Those that are known only when the node runs."""
    found = Settings.model_validate(plain(Settings(), {"edge": {"port": 1234}, "node": {"id": "edge-9"}}))
    assert (found.edge.port, found.node.id, found.edge.fmp4_port) == (1234, "edge-9", 8410)
