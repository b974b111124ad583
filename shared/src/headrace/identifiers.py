"""Names and numbers that identify things in a cluster, validated once at the border.

Everything inside the border may rely on a `StreamName` or `NodeId` being well formed; whatever comes from a URL, a
peer, a registry record or a configuration goes through `stream_name` or `node_id` first.
"""

from __future__ import annotations

import re
from typing import NamedTuple, NewType

StreamName = NewType("StreamName", str)
"""The name of one live programme, for example `cam1` or `site7/gate`."""

NodeId = NewType("NodeId", str)
"""The name of one running process of the mesh, unique in its cluster."""

Epoch = NewType("Epoch", int)
"""One publication of a stream: a number of milliseconds since 1970 that only grows (docs/protocol.md, section 2.1)."""

STREAM_NAME_MAX_BYTES = 128
"""Longest stream name, in bytes: names stand in URLs, keys and log lines."""

NODE_ID_MAX_BYTES = 64
"""Longest node name, in bytes: a DNS label is 63."""

TRACK_MAX = 255
"""Largest track number: it is one byte on the wire."""

_STREAM_PART = r"[A-Za-z0-9_][A-Za-z0-9_.~-]*"
_STREAM_NAME = re.compile(rf"{_STREAM_PART}(?:/{_STREAM_PART})*", re.ASCII)
_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)


class InvalidName(ValueError):
    """A stream or node name that is not well formed; the sentence says which rule it breaks."""


def stream_name(text: str) -> StreamName:
    """Return `text` as a stream name.

    A stream name is one or more parts joined by `/`; a part begins with a letter, a digit or `_` and goes on with
    letters, digits and `_ . ~ -`. It is at most `STREAM_NAME_MAX_BYTES` long and case counts.

    Raises:
        InvalidName: when it is empty, too long or has any other character.
    """
    if len(text) > STREAM_NAME_MAX_BYTES:
        raise InvalidName(f"stream name of {len(text)} characters: at most {STREAM_NAME_MAX_BYTES} are allowed")
    if not _STREAM_NAME.fullmatch(text):
        raise InvalidName(
            f"stream name {text!r}: use letters, digits and _ . ~ - in parts joined by /, each beginning with a "
            "letter, a digit or _"
        )
    return StreamName(text)


def node_id(text: str) -> NodeId:
    """Return `text` as a node name: a letter or digit, then letters, digits and `_ . -`.

    Raises:
        InvalidName: when it is empty, longer than `NODE_ID_MAX_BYTES` or has any other character.
    """
    if len(text) > NODE_ID_MAX_BYTES:
        raise InvalidName(f"node name of {len(text)} characters: at most {NODE_ID_MAX_BYTES} are allowed")
    if not _NODE_ID.fullmatch(text):
        raise InvalidName(f"node name {text!r}: use letters, digits and _ . -, beginning with a letter or digit")
    return NodeId(text)


class ChunkId(NamedTuple):
    """The identity of one chunk inside its stream, minted at ingest and never changed.

    For one track, ids order by time: `(epoch, segment, chunk)` only ever grows, so comparing `position` says which
    of two chunks comes first. Numbers have no holes: after a chunk that ends its segment comes chunk 0 of the next
    segment, after any other the next chunk of the same segment.
    """

    epoch: Epoch
    track: int
    segment: int
    chunk: int

    @property
    def position(self) -> tuple[int, int, int]:
        """The place in the track, `(epoch, segment, chunk)`, which orders chunks of one track."""
        return (self.epoch, self.segment, self.chunk)

    def __str__(self) -> str:
        return f"{self.epoch}/{self.track}/{self.segment}.{self.chunk}"
