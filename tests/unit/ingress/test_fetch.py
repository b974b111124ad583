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
def dripping(head: bytes, drop: bytes) -> Iterator[int]:
    """Answer one connection by `head` and a drop each 50 ms for ten seconds; yields the port."""
    over = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError), listening.accept()[0] as connection:
            connection.sendall(head)
            for _ in range(200):
                if over.wait(0.05):
                    return
                connection.sendall(drop)

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
    with dripping(b"HTTP/1.1 200 OK\r\n", b"a") as port:
        began = time.monotonic()
        with pytest.raises(SourceBroken, match="no answer in time"):
            Fetcher((), True, 0.5, threading.Event()).open(f"http://127.0.0.1:{port}/a")
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("begun", "drop"),
    [(b"", b"0"), (b"2;x=", b"y"), (b"1\r\na\r\n0\r\n", b"X: y\r\n")],
    ids=["size", "extension", "trailers"],
)
def test_what_stands_between_chunks_has_its_time(monkeypatch: pytest.MonkeyPatch, begun: bytes, drop: bytes) -> None:
    """A size that never ends, and trailers that never end, are a silence of the source: there is no media in them."""
    monkeypatch.setattr("headrace_ingress.fetch.CONNECT_SECONDS", 0.5)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with dripping(head + begun, drop) as port:
        fetcher = Fetcher((), True, 0.5, threading.Event())
        file = fetcher.open(f"http://127.0.0.1:{port}/a")
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            while file.read(4096):
                pass
        assert time.monotonic() - began < 5
        fetcher.close()


def test_a_body_in_single_bytes_is_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow: whether that is media in time is seen by whoever reads it."""
    monkeypatch.setattr("headrace_ingress.fetch.CONNECT_SECONDS", 0.5)
    with dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n") as port:
        fetcher = Fetcher((), True, 0.5, threading.Event())
        file = fetcher.open(f"http://127.0.0.1:{port}/a")
        assert b"".join(file.read(4096) for _ in range(20)) == bytes(20).replace(b"\0", b"a")
        fetcher.close()
