"""What the API is asked and answers of transfers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headrace.http.operations import Model, Query, worded
from headrace.identifiers import STREAM_NAME_MAX_BYTES
from headrace.registry.desired import TRANSFER_ID_MAX_BYTES
from headrace.registry.sealing import URI_MAX_CHARACTERS
from headrace_control_api.models import Limit, StreamText
from headrace_control_api.patterns import (
    FILE_PATTERN,
    HOST_PATTERN,
    NODE_PATTERN,
    PATH_PATTERN,
    PORT_PATTERN,
    PRINTABLE_PATTERN,
    STREAM_PATTERN,
    USER_PATTERN,
)

URI_PATTERN = (
    rf"^((wss?|rtsps?|rtmps?|srt|https?)://{USER_PATTERN}{HOST_PATTERN}{PORT_PATTERN}{PATH_PATTERN}"
    rf"|headraces?://{NODE_PATTERN[1:-1]}(/({STREAM_PATTERN[1:-1]})?)?"
    rf"|{FILE_PATTERN})$"
)
"""Addresses as far as a pattern can tell; `headrace_control_api.addresses` knows the rest."""

URI_EXPECTED = (
    "an address is expected: scheme://host:port/path by ws, rtsp, rtmp, srt or http, also wss, rtsps, rtmps or "
    "https; headrace://node/stream, or file:path"
)

KEY_MAX_CHARACTERS = 128
"""Longest key of a request: three UUIDs."""

Status = Literal["NEW", "PENDING", "PROCESSED_REMOTE", "FAILED", "STOPPED"]
Kind = Literal["pull", "push"]
KeyText = Annotated[str, Field(min_length=1, max_length=KEY_MAX_CHARACTERS, pattern=r"^[!-~]+$")]


class NewTransfer(Model):
    """A transfer that is to be made."""

    kind: Kind = Field(description="`pull` fetches a stream here, `push` brings one there.")
    uri: Annotated[
        str, Field(min_length=3, max_length=URI_MAX_CHARACTERS, pattern=URI_PATTERN), worded(URI_EXPECTED)
    ] = Field(
        description="The other server: `ws://`, `wss://` (another Headrace), `headrace://node/stream` (this cluster), "
        "`rtsp://`, `rtmp://`, `srt://`, `http://` or `file:`, the latter also with an `s` where there is TLS."
    )
    local_name: StreamText = Field(description="The stream's name here.")
    remote_name: StreamText | None = Field(
        default=None, description="Its name there; absent for the same, or where the address says it."
    )
    region: Annotated[str, Field(max_length=64, pattern=PRINTABLE_PATTERN)] = Field(
        default="", description="Where it had better run."
    )
    key: KeyText | None = Field(
        default=None,
        description="Your own key for this request, as in the header `Idempotency-Key`: sent again with the same one, "
        "it is answered with the transfer that it made.",
    )


class TransferView(Model):
    """A transfer as it stands."""

    id: str
    kind: Kind
    uri: str = Field(description="The other server, without credentials.")
    local_name: str
    remote_name: str
    status: Status = Field(
        description="`NEW` nobody carries it out yet, `PENDING` no media yet, `PROCESSED_REMOTE` media flows, `FAILED` "
        "it came to nothing so far, `STOPPED` it is over."
    )
    info: str | None = Field(default=None, description="More of that, for people.")
    code: str | None = Field(default=None, description="Why it failed, in a word.")
    final: bool = Field(description="It failed in a way that trying again does not help.")
    local_session: str = Field(description="The id of its end here.")
    remote_session: str | None = Field(default=None, description="The id of its end there, if that is known.")
    node: str | None = Field(default=None, description="Who carries it out; absent while nobody does.")
    region: str
    by: str = Field(description="Who asked for it.")
    since_us: int = Field(description="When, UTC in microseconds since 1970.")
    revision: int = Field(description="Grows with every change of it.")


class TransferList(Model):
    """A page of transfers, by id."""

    transfers: list[TransferView]
    total: int = Field(description="How many there are on all pages.")
    next: str | None = Field(default=None, description="To be given as `after` for the next page; absent on the last.")


class TransferQuery(Query):
    """Which transfers."""

    kind: Kind | None = Field(default=None, description="Only these.")
    status: Status | None = Field(default=None, description="Only those that do so.")
    local_name: Annotated[str, Field(max_length=STREAM_NAME_MAX_BYTES)] | None = Field(
        default=None, description="Only those of this stream here."
    )
    node: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Only those that this node carries."
    )
    after: Annotated[str, Field(max_length=TRANSFER_ID_MAX_BYTES)] = Field(
        default="", description="Only ids after this one: `next` of the answer before."
    )
    limit: Limit = 1000


class TransferPath(Query):
    """Which transfer."""

    id: Annotated[str, Field(max_length=TRANSFER_ID_MAX_BYTES, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = Field(
        description="The transfer's id."
    )
