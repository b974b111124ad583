"""Operations on policies: what holds for streams, in the whole cluster, beside the configuration of edges."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headrace.access.rules import RuleStore, TooManyRules
from headrace.http.operations import Api, Call, Model, Nothing, Query
from headrace.http.problems import Problem
from headrace.registry.leases import StoreAway
from headrace_control_api.models import PatternText

AWAY = {503: "The registry's store does not answer."}

ModeText = Literal["public", "token", "webhook", "licence"]


class PolicyPath(Query):
    """Which policy."""

    pattern: PatternText = Field(
        description="A stream's name, or a beginning of names with `*` after it, each `/` in it written as `%2F`."
    )


class NewPolicy(Model):
    """What is to hold."""

    policy: ModeText = Field(
        description="`public`; `token`: for holders of tokens; `webhook`: for whom it lets in; `licence`: for pages of "
        "domains that have one. Edges need the configuration for it, or they let nobody in."
    )


class PolicyView(Model):
    """What holds for streams."""

    pattern: str
    policy: ModeText


class PolicyList(Model):
    """The policies that were ordered, by their patterns; those of the configuration of edges are not among them."""

    policies: list[PolicyView]


def add_policies(api: Api, rules: RuleStore) -> None:
    """Add the operations."""

    @api.operation("GET", "/policies", tag="policies", answer=PolicyList, problems=AWAY)
    async def list_policies(call: Call[Nothing, Nothing, Nothing]) -> PolicyList:
        """List the policies that were ordered.

        The longest pattern that matches a stream decides, an ordered one before one of the configuration for the same
        names.
        """
        try:
            found = (await rules.read()).policies
        except StoreAway as error:
            raise _away(error) from None
        return PolicyList(policies=[PolicyView(pattern=name, policy=mode) for name, mode in sorted(found.items())])

    @api.operation(
        "PUT",
        "/policies/{pattern}",
        tag="policies",
        scope="admin",
        path_model=PolicyPath,
        body=NewPolicy,
        status=204,
        problems={409: "There are as many policies as there may be.", **AWAY},
    )
    async def set_policy(call: Call[PolicyPath, Nothing, NewPolicy]) -> None:
        """Say what holds for streams; viewers who may not go on are ended within a second."""
        try:
            await rules.put_policy(call.path.pattern, call.body.policy)
        except TooManyRules:
            raise Problem(409, "There are as many policies as there may be.") from None
        except StoreAway as error:
            raise _away(error) from None

    @api.operation(
        "DELETE",
        "/policies/{pattern}",
        tag="policies",
        scope="admin",
        path_model=PolicyPath,
        status=204,
        problems={404: "None was ordered for these names.", **AWAY},
    )
    async def withdraw_policy(call: Call[PolicyPath, Nothing, Nothing]) -> None:
        """Leave streams to the configuration of edges again."""
        try:
            known = await rules.remove_policy(call.path.pattern)
        except StoreAway as error:
            raise _away(error) from None
        if not known:
            raise Problem(404, f"No policy was ordered for {call.path.pattern}.")


def _away(error: StoreAway) -> Problem:
    return Problem(503, f"The store does not answer: {error}")
