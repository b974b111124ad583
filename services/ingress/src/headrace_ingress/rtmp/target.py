"""What stream a publisher means and with which key, by the URL it connected to and the name it gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs

from headrace.identifiers import InvalidName, StreamName, stream_name

APPLICATION: Final = "live"
"""The first part of every RTMP path."""

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


def targets(app: str, name: str) -> list[Target]:
    """Return what a publisher may mean, the likeliest first; nothing for a path that is no stream's.

    | URL | key field of OBS | is |
    |---|---|---|
    | `rtmp://host/live/{stream}?key=…` | – | a stream and its key |
    | `rtmp://host/live` | `{stream}?key=…` | the same |
    | `rtmp://host/live/{stream}` | the key alone | the same, told apart by whether the whole is a stream's name |
    """
    first, _, rest = app.partition("?")[0].partition("/")
    if first != APPLICATION:
        return []
    path, _, query = name.partition("?")
    keys = _keys(query)
    found = _targets(f"{rest}/{path}" if rest else path, keys[0] if keys else "")
    if rest and not keys:
        found += _targets(rest, name)
    return found


def _keys(query: str) -> list[str]:
    try:
        return parse_qs(query, max_num_fields=PARAMETERS_MAX).get("key", [])
    except ValueError:
        return []


def _targets(stream: str, key: str) -> list[Target]:
    try:
        return [Target(stream_name(stream), key)]
    except InvalidName:
        return []
