"""Operations on viewer tokens: issue, revoke, and what is revoked."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from headrace.access.tokens import TOKEN_SECONDS_MAX, TokenRefused, ViewerToken, issue_token, network
from headrace.access.viewing import TooManyRevoked, Viewing
from headrace.clock import Clock
from headrace.http.operations import Api, Call, Nothing
from headrace.http.problems import FieldError, Problem
from headrace.registry.leases import StoreAway
from headrace_control_api.token_models import (
    NewToken,
    RevokedList,
    RevokedQuery,
    RevokedToken,
    RevokeQuery,
    TokenPath,
    TokenView,
)

CLOCKS_APART_SECONDS = 60.0
"""How long a revocation outlives its token, for edges whose clock is late."""

AWAY = {503: "The registry's store does not answer."}


@dataclass(frozen=True, slots=True)
class TokenOffice:
    """What issuing and revoking take.

    Attributes:
        viewing: where revocations stand.
        clock: its time.
        secret: signs; empty when none is configured.
    """

    viewing: Viewing
    clock: Clock
    secret: str = ""


def add_tokens(api: Api, office: TokenOffice) -> None:
    """Add the operations."""

    @api.operation(
        "POST",
        "/tokens",
        tag="tokens",
        scope="admin",
        body=NewToken,
        answer=TokenView,
        status=201,
        problems={409: "No secret is configured to sign with (`access.secrets`)."},
    )
    async def make_token(call: Call[Nothing, Nothing, NewToken]) -> TokenView:
        """Make a viewer token.

        It is signed with the first of `access.secrets` and kept nowhere. Edges take it wherever the policy of a stream
        is `token`.
        """
        if not office.secret:
            raise Problem(409, "No secret is configured to sign tokens with (access.secrets).")
        token = _token(call.body, office.clock.utc())
        try:
            text = issue_token(office.secret, token)
        except TokenRefused as error:
            raise Problem(400, str(error), errors=[FieldError("body", str(error))]) from None
        return TokenView(id=token.id, token=text, expires=token.expires)

    @api.operation(
        "DELETE",
        "/tokens/{id}",
        tag="tokens",
        scope="admin",
        path_model=TokenPath,
        query=RevokeQuery,
        status=204,
        problems={409: "As many tokens are revoked as can be remembered.", **AWAY},
    )
    async def revoke_token(call: Call[TokenPath, RevokeQuery, Nothing]) -> None:
        """Revoke a viewer token.

        Every edge refuses it from then on, and ends what plays with it, within a second. That is remembered until the
        token `expires`, or else for a year; edges take no token of which more than a year is left.
        """
        now, expires = office.clock.utc(), call.query.expires
        until = now + TOKEN_SECONDS_MAX if expires is None else expires + CLOCKS_APART_SECONDS
        if until <= now:
            return  # it has ended by itself
        try:
            await office.viewing.revoke(call.path.id, until)
        except TooManyRevoked:
            raise Problem(409, "As many tokens are revoked as can be remembered; change the key instead.") from None
        except StoreAway as error:
            raise Problem(503, f"The store does not answer: {error}") from None

    @api.operation(
        "GET",
        "/revoked-tokens",
        tag="tokens",
        scope="admin",
        query=RevokedQuery,
        answer=RevokedList,
        problems=AWAY,
    )
    async def list_revoked(call: Call[Nothing, RevokedQuery, Nothing]) -> RevokedList:
        """List the viewer tokens that are revoked."""
        try:
            found = await office.viewing.revoked()
        except StoreAway as error:
            raise Problem(503, f"The store does not answer: {error}") from None
        rest = sorted(id for id in found if id > call.query.after)
        page = rest[: call.query.limit]
        following = page[-1] if len(rest) > len(page) else None
        revoked = [RevokedToken(id=id, until=found[id]) for id in page]
        return RevokedList(revoked=revoked, total=len(found), next=following)


def _token(wanted: NewToken, now: float) -> ViewerToken:
    return ViewerToken(
        id=secrets.token_urlsafe(12).replace("-", "."),
        streams=tuple(wanted.streams),
        expires=float(round(now) + wanted.seconds),
        origins=None if wanted.origins is None else tuple(wanted.origins),
        networks=None if wanted.addresses is None else tuple(map(network, wanted.addresses)),
        viewers_max=wanted.viewers,
        subject=wanted.subject,
    )
