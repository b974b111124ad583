"""Structured log lines: an event and key-values, for people on a console or as JSON for machines.

Loggers are made by `structlog.get_logger(__name__)` wherever they are needed. Lines of libraries that use the
standard `logging` end up in the same stream and format. Credentials are masked in whatever passes here.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from headrace.telemetry.masking import MASK, is_secret_name, mask_uris

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]

_LIBRARIES = {
    # One line for each request is the proxy's business; ours are in the metrics.
    "aiohttp.access": logging.ERROR,
    "aiohttp.server": logging.WARNING,
    "asyncio": logging.WARNING,
    "websockets": logging.WARNING,
    # Cameras make libav complain all day about what it repairs by itself.
    "libav": logging.ERROR,
}
"""The least level at which lines of a library are shown, unless debugging."""


def configure_logging(level: LogLevel = "info", format: LogFormat = "auto", stream: TextIO | None = None) -> None:
    """Send all log lines of this process to `stream` (standard error when absent).

    `auto` means console on a terminal and JSON elsewhere; only a terminal gets colours. Calling it again replaces
    what was configured before.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    as_json = format == "json" or (format == "auto" and not terminal)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=_rendering(as_json, terminal))
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _LIBRARIES.items():
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else least)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


@dataclass(slots=True)
class _Request:
    id: str
    is_over: bool = False


_request: ContextVar[_Request | None] = ContextVar("headrace-request", default=None)


@contextmanager
def answering(request_id: str) -> Iterator[None]:
    """Have lines carry `request_id` that are written inside, also by tasks begun there until the request is over."""
    request = _Request(request_id)
    before = _request.set(request)
    try:
        yield
    finally:
        request.is_over = True
        _request.reset(before)


def answered_request() -> str | None:
    """Return the id of the request that is being answered, if any."""
    request = _request.get()
    return None if request is None or request.is_over else request.id


def add_request_id(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Name the request that is being answered, if any."""
    if (id := answered_request()) is not None:
        event.setdefault("request_id", id)
    return event


def mask_secrets(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replace values of secret names and credentials inside URIs, however deep they are."""
    return {name: _masked(name, value) for name, value in event.items()}


def _masked(name: str, value: Any) -> Any:
    if is_secret_name(name) and value:
        return MASK
    match value:
        case str():
            return mask_uris(value)
        case Mapping():
            return {key: _masked(str(key), inner) for key, inner in value.items()}
        case list() | tuple():
            return [_masked("", inner) for inner in value]
        case BaseException():
            return mask_uris(str(value) or type(value).__name__)
    return value


def _rendering(as_json: bool, colours: bool) -> list[Processor]:
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if as_json:
        return [remove, structlog.processors.JSONRenderer(default=str)]
    return [remove, _shorten, structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=0, pad_level=False)]


def _shorten(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Leave out what people do not read: the date, parts of seconds below milliseconds, the module."""
    event.pop("logger", None)
    event["timestamp"] = event["timestamp"][11:23]
    return event


_SHARED: list[Processor] = [
    add_request_id,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    # Rendered here, so that what an exception's text holds is masked too.
    structlog.processors.format_exc_info,
    structlog.processors.StackInfoRenderer(),
    mask_secrets,
]
