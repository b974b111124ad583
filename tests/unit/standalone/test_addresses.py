"""The addresses that are printed when Headrace is up."""

from __future__ import annotations

import io

from rich.console import Console

from headrace_standalone.addresses import addresses, show_addresses

LISTENING = {
    "edge": "http://0.0.0.0:8088",
    "fmp4": "http://127.0.0.1:8410",
    "control-api": "http://[::1]:8081",
    "ingress": "http://127.0.0.1:8080",
}


def test_each_stream_and_the_api() -> None:
    """Every stream's page comes first; a wildcard address is told as this machine's own."""
    assert addresses(["demo"], LISTENING) == [
        ("watch demo", "http://127.0.0.1:8088/watch/demo"),
        ("demo as plain fMP4", "ws://127.0.0.1:8410/demo"),
        ("all streams", "http://127.0.0.1:8088/"),
        ("API", "http://[::1]:8081/api/v1/streams"),
    ]


def test_with_a_certificate_all_are_secure() -> None:
    """They say https and wss."""
    secure = {name: address.replace("http", "https") for name, address in LISTENING.items()}
    schemes = {address.partition(":")[0] for _, address in addresses(["demo"], secure)}
    assert schemes == {"https", "wss"}


def test_addresses_are_whole_in_a_narrow_terminal() -> None:
    """An address is never cut or broken: it is there to be copied."""
    stream = io.StringIO()
    name = "site7/a-long-name-of-a-gate"
    show_addresses(Console(file=stream, width=30), [name], LISTENING)
    assert f"http://127.0.0.1:8088/watch/{name}" in stream.getvalue()


def test_without_feeds_it_says_how_to_add_one() -> None:
    """Somebody who started it without a feed is told what to do."""
    stream = io.StringIO()
    show_addresses(Console(file=stream, width=100), [], LISTENING)
    assert "--demo" in stream.getvalue()
