"""Log lines: one format for ours and libraries', and no secret in any."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from headrace.telemetry.logging import LogFormat, LogLevel, configure_logging
from headrace.telemetry.masking import mask_uris


@pytest.fixture(autouse=True)
def _root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the JSON lines written so far."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured(level: LogLevel = "info", format: LogFormat = "json") -> io.StringIO:
    """Return the stream that log lines go to."""
    stream = io.StringIO()
    configure_logging(level, format, stream)
    return stream


def test_json_line() -> None:
    """A line is one JSON object: event, level, time, and what was said."""
    stream = configured()
    structlog.get_logger("headrace.x").info("listening", name="edge", port=8088)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "listening", "level": "info", "logger": "headrace.x", "name": "edge", "port": 8088}


def test_lines_of_libraries_join_in() -> None:
    """Standard logging ends up in the same stream, arguments filled in, its noise left out."""
    stream = configured()
    logging.getLogger("aiohttp.server").warning("cannot %s", "serve")
    logging.getLogger("aiohttp.access").info("GET /")
    logging.getLogger("libav").warning("deprecated pixel format")
    assert [(line["logger"], line["event"]) for line in lines(stream)] == [("aiohttp.server", "cannot serve")]


def test_level_is_kept() -> None:
    """Lines below the level are not written; debug shows libraries too."""
    stream = configured("warning")
    structlog.get_logger("x").info("quiet")
    assert stream.getvalue() == ""
    stream = configured("debug")
    logging.getLogger("websockets").debug("handshake")
    assert lines(stream)[0]["event"] == "handshake"


def test_colours_only_on_a_terminal() -> None:
    """`auto` is a coloured console on a terminal and JSON elsewhere; a console in a file has no colours."""
    terminal = Terminal()
    configure_logging("info", "auto", terminal)
    structlog.get_logger("x").info("hello")
    assert "\x1b[" in terminal.getvalue()
    assert lines_are_json(configured("info", "auto"))
    plain = configured("info", "console")
    structlog.get_logger("x").info("hello", stream="cam1")
    assert "\x1b[" not in plain.getvalue()
    assert "hello" in plain.getvalue()
    assert "stream=cam1" in plain.getvalue()


def lines_are_json(stream: io.StringIO) -> bool:
    """Write a line and return whether it is JSON."""
    structlog.get_logger("x").info("hello")
    return bool(lines(stream)[0]["event"] == "hello")


def test_secrets_are_masked_however_deep() -> None:
    """Values of secret names and credentials in URIs do not appear, not even in a traceback."""
    stream = configured()
    log = structlog.get_logger("x")
    log.info(
        "a", relay_secret="hush", uri="rtsp://u:hush@cam/1", deep={"list": ["rtsp://u:hush@cam/1", {"token": "hush"}]}
    )
    log.info("b", error=OSError("cannot open rtsp://u:hush@cam/1"))
    try:
        raise ValueError("rtsp://u:hush@cam/1?passphrase=hush&x=1")
    except ValueError:
        log.exception("c")
    logging.getLogger("any").error("failed: %s", "rtsp://u:hush@cam/1")
    text = stream.getvalue()
    assert "hush" not in text
    assert text.count("rtsp://***@cam/1") >= 5


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rtsp://user:pass@host:554/path?x=1", "rtsp://***@host:554/path?x=1"),
        ("rtsp://user@host/", "rtsp://***@host/"),
        ("rtsp://us@er:p@ss@host/", "rtsp://***@host/"),
        ("redis://:pass@host/0 and rtsp://a:b@c", "redis://***@host/0 and rtsp://***@c"),
        ("https://h/p?api_key=1&token=2&streamid=3&q=4", "https://h/p?api_key=***&token=***&streamid=***&q=4"),
        ("https://h/p?monkey=1&design=2", "https://h/p?monkey=1&design=2"),
        ("mail me@example.org, rtsp://host/a@b", "mail me@example.org, rtsp://host/a@b"),
        ("/live/~s1~eyJh.eyJz.c2ln/demo/index.m3u8", "/live/~s1~***/demo/index.m3u8"),
        ("GET /~ and /home/~user/a~b~c", "GET /~ and /home/~user/a~b~c"),
        ("nothing here", "nothing here"),
    ],
)
def test_mask_uris(text: str, masked: str) -> None:
    """Only credentials are replaced; what is no credential stays."""
    assert mask_uris(text) == masked
