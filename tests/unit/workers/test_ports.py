"""Ports that several processes listen on."""

from __future__ import annotations

import socket

import pytest

from headrace.errors import StartupError
from headrace_edge.workers.ports import SharedPort


def listener(port: int) -> socket.socket:
    """Return a socket that listens as workers do."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()
    return listening


async def test_a_reserved_port_is_for_those_who_share() -> None:
    """Any free one is found; it takes no connection itself, and others who do not share cannot have it."""
    port = SharedPort("edge", "127.0.0.1", 0, tls=None, setting="edge.port")
    await port.start()
    assert port.bound_port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port.bound_port))
    with pytest.raises(OSError, match="in use"), socket.socket() as alone:
        alone.bind(("127.0.0.1", port.bound_port))
    with listener(port.bound_port) as one, listener(port.bound_port):
        socket.create_connection(one.getsockname()).close()
    await port.stop()
    with socket.socket() as alone:
        alone.bind(("127.0.0.1", port.bound_port))


async def test_a_port_that_others_share_is_not_ours() -> None:
    """Two edges of the same user would get a part of each other's viewers."""
    with listener(0) as others:
        port = SharedPort("edge", "127.0.0.1", others.getsockname()[1], tls=None, setting="edge.port")
        with pytest.raises(StartupError, match=r"^edge: cannot listen on .*; edge.port chooses another port$"):
            await port.start()


async def test_all_addresses_of_a_host_have_the_same_port() -> None:
    """A name may stand for one of each family."""
    port = SharedPort("edge", "localhost", 0, tls=None, setting="edge.port")
    await port.start()
    try:
        assert len({reserved.getsockname()[1] for reserved in port._sockets}) == 1
    finally:
        await port.stop()
