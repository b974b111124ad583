"""Operations on licences, under Streamedian's names: a key is issued, assigned, activated, verified, deactivated."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from pydantic import ConfigDict, Field

from headrace.access.licences import EXPIRED, INVALID_DOMAIN, Kind, Licence, LicenceRefused
from headrace.access.rules import RuleStore, TooManyRules
from headrace.clock import Clock, microseconds
from headrace.http.operations import WHOLE, Api, Call, Model, Nothing, Query
from headrace.http.problems import FieldError, Problem
from headrace.registry.leases import StoreAway
from headrace_control_api.patterns import PRINTABLE_PATTERN

KEY_BYTES: Final = 20
"""Random bytes of a key: nobody guesses one."""

TERMS: Final[dict[Kind, tuple[int, int]]] = {"test": (180, 3), "free": (365, 2)}
"""Days and watchers of the kinds that Streamedian gives away: a personal test key, and a free annual one."""

AWAY = {503: "The registry's store does not answer."}
UNKNOWN = {404: "There is no such licence."}
CHANGED = "Somebody else has just changed this licence; look again."

UserText = Annotated[str, Field(min_length=1, max_length=128, pattern=PRINTABLE_PATTERN)]
DomainText = Annotated[
    str,
    Field(
        max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"
    ),
]
KeyText = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]


class LicencePath(Query):
    """Which licence."""

    key: KeyText = Field(description="The licence's key.")


class LicenceQuery(Query):
    """Which licences."""

    user: Annotated[str, Field(max_length=128)] | None = Field(default=None, description="Only those of this user.")


def _fix_terms(schema: dict[str, Any]) -> None:
    """Say in JSON Schema that the terms of what is given away are fixed."""
    schema["if"] = {"properties": {"kind": {"enum": list(TERMS)}}, "required": ["kind"]}
    schema["then"] = {"properties": {"days": {"type": "null"}, "maxWatchers": {"type": "null"}}}


class NewLicence(Model):
    """A licence that is to be issued."""

    model_config = ConfigDict(json_schema_extra=_fix_terms)

    kind: Kind = Field(
        default="full",
        description="`test`: 180 days, 3 watchers; `free`: 365 days, 2 watchers, renewable; `full`: as `days` and "
        "`maxWatchers` say.",
    )
    days: Annotated[int, Field(ge=1, le=36_500), WHOLE] | None = Field(
        default=None, description="How long it holds from its first activation; 365 unless given."
    )
    maxWatchers: Annotated[int, Field(ge=1, le=10_000_000), WHOLE] | None = Field(
        default=None, description="How many may watch at once, in the whole cluster; absent for any number."
    )
    activations: Annotated[int, Field(ge=1, le=1000), WHOLE] = Field(
        default=3, description="How often it may be activated."
    )


class Assignment(Model):
    """Whom a licence is for."""

    user: UserText = Field(description="A user, in your words.")


class Activation(Model):
    """What a licence is activated for."""

    domain: DomainText = Field(description="A domain, with its subdomains, or an address, of pages that may watch.")


class Verification(Model):
    """What is asked of a licence; what is absent is not compared."""

    user: UserText | None = Field(default=None, description="Whose it should be.")
    domain: DomainText | None = Field(default=None, description="Where it should hold.")


class Verdict(Model):
    """Whether a licence holds."""

    valid: bool
    reason: str | None = Field(
        default=None,
        description="Why not: `Invalid Domain (credentials)`, `License expired`, `Invalid user` or `Not activated`.",
    )
    expiresAt: str | None = Field(default=None, description="When it ends.")


class LicenceView(Model):
    """One licence."""

    key: str
    kind: Kind
    user: str | None = Field(default=None, description="Whom it is assigned to; absent for nobody yet.")
    domain: str | None = Field(default=None, description="What it is active for; absent while it is not.")
    active: bool
    expiresAt: str | None = Field(
        default=None,
        description="When it ends, UTC as in `Mon Jul 26 07:00:00 2021`; absent before its first activation. After "
        "it only one session at a time may be opened.",
    )
    maxWatchers: int | None = Field(default=None, description="How many may watch at once; absent for any number.")
    remainingActivations: int = Field(description="How often it may still be activated.")


class LicenceList(Model):
    """The licences, oldest first."""

    licences: list[LicenceView]


def add_licences(api: Api, rules: RuleStore, clock: Clock) -> None:
    """Add the operations."""

    @api.operation(
        "GET", "/licences", tag="licences", scope="admin", query=LicenceQuery, answer=LicenceList, problems=AWAY
    )
    async def list_licences(call: Call[Nothing, LicenceQuery, Nothing]) -> LicenceList:
        """List the licences."""
        found = await _all(rules)
        return LicenceList(
            licences=[_view(each) for each in _oldest_first(found) if call.query.user in (None, each.user)]
        )

    @api.operation(
        "POST",
        "/licences",
        tag="licences",
        scope="admin",
        body=NewLicence,
        answer=LicenceView,
        status=201,
        problems={409: "There are as many licences as there may be.", **AWAY},
    )
    async def issue_licence(call: Call[Nothing, Nothing, NewLicence]) -> LicenceView:
        """Issue a licence.

        Its time runs from its first activation. Edges ask for one where the policy of a stream is `licence`.
        """
        licence = _licence(call.body, microseconds(clock.utc()))
        try:
            await rules.put_licence(licence)
        except TooManyRules:
            raise Problem(409, "There are as many licences as there may be.") from None
        except StoreAway as error:
            raise _away(error) from None
        return _view(licence)

    @api.operation(
        "GET",
        "/licences/{key}",
        tag="licences",
        scope="admin",
        path_model=LicencePath,
        answer=LicenceView,
        problems={**UNKNOWN, **AWAY},
    )
    async def show_licence(call: Call[LicencePath, Nothing, Nothing]) -> LicenceView:
        """Show a licence."""
        return _view(await _one(rules, call.path.key))

    _add_changes(api, rules, clock)

    @api.operation(
        "POST",
        "/licences/{key}/verify",
        tag="licences",
        path_model=LicencePath,
        body=Verification,
        answer=Verdict,
        problems={**UNKNOWN, **AWAY},
    )
    async def verify_licence(call: Call[LicencePath, Nothing, Verification]) -> Verdict:
        """Say whether a licence holds, for a user and a domain."""
        licence = await _one(rules, call.path.key)
        reason = _fault(licence, call.body, clock.utc())
        return Verdict(valid=reason is None, reason=reason, expiresAt=licence.expires_at() or None)

    @api.operation(
        "DELETE",
        "/licences/{key}",
        tag="licences",
        scope="admin",
        path_model=LicencePath,
        status=204,
        problems={**UNKNOWN, **AWAY},
    )
    async def withdraw_licence(call: Call[LicencePath, Nothing, Nothing]) -> None:
        """Withdraw a licence: who watches by it goes within a second."""
        try:
            known = await rules.remove_licence(call.path.key)
        except StoreAway as error:
            raise _away(error) from None
        if not known:
            raise Problem(404, "There is no such licence.")


def _add_changes(api: Api, rules: RuleStore, clock: Clock) -> None:
    @api.operation(
        "POST",
        "/licences/{key}/assign",
        tag="licences",
        scope="admin",
        path_model=LicencePath,
        body=Assignment,
        answer=LicenceView,
        problems={**UNKNOWN, 409: "Somebody else has just changed it.", **AWAY},
    )
    async def assign_licence(call: Call[LicencePath, Nothing, Assignment]) -> LicenceView:
        """Assign a licence to a user."""

        def change(licence: Licence) -> Licence:
            return msgspec.structs.replace(licence, user=call.body.user)

        return await _change(rules, call.path.key, change)

    @api.operation(
        "POST",
        "/licences/{key}/activate",
        tag="licences",
        scope="write",
        path_model=LicencePath,
        body=Activation,
        answer=LicenceView,
        problems={
            **UNKNOWN,
            409: "It is active elsewhere, may not be activated any more, or its time is over.",
            **AWAY,
        },
    )
    async def activate_licence(call: Call[LicencePath, Nothing, Activation]) -> LicenceView:
        """Activate a licence for a domain and its subdomains."""

        def change(licence: Licence) -> Licence:
            return licence.activated(call.body.domain.lower(), clock.utc())

        return await _change(rules, call.path.key, change)

    @api.operation(
        "POST",
        "/licences/{key}/deactivate",
        tag="licences",
        scope="write",
        path_model=LicencePath,
        answer=LicenceView,
        problems={**UNKNOWN, 409: "Somebody else has just changed it.", **AWAY},
    )
    async def deactivate_licence(call: Call[LicencePath, Nothing, Nothing]) -> LicenceView:
        """Deactivate a licence: its domain's viewers go within a second, and it may be activated for another domain."""

        def change(licence: Licence) -> Licence:
            return msgspec.structs.replace(licence, domain="")

        return await _change(rules, call.path.key, change)


async def _change(rules: RuleStore, key: str, change: Callable[[Licence], Licence]) -> LicenceView:
    old = await _one(rules, key)
    try:
        new = change(old)
        if new != old and not await rules.put_licence(new, old):
            raise Problem(409, CHANGED)
    except LicenceRefused as error:
        raise Problem(409, f"It cannot be done: {error}.") from None
    except StoreAway as error:
        raise _away(error) from None
    return _view(new)


async def _all(rules: RuleStore) -> list[Licence]:
    try:
        return list((await rules.read()).licences)
    except StoreAway as error:
        raise _away(error) from None


async def _one(rules: RuleStore, key: str) -> Licence:
    for licence in await _all(rules):
        if licence.key == key:
            return licence
    raise Problem(404, "There is no such licence.")


def _licence(wanted: NewLicence, now_us: int) -> Licence:
    days, watchers = wanted.days or 365, wanted.maxWatchers
    if wanted.kind in TERMS:
        if wanted.days is not None or wanted.maxWatchers is not None:
            raise Problem(
                400,
                f"body.kind: days and maxWatchers of a {wanted.kind} licence are fixed",
                errors=[FieldError("body.kind", "days and maxWatchers are given with `full` only")],
            )
        days, watchers = TERMS[wanted.kind]
    return Licence(
        key=secrets.token_hex(KEY_BYTES),
        kind=wanted.kind,
        days=days,
        watchers_max=watchers,
        activations_left=wanted.activations,
        issued_us=now_us,
    )


def _fault(licence: Licence, asked: Verification, now: float) -> str | None:
    if asked.user is not None and asked.user != licence.user:
        return "Invalid user"
    if not licence.domain:
        return "Not activated"
    if asked.domain is not None and not licence.covers(asked.domain.lower()):
        return INVALID_DOMAIN
    return EXPIRED if now >= licence.expires else None


def _view(licence: Licence) -> LicenceView:
    return LicenceView(
        key=licence.key,
        kind=licence.kind,
        user=licence.user or None,
        domain=licence.domain or None,
        active=bool(licence.domain),
        expiresAt=licence.expires_at() or None,
        maxWatchers=licence.watchers_max,
        remainingActivations=licence.activations_left,
    )


def _oldest_first(licences: list[Licence]) -> list[Licence]:
    return sorted(licences, key=lambda each: (each.issued_us, each.key))


def _away(error: StoreAway) -> Problem:
    return Problem(503, f"The store does not answer: {error}")
