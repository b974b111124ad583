"""What dialling says of URLs that nobody can dial."""

from __future__ import annotations

import pytest

from headrace.transport.dialling import DialError, dial


@pytest.mark.parametrize("url", ["ws://h:99999/relay", "ws://h:notaport/relay", "http://h/relay"])
async def test_a_url_that_cannot_be_is_named(url: str) -> None:
    """One upstream of several: the operator must know which."""
    with pytest.raises(DialError) as raised:
        await dial(url, "headrace.relay.v1", max_size=1, send_limit_bytes=1)
    assert raised.value.code == "bad_url"
    assert url in raised.value.detail


async def test_credentials_in_a_bad_url_stay_hidden() -> None:
    """The sentence goes into logs."""
    with pytest.raises(DialError) as raised:
        await dial("ws://user:hunter2@h:99999/relay", "headrace.relay.v1", max_size=1, send_limit_bytes=1)
    assert "hunter2" not in raised.value.detail


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "a\x00b"])
async def test_a_host_that_no_name_server_is_asked_for(host: str) -> None:
    """It cannot be reached, and that is all: another node is tried instead."""
    with pytest.raises(DialError):
        await dial(f"ws://{host}/relay", "headrace.relay.v1", max_size=1, send_limit_bytes=1)
