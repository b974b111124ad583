"""Where HTTP servers and playlists lead to, when that is no address at all."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from headrace_ingress.fetch import EmptyFile, Fetcher, NotFollowed
from headrace_ingress.source import SourceBroken


@pytest.mark.parametrize("url", ["http://[::1", "http://h:8x/a", "http://h:0/a", "http://h\x0bd/a", "http://h:99999/"])
def test_what_is_no_address_is_not_followed(url: str) -> None:
    """It is refused with a reason, and libav, which asks in the middle of its own work, gets an empty file."""
    fetcher = Fetcher((), True, 1.0, threading.Event())
    with pytest.raises(NotFollowed, match="no address"):
        fetcher.open(url)
    assert isinstance(fetcher.nested(url, 0, {}), EmptyFile)
    assert "no address" in str(fetcher.refused)


@contextmanager
def dripping() -> Iterator[int]:
    """Answer one connection by a byte each 50 ms for ten seconds; yields the port."""
    over = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError), listening.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            for _ in range(200):
                if over.wait(0.05):
                    return
                connection.sendall(b"a")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve)
        server.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            server.join()


def test_an_answer_in_single_bytes_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its head keeps the reader of a feed for no longer than it may."""
    monkeypatch.setattr("headrace_ingress.fetch.CONNECT_SECONDS", 0.5)
    with dripping() as port:
        began = time.monotonic()
        with pytest.raises(SourceBroken, match="no answer in time"):
            Fetcher((), True, 0.5, threading.Event()).open(f"http://127.0.0.1:{port}/a")
        assert time.monotonic() - began < 5
