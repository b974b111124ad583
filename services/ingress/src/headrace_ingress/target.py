"""What stream a publisher means and with which key: `{stream}?key=…`, however it travels. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs

from headrace.identifiers import StreamName, stream_name

PARAMETERS_MAX: Final = 16
"""Most parameters behind a stream's name; services' own formats have up to ten."""


@dataclass(frozen=True, slots=True)
class Target:
    """A stream that may be meant.

    Attributes:
        stream: its name.
        key: what came as a key, empty for none.
    """

    stream: StreamName
    key: str = field(repr=False)


def parse_target(text: str) -> Target:
    """Return what `{stream}?key=…` means.

    Raises:
        InvalidName: when it begins with no stream's name.
    """
    name, _, query = text.partition("?")
    return Target(stream_name(name), next(iter(query_keys(query)), ""))


def query_keys(query: str) -> list[str]:
    """Return the values of `key` in a query; none where it is no query."""
    try:
        return parse_qs(query, max_num_fields=PARAMETERS_MAX).get("key", [])
    except ValueError:
        return []
