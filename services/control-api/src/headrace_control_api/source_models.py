"""What the API is asked and answers of sources."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headrace.http.operations import Model, Query, worded
from headrace.identifiers import STREAM_NAME_MAX_BYTES
from headrace_control_api.models import PAGE_MAX, Limit
from headrace_control_api.patterns import PRINTABLE_PATTERN, SOURCE_PATTERN

SourceText = Annotated[
    str,
    Field(max_length=2048, pattern=SOURCE_PATTERN),
    worded(
        "an address is expected: scheme://host:port/path by rtsp, rtmp, srt or http, also rtsps, rtmps or https; "
        "udp://address:port, file:///path, or test: with options as in test:?size=1280x720&rate=25&gop=1&audio=no, "
        "in this order"
    ),
]


SlateWord = Literal["none", "built-in"]


class NewSource(Model):
    """A source that is to be fetched."""

    uris: Annotated[list[SourceText], Field(min_length=1, max_length=4)] = Field(
        description="Where it comes from, the preferred address first: `rtsp://`, `rtmp://`, `http://`, each also "
        "with an `s`, `srt://`, `udp://`, `file:///`, or `test:`, which takes `?size=1280x720&rate=25&gop=1&audio=yes` "
        "or `video=yes`, in this order."
    )
    transport: Literal["tcp", "udp"] = Field(default="tcp", description="How RTSP media travels.")
    loop: bool = Field(default=True, description="Begin a file again when it ends.")
    slate: SlateWord | None = Field(
        default=None,
        description="What viewers see while it is away: `none`, its last picture, or `built-in`, the words NO SIGNAL; "
        "without it what the node that fetches it is configured to show.",
    )
    region: Annotated[str, Field(max_length=64, pattern=PRINTABLE_PATTERN)] = Field(
        default="", description="Where it had better be fetched."
    )


class SourceView(Model):
    """A source that the cluster was asked to fetch."""

    name: str = Field(description="The stream that it is published as.")
    uris: list[str] = Field(description="Where it comes from, without credentials.")
    transport: Literal["tcp", "udp"]
    loop: bool
    slate: SlateWord | None = Field(default=None, description="As asked for; absent where it was not.")
    region: str
    by: str = Field(description="Who asked for it: `api`, or `configuration` for a shared one of a node's.")
    since_us: int = Field(description="When, UTC in microseconds since 1970.")
    revision: int = Field(description="Grows with every change of it.")
    node: str | None = Field(default=None, description="Who fetches it; absent while nobody does.")
    status: str = Field(description="How that goes: `waiting` while no node has taken it on, else in its node's word.")
    detail: str | None = Field(default=None, description="More of that, for people.")


class SourceQuery(Query):
    """Which sources."""

    prefix: Annotated[str, Field(max_length=STREAM_NAME_MAX_BYTES)] = Field(
        default="", description="How the names of their streams begin."
    )
    node: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Only those that this node fetches."
    )
    after: Annotated[str, Field(max_length=STREAM_NAME_MAX_BYTES)] = Field(
        default="", description="Only names after this one: `next` of the answer before."
    )
    limit: Limit = PAGE_MAX


class SourceList(Model):
    """A page of the sources that the cluster was asked to fetch, by name."""

    sources: list[SourceView]
    total: int = Field(description="How many there are on all pages.")
    next: str | None = Field(default=None, description="To be given as `after` for the next page; absent on the last.")
