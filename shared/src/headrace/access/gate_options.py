"""How a gate decides."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.access.policy import Policy


@dataclass(frozen=True, slots=True)
class GateOptions:
    """How a gate decides.

    Attributes:
        node: whose gate it is; unlike that of every other.
        policy: which streams need a token.
        refuse_while_away: whether tokens that limit viewers are refused while the store does not answer.
        lease_seconds: how long a session outlives its edge.
    """

    node: str
    policy: Policy
    refuse_while_away: bool = False
    lease_seconds: float = 3.0
