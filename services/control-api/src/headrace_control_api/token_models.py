"""What the API is asked and answers of viewer tokens."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headrace.access.tokens import TOKEN_SECONDS_MAX
from headrace.http.operations import WHOLE, Model, Query
from headrace_control_api.models import PAGE_MAX, Limit, PatternText
from headrace_control_api.patterns import NETWORK_PATTERN, PRINTABLE_PATTERN

REVOKED_UNTIL_MAX = 2**33
"""Latest end of a token that can be told: the year 2242."""

OriginText = Annotated[str, Field(max_length=256, pattern=r"^(https?://)?(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?$")]
AddressText = Annotated[str, Field(max_length=64, pattern=NETWORK_PATTERN)]
TokenText = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_.:-]+$")]


class NewToken(Model):
    """A viewer token that is to be made."""

    streams: Annotated[list[PatternText], Field(min_length=1, max_length=64)] = Field(
        description="Names of streams, or beginnings of names with `*` after them."
    )
    seconds: Annotated[int, Field(ge=1, le=TOKEN_SECONDS_MAX), WHOLE] = Field(description="How long it is valid.")
    viewers: Annotated[int, Field(ge=1, le=10_000_000), WHOLE] | None = Field(
        default=None, description="How many may watch with it at once, in the whole cluster."
    )
    origins: Annotated[list[OriginText], Field(min_length=1, max_length=64)] | None = Field(
        default=None,
        description="Origins (`https://a.example`) or domains with their subdomains, of pages that use it.",
    )
    addresses: Annotated[list[AddressText], Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Addresses or networks of viewers that use it."
    )
    subject: Annotated[str, Field(max_length=128, pattern=PRINTABLE_PATTERN)] = Field(
        default="", description="Whom it is for, in your words."
    )


class TokenView(Model):
    """A viewer token that was made; it is told only here."""

    id: str = Field(description="By which it is revoked.")
    token: str = Field(description="To be given as `?token=` or as `Authorization: Bearer`.")
    expires: float = Field(description="UTC in seconds since 1970.")


class TokenPath(Query):
    """Which token."""

    id: TokenText = Field(description="The token's id.")


class RevokeQuery(Query):
    """How long a revocation is remembered."""

    expires: Annotated[int, Field(ge=0, le=REVOKED_UNTIL_MAX)] | None = Field(
        default=None,
        description="When the token ends (`exp`), UTC in seconds since 1970: it is remembered until then. Absent: for "
        "a year, which is not enough for a token that was made for longer.",
    )


class RevokedToken(Model):
    """A token that is not taken any more."""

    id: str
    until: float = Field(description="Until when that is remembered, UTC in seconds since 1970.")


class RevokedQuery(Query):
    """Which revoked tokens."""

    after: Annotated[str, Field(max_length=128)] = Field(
        default="", description="Only ids after this one: `next` of the answer before."
    )
    limit: Limit = PAGE_MAX


class RevokedList(Model):
    """A page of revoked tokens, by id."""

    revoked: list[RevokedToken]
    total: int = Field(description="How many there are on all pages.")
    next: str | None = Field(default=None, description="To be given as `after` for the next page; absent on the last.")
