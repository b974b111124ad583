"""What stream a publisher means and with which key, by the URL it connected to and the name it gave."""

from __future__ import annotations

from typing import Final

from headrace.identifiers import InvalidName, stream_name
from headrace_ingress.target import Target, query_keys

APPLICATION: Final = "live"
"""The first part of every RTMP path."""


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
    keys = query_keys(query)
    found = _targets(f"{rest}/{path}" if rest else path, keys[0] if keys else "")
    if rest and not keys:
        found += _targets(rest, name)
    return found


def _targets(stream: str, key: str) -> list[Target]:
    try:
        return [Target(stream_name(stream), key)]
    except InvalidName:
        return []
