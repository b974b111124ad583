"""SRT's stream ids: what a caller says that it wants ("SRT Access Control (Stream ID) Guidelines", Haivision). Pure.

| stream id | is |
|---|---|
| `{stream}`, `{stream}?key=…` | a stream to publish, and its key |
| `#!::r={stream},m=publish,s={key}` | the same with the standard keys, in any order |

Of the standard keys `r` is the stream (which may have its `?key=…` too), `m` must be `publish`, `t` may only be
`stream`, and `s`, a token that proves what was agreed elsewhere, is the stream's key. `u` and `h` say nothing here, nor
do keys that others made up. The nested form, `#!:{`, is used by nobody and refused.
"""

from __future__ import annotations

from typing import Final

from headrace.identifiers import InvalidName
from headrace_ingress.admission import PublishRefused
from headrace_ingress.target import Target, parse_target

STREAMID_MAX_CHARACTERS: Final = 512
"""Longest stream id: more has no room in a handshake."""

_STANDARD: Final = "#!:"
_HOW: Final = "a stream id is {stream}?key=... or #!::r={stream},m=publish,s={key}"


def parse_streamid(text: str) -> Target:
    """Return what a caller wants to publish.

    Raises:
        PublishRefused: with the code `name` when it is no stream's, `mode` when it does not want to publish media.
    """
    if len(text) > STREAMID_MAX_CHARACTERS:
        raise PublishRefused("name", f"a stream id of more than {STREAMID_MAX_CHARACTERS} characters")
    if not text.startswith(_STANDARD):
        return _target(text)
    return _standard(text[len(_STANDARD) :])


def _standard(content: str) -> Target:
    if not content.startswith(":"):
        raise PublishRefused("name", f"a stream id that is nested: {_HOW}")
    fields: dict[str, str] = {}
    for pair in content[1:].split(","):
        name, equals, value = pair.partition("=")
        if not equals or name in fields:
            raise PublishRefused("name", f"a stream id that is no list of different keys with values: {_HOW}")
        fields[name] = value
    if fields.get("t", "stream") != "stream":
        raise PublishRefused("mode", "a stream id with another t than stream: this door takes streams")
    if fields.get("m", "request") != "publish":
        raise PublishRefused("mode", "a stream id without m=publish: this door takes streams, edges play them")
    target = _target(fields.get("r", ""))
    return Target(target.stream, fields["s"]) if fields.get("s") else target


def _target(text: str) -> Target:
    try:
        return parse_target(text)
    except InvalidName:
        raise PublishRefused("name", f"no stream's name: {_HOW}; letters, digits and _ . ~ -") from None
